package dispatch

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// maxUnixPath is what fits into sun_path of struct sockaddr_un with its closing zero byte.
const maxUnixPath = 107

// Config is the [dispatch] section of dispatch.toml.
type Config struct {
	Listen         []string      `toml:"listen"`          // "host:port" or "unix:/path"
	Mode           string        `toml:"mode"`            // "seed", "proportional" or "p2c"
	Correction     time.Duration `toml:"correction"`      // guard; 0: off
	ShareCap       float64       `toml:"share_cap"`       // guard; 0: off
	Refresh        time.Duration `toml:"refresh"`         // between two readings of the reports
	TTL            time.Duration `toml:"ttl"`             // how long clients may keep an answer
	Backoff        Backoff       `toml:"backoff"`         // what clients wait between two rounds over the list
	Heartbeat      time.Duration `toml:"heartbeat"`       // what the gateways' WELCOME will say
	Cert           string        `toml:"cert"`            // file of the certificate; empty: plain HTTP
	Key            string        `toml:"key"`             // file of its key
	Origins        []string      `toml:"origins"`         // of pages whose scripts may ask; "*" alone: all
	TrustedProxies []string      `toml:"trusted_proxies"` // addresses or networks whose X-Forwarded-For is believed
}

// Backoff is what the answer advises clients to wait before they begin another round over the list: Base, growing by
// Factor with each round up to Max, of which a random part of up to Jitter is taken off.
type Backoff struct {
	Base   time.Duration `toml:"base"`
	Max    time.Duration `toml:"max"`
	Factor float64       `toml:"factor"`
	Jitter float64       `toml:"jitter"` // 0 to 1
}

// Default returns the settings of a service whose file says nothing.
func Default() Config {
	g := DefaultGuards()
	return Config{
		Listen:     []string{"127.0.0.1:7080"},
		Mode:       Seed.String(),
		Correction: g.Correction,
		ShareCap:   g.ShareCap,
		Refresh:    time.Second,
		TTL:        30 * time.Second,
		Backoff:    Backoff{Base: time.Second, Max: 5 * time.Minute, Factor: 1.8, Jitter: 0.3},
		Heartbeat:  25 * time.Second,
	}
}

// Validate reports every setting that cannot be meant, each with its key. It reads the certificate, as a service cannot
// start with one that does not load.
func (c Config) Validate() error {
	var p problems
	c.checkListen(&p)
	if _, err := ParseMode(c.Mode); err != nil {
		p.bad("mode", "%w", err)
	}
	if c.Correction != 0 {
		p.between("correction", c.Correction, 100*time.Millisecond, 10*time.Minute)
	}
	if c.ShareCap != 0 {
		p.number("share_cap", c.ShareCap, 1, 10_000)
	}
	p.between("refresh", c.Refresh, 100*time.Millisecond, time.Minute)
	p.between("ttl", c.TTL, time.Second, 24*time.Hour)
	p.between("heartbeat", c.Heartbeat, 100*time.Millisecond, 24*time.Hour)
	p.between("backoff.base", c.Backoff.Base, time.Millisecond, time.Hour)
	p.between("backoff.max", c.Backoff.Max, time.Millisecond, 24*time.Hour)
	if c.Backoff.Max < c.Backoff.Base {
		p.bad("backoff.max", "%v is shorter than base (%v)", c.Backoff.Max, c.Backoff.Base)
	}
	p.number("backoff.factor", c.Backoff.Factor, 1, 100)
	p.number("backoff.jitter", c.Backoff.Jitter, 0, 1)
	c.checkCertificate(&p)
	p.each("origins", c.Origins, c.checkOrigin)
	p.each("trusted_proxies", c.TrustedProxies, func(s string) error { _, err := parseNetwork(s); return err })
	return p.err()
}

func (c Config) checkListen(p *problems) {
	if len(c.Listen) == 0 {
		p.bad("listen", "the list is empty, so nobody could ask")
	}
	p.each("listen", c.Listen, func(a string) error {
		if path, ok := strings.CutPrefix(a, "unix:"); ok {
			if !filepath.IsAbs(path) || len(path) > maxUnixPath || strings.ContainsRune(path, 0) {
				return fmt.Errorf("%q is not unix: and an absolute path of at most %d bytes", a, maxUnixPath)
			}
			return nil
		}
		_, port, err := net.SplitHostPort(a)
		if _, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil {
			return fmt.Errorf("%q is neither host:port nor unix:/absolute/path", a)
		}
		return nil
	})
}

func (c Config) checkCertificate(p *problems) {
	switch {
	case c.Cert == "" && c.Key == "":
	case c.Cert == "":
		p.bad("cert", "missing, but key is set")
	case c.Key == "":
		p.bad("key", "missing, but cert is set")
	default:
		if _, err := loadPair(c.Cert, c.Key); err != nil {
			p.bad("cert", "%w", err)
		}
	}
}

