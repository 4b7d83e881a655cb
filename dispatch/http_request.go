package dispatch

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// mostWanted is the largest n that a client may ask for.
const mostWanted = 10_000

// parseQuery returns how many addresses a client wants; math.MaxInt: all. An error names the key that is wrong.
func parseQuery(raw string) (n int, err error) {
	if raw == "" {
		return math.MaxInt, nil
	}
	if digits, ok := strings.CutPrefix(raw, "n="); ok { // as everybody writes it
		if n, ok := parseWanted(digits); ok {
			return n, nil
		}
	}
	q, err := url.ParseQuery(raw)
	if err != nil {
		return 0, fmt.Errorf("the query cannot be read: %w", err)
	}
	for _, key := range slices.Sorted(maps.Keys(q)) {
		if key != "n" {
			return 0, fmt.Errorf("%s: unknown key; there is n alone", quote(key))
		}
	}
	values := q["n"]
	switch {
	case len(values) == 0:
		return math.MaxInt, nil
	case len(values) > 1:
		return 0, errors.New("n: stands there twice")
	}
	n, ok := parseWanted(values[0])
	if !ok {
		return 0, fmt.Errorf("n: %s is not a number from 1 to %d", quote(values[0]), mostWanted)
	}
	return n, nil
}

func parseWanted(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err == nil && n >= 1 && n <= mostWanted
}

// wantsText reports whether a client would rather have lines than JSON: it names text/plain, and JSON not or less. Who
// says nothing, or anything goes, gets JSON. RFC 9110 §12.5.1.
func wantsText(h http.Header) bool {
	accept := h["Accept"]
	if len(accept) == 0 {
		return false
	}
	if len(accept) == 1 {
		switch accept[0] {
		case "*/*", "application/json":
			return false
		case "text/plain":
			return true
		}
	}
	text, json, rest := -1.0, -1.0, 0.0
	for _, line := range accept {
		for item := range strings.SplitSeq(line, ",") {
			kind, q := parseRange(item)
			switch kind {
			case "text/plain":
				text = q
			case "text/*":
				if text < 0 {
					text = q
				}
			case "application/json", "application/*":
				json = max(json, q)
			case "*/*":
				rest = q
			}
		}
	}
	if json < 0 {
		return text > 0 && text >= rest
	}
	return text > json
}

// parseRange reads one item of an Accept header: the kind in lower case, and its weight.
func parseRange(item string) (kind string, q float64) {
	kind, params, _ := strings.Cut(item, ";")
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if !strings.EqualFold(name, "q") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil || !(v >= 0 && v <= 1) {
			return "", 0
		}
		return strings.ToLower(strings.TrimSpace(kind)), v
	}
	return strings.ToLower(strings.TrimSpace(kind)), 1
}

// allowOrigin lets scripts of the configured pages read the answer. Where only some may, a cache must keep answers apart.
func (c *Config) allowOrigin(h http.Header, r *http.Request) {
	switch {
	case len(c.Origins) == 0:
		return
	case c.Origins[0] == "*":
		h["Access-Control-Allow-Origin"] = anyOrigin
		return
	}
	h["Vary"] = byOrigin
	if origin := r.Header["Origin"]; len(origin) == 1 && slices.Contains(c.Origins, origin[0]) {
		h["Access-Control-Allow-Origin"] = origin
	}
}

// preflight answers what a browser asks before a request of a script that is not a plain one. No credentials are
// involved, so every header may come.
func (c *Config) preflight(h http.Header, r *http.Request) {
	if len(h["Access-Control-Allow-Origin"]) == 0 || r.Header.Get("Access-Control-Request-Method") == "" {
		return
	}
	h.Set("Access-Control-Allow-Methods", allowed)
	h.Set("Access-Control-Allow-Headers", "*")
	h.Set("Access-Control-Max-Age", "3600")
}

// proxies are the networks whose word about clients is taken.
type proxies []netip.Prefix

// newProxies reads checked settings.
func newProxies(networks []string) proxies {
	var p proxies
	for _, s := range networks {
		if n, err := parseNetwork(s); err == nil {
			p = append(p, n)
		}
	}
	return p
}

func (p proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(a) })
}

// client returns the address of who asks. What X-Forwarded-For says counts from its end for as long as the one who says
// it is a trusted proxy; a peer on a Unix socket is one, as the socket's directory let it in.
func (p proxies) client(r *http.Request) string {
	at := "unix"
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		a := peer.Addr().Unmap()
		at = a.String()
		if !p.trust(a) {
			return at
		}
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for _, hop := range slices.Backward(hops) {
		a, ok := parseHop(strings.TrimSpace(hop))
		if !ok {
			return at
		}
		at = a.String()
		if !p.trust(a) {
			return at
		}
	}
	return at
}

// parseHop reads an address as proxies write it: plain, in brackets, at times with a port.
func parseHop(s string) (netip.Addr, bool) {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return a.Unmap().WithZone(""), err == nil
}
