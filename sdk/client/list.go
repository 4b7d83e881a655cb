package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"strconv"
	"strings"
	"time"
)

// Bounds of an answer of a dispatch service.
const (
	mostAddresses = 4096 // what is beyond is left out
	mostAddress   = 300  // bytes of one: a name has 253, a port five
	defaultTTL    = 30 * time.Second
	leastTTL      = time.Second
	mostTTL       = 24 * time.Hour
)

// ErrNoAddress means that the answer of a dispatch service holds no address that a client could dial.
var ErrNoAddress = errors.New("no address in the answer")

// Address is one place in a List.
type Address struct {
	Address string // "host:port"
	SLB     string // the load balancer that it belongs to; empty where the answer does not say
}

// List is an answer of a dispatch service.
type List struct {
	Addresses []Address     // in the order in which they are to be tried: one at least, none twice
	TTL       time.Duration // how long it is fresh; 1 s to 24 h, 30 s where the answer does not say
	Backoff   Backoff       // of the waits between two rounds; 0: the answer does not say, or not in range
	Heartbeat time.Duration // what WELCOME will say; 0: unknown
	Stale     bool          // the service has lost its own source and repeats what it knew
	Degraded  bool          // the service distrusts its source
}

// answer is the JSON of GET /v1/addresses. Numbers are read as float64, so that one out of range is ignored like any other
// value that makes no sense; an unknown key is the matter of newer services.
type answer struct {
	Addresses []struct {
		Address string `json:"address"`
		SLB     string `json:"slb"`
	} `json:"addresses"`
	TTL     float64 `json:"ttl_s"`
	Backoff struct {
		Base   float64 `json:"base_ms"`
		Max    float64 `json:"max_ms"`
		Factor float64 `json:"factor"`
		Jitter float64 `json:"jitter"`
	} `json:"backoff"`
	Heartbeat float64 `json:"heartbeat_ms"`
	Stale     bool    `json:"stale"`
	Degraded  bool    `json:"degraded"`
}

// ParseList reads the body of an answer: JSON, or with the content type text/plain one address a line. Addresses that are
// not host:port are left out; if none is left the error is ErrNoAddress. JSON is known by its first byte, whatever the
// content type says: a server that does not set one lets it be guessed.
func ParseList(contentType string, body []byte) (List, error) {
	if trimmed := bytes.TrimSpace(body); len(trimmed) > 0 && trimmed[0] == '{' {
		return parseJSON(trimmed)
	}
	media, _, _ := mime.ParseMediaType(contentType)
	if media != "text/plain" {
		return List{}, fmt.Errorf("answer is not JSON: content type %.100q, %d bytes", contentType, len(body))
	}
	l := listing{List: List{TTL: defaultTTL}}
	for line := range bytes.Lines(body) {
		if a := string(bytes.TrimSpace(line)); a != "" {
			l.add(a, "")
		}
	}
	return l.done()
}

func parseJSON(body []byte) (List, error) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return List{}, fmt.Errorf("answer is not JSON of a list: %w", err)
	}
	l := listing{List: List{
		TTL: defaultTTL,
		Backoff: Backoff{
			Base:   millis(a.Backoff.Base, time.Millisecond, time.Hour),
			Max:    millis(a.Backoff.Max, time.Millisecond, mostTTL),
			Factor: within(a.Backoff.Factor, 1, 100),
			Jitter: within(a.Backoff.Jitter, 0, 1),
		},
		Heartbeat: millis(a.Heartbeat, time.Millisecond, mostTTL),
		Stale:     a.Stale, Degraded: a.Degraded,
	}}
	if a.TTL > 0 {
		l.TTL = time.Duration(min(max(a.TTL, leastTTL.Seconds()), mostTTL.Seconds()) * float64(time.Second))
	}
	for _, e := range a.Addresses {
		l.add(e.Address, e.SLB)
	}
	return l.done()
}

// millis makes a duration of milliseconds, 0 of what is not from least to most.
func millis(ms float64, least, most time.Duration) time.Duration {
	return time.Duration(within(ms, float64(least)/1e6, float64(most)/1e6) * float64(time.Millisecond))
}

// within returns f, or 0 where it is not from least to most.
func within(f, least, most float64) float64 {
	if f >= least && f <= most {
		return f
	}
	return 0
}

// listing is a List that is being read.
type listing struct {
	List
	seen  map[string]bool
	wrong error // about the first address that was left out
}

func (l *listing) add(address, slb string) {
	if len(l.Addresses) == mostAddresses || l.seen[address] {
		return
	}
	if err := checkHostPort(address); err != nil {
		if l.wrong == nil {
			l.wrong = err
		}
		return
	}
	if l.seen == nil {
		l.seen = map[string]bool{}
	}
	l.seen[address] = true
	l.Addresses = append(l.Addresses, Address{address, slb})
}

func (l *listing) done() (List, error) {
	switch {
	case len(l.Addresses) > 0:
		return l.List, nil
	case l.wrong != nil:
		return List{}, fmt.Errorf("%w: %w", ErrNoAddress, l.wrong)
	}
	return List{}, ErrNoAddress
}

// checkHostPort says what is wrong with an address of a list. Paths of Unix sockets are not for others to choose.
func checkHostPort(a string) error {
	if len(a) > mostAddress {
		return fmt.Errorf("an address of %d bytes", len(a))
	}
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" || strings.ContainsFunc(host, unprintable) {
		return fmt.Errorf("%q is not host:port", a)
	}
	return nil
}

// unprintable says whether a host's name cannot hold r. Names outside ASCII come in their ASCII form.
func unprintable(r rune) bool { return r <= ' ' || r > '~' || r == '/' }