// checkOrigin takes what a browser writes into the header Origin, in its form: a scheme, a host, at times a port.
func (c Config) checkOrigin(s string) error {
	if s == "*" {
		if len(c.Origins) > 1 {
			return errors.New(`"*" cannot stand beside others`)
		}
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || s != u.Scheme+"://"+u.Host || s != strings.ToLower(s) {
		return fmt.Errorf(`%q is no origin such as "https://example.com", in lower case and without a path`, s)
	}
	return nil
}

// parseNetwork reads an address or a network of addresses.
func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf(`%q is neither an address nor a network such as "10.0.0.0/8"`, s)
	}
	return p.Masked(), nil
}

// SLB is one [[slb]] section: a load balancer that gateways name in their reports, and where the public reaches it.
type SLB struct {
	Name      string   `toml:"name"`      // as in redis.slb of its gateways
	Addresses []string `toml:"addresses"` // "host:port"; in this order, one after the other, in answers
}

// Validate reports every setting of the load balancer that cannot be meant.
func (s SLB) Validate() error {
	var p problems
	if err := checkName(s.Name); s.Name == "" || err != nil {
		p.bad("name", "%s is no name: at most %d bytes, without spaces", quote(s.Name), maxName)
	}
	if len(s.Addresses) == 0 {
		p.bad("addresses", "%s has none", quote(s.Name))
	}
	same := make(map[string]bool)
	for _, a := range s.Addresses {
		if err := checkPublic(a); err != nil {
			p.bad("addresses", "%w", err)
		} else if id := AddressKey(a); same[id] {
			p.bad("addresses", "%q stands there twice", a)
		} else {
			same[id] = true
		}
	}
	return p.err()
}

// checkSLBs looks at each load balancer, and for what two of them both claim.
func checkSLBs(all []SLB) error {
	var errs []error
	names, addresses := make(map[string]bool), make(map[string]string)
	for _, s := range all {
		if err := s.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("slb %q: %w", s.Name, err))
			continue
		}
		if names[s.Name] {
			errs = append(errs, fmt.Errorf("slb %q: the name stands there twice", s.Name))
		}
		names[s.Name] = true
		for _, a := range s.Addresses {
			if other, taken := addresses[AddressKey(a)]; taken {
				errs = append(errs, fmt.Errorf("slb %q: addresses: %q is an address of slb %q too", s.Name, a, other))
			}
			addresses[AddressKey(a)] = s.Name
		}
	}
	return errors.Join(errs...)
}

// AddressKey returns what two ways to write one public address have in common.
func AddressKey(a string) string {
	if ap, err := netip.ParseAddrPort(a); err == nil {
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String()
	}
	return strings.ToLower(a)
}

// checkPublic takes what any client can dial: IP:port, an IPv6 address in brackets, or a DNS name and a port.
func checkPublic(a string) error {
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		return fmt.Errorf("%s is not host:port", quote(a))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("the port of %s is not between 1 and 65535", quote(a))
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil && (ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != ""):
		return fmt.Errorf("%s is no address that a client could dial", quote(a))
	case err != nil && !isDNSName(host):
		return fmt.Errorf("%s has neither an IP address nor a name of DNS before its port", quote(a))
	}
	return nil
}

// isDNSName knows names as RFC 1123 §2.1 has them. One whose last label is a number would be a mistyped IPv4 address.
func isDNSName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, l := range labels {
		odd := func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-')
		}
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.ContainsFunc(l, odd) {
			return false
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// problems gathers what is wrong with one section, each as `key: reason`.
type problems []error

func (p *problems) bad(key, format string, args ...any) {
	*p = append(*p, fmt.Errorf("%s: %w", key, fmt.Errorf(format, args...)))
}

func (p *problems) between(key string, d, least, most time.Duration) {
	if d < least || d > most {
		p.bad(key, "%v is not between %v and %v", d, least, most)
	}
}

func (p *problems) number(key string, v, least, most float64) {
	if !(v >= least && v <= most) { // so written, "not a number" is refused too
		p.bad(key, "%v is not between %v and %v", v, least, most)
	}
}

// each checks the items of a list, and that none stands there twice.
func (p *problems) each(key string, items []string, check func(string) error) {
	for i, item := range items {
		if err := check(item); err != nil {
			p.bad(key, "%w", err)
			continue
		}
		for _, before := range items[:i] {
			if item == before {
				p.bad(key, "%q stands there twice", item)
				break
			}
		}
	}
}

func (p *problems) err() error { return errors.Join(*p...) }
