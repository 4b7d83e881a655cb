package dispatch_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"edged/dispatch"
)

func TestDefaultIsValid(t *testing.T) {
	c := dispatch.Default()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	c.Listen[0] = "changed"
	if dispatch.Default().Listen[0] == "changed" {
		t.Error("two configurations share their list")
	}
}

func TestConfigValidate(t *testing.T) {
	set := func(change func(c *dispatch.Config)) dispatch.Config {
		c := dispatch.Default()
		change(&c)
		return c
	}
	listen := func(l ...string) dispatch.Config { return set(func(c *dispatch.Config) { c.Listen = l }) }
	origins := func(l ...string) dispatch.Config { return set(func(c *dispatch.Config) { c.Origins = l }) }
	proxies := func(l ...string) dispatch.Config { return set(func(c *dispatch.Config) { c.TrustedProxies = l }) }
	for _, tt := range []struct {
		name string
		c    dispatch.Config
		want string // part of the error; empty: valid
	}{
		{"listens", listen("127.0.0.1:7080", "[::1]:7080", ":80", "localhost:0", "unix:/run/edged/dispatch.sock"), ""},
		{"nowhere", listen(), "listen: the list is empty"},
		{"no port", listen("127.0.0.1"), `listen: "127.0.0.1" is neither host:port nor unix:/absolute/path`},
		{"port", listen("127.0.0.1:65536"), `"127.0.0.1:65536" is neither`},
		{"relative", listen("unix:x.sock"), `listen: "unix:x.sock" is not unix: and an absolute path`},
		{"long path", listen("unix:/" + strings.Repeat("x", 107)), "of at most 107 bytes"},
		{"twice", listen("127.0.0.1:1", "127.0.0.1:1"), `listen: "127.0.0.1:1" stands there twice`},
		{"mode", set(func(c *dispatch.Config) { c.Mode = "SEED" }), `mode: "SEED" is not one of`},
		{"guards off", set(func(c *dispatch.Config) { c.Correction, c.ShareCap = 0, 0 }), ""},
		{"correction", set(func(c *dispatch.Config) { c.Correction = -1 }), "correction: -1ns is not between"},
		{"cap", set(func(c *dispatch.Config) { c.ShareCap = 0.5 }), "share_cap: 0.5 is not between 1 and"},
		{"refresh", set(func(c *dispatch.Config) { c.Refresh = 0 }), "refresh: 0s is not between 100ms and 1m0s"},
		{"ttl", set(func(c *dispatch.Config) { c.TTL = time.Millisecond }), "ttl: 1ms"},
		{"heartbeat", set(func(c *dispatch.Config) { c.Heartbeat = 0 }), "heartbeat: 0s"},
		{"base", set(func(c *dispatch.Config) { c.Backoff.Base = 0 }), "backoff.base: 0s"},
		{"max", set(func(c *dispatch.Config) { c.Backoff.Max = time.Millisecond }), "backoff.max: 1ms is shorter than base (1s)"},
		{"factor", set(func(c *dispatch.Config) { c.Backoff.Factor = 0.9 }), "backoff.factor: 0.9 is not between 1 and 100"},
		{"jitter", set(func(c *dispatch.Config) { c.Backoff.Jitter = 1.1 }), "backoff.jitter: 1.1 is not between 0 and 1"},
		{"key alone", set(func(c *dispatch.Config) { c.Key = "/k" }), "cert: missing, but key is set"},
		{"cert alone", set(func(c *dispatch.Config) { c.Cert = "/c" }), "key: missing, but cert is set"},
		{"no cert", set(func(c *dispatch.Config) { c.Cert, c.Key = "/nonexistent/c", "/nonexistent/k" }), "cert: /nonexistent/c with /nonexistent/k: open"},
		{"all origins", origins("*"), ""},
		{"origins", origins("https://a.example.com", "http://localhost:8080", "capacitor://localhost"), ""},
		{"all and one", origins("*", "https://a.example.com"), `origins: "*" cannot stand beside others`},
		{"path", origins("https://a.example.com/"), `origins: "https://a.example.com/" is no origin`},
		{"host alone", origins("a.example.com"), "is no origin"},
		{"capitals", origins("https://A.example.com"), "in lower case"},
		{"null", origins("null"), "is no origin"},
		{"origin twice", origins("https://a.b", "https://a.b"), "stands there twice"},
		{"proxies", proxies("10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1"), ""},
		{"proxy", proxies("10.0.0.0/33"), `trusted_proxies: "10.0.0.0/33" is neither an address nor a network`},
		{"proxy name", proxies("proxy.example.com"), "trusted_proxies: "},
	} {
		t.Run(tt.name, func(t *testing.T) { wantError(t, tt.c.Validate(), tt.want) })
	}
}

func wantError(t *testing.T, err error, part string) {
	t.Helper()
	if (err == nil) != (part == "") || err != nil && !strings.Contains(err.Error(), part) {
		t.Errorf("error %v, want %q", err, part)
	}
}

func TestSLBValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		s    dispatch.SLB
		want string
	}{
		{"both families", slb("sh-1", "203.0.113.7:7000", "[2001:db8::7]:7000"), ""},
		{"a name", slb("sh-1", "gw-1.example.com:443", "gw-1.example.com.:444", "localhost:1"), ""},
		{"any script", slb("上海-1", "203.0.113.7:7000"), ""},
		{"no name", slb("", "203.0.113.7:7000"), `name: "" is no name`},
		{"a space", slb("sh 1", "203.0.113.7:7000"), `name: "sh 1" is no name`},
		{"a long name", slb(strings.Repeat("x", 256), "203.0.113.7:7000"), "is no name: at most 255 bytes"},
		{"no address", slb("sh-1"), `addresses: "sh-1" has none`},
		{"twice", slb("sh-1", "203.0.113.7:7000", "203.0.113.7:7000"), `addresses: "203.0.113.7:7000" stands there twice`},
		{"twice in two ways", slb("sh-1", "[2001:db8::7]:7000", "[2001:DB8:0::7]:07000"), `"[2001:DB8:0::7]:07000" stands there twice`},
		{"twice by name", slb("sh-1", "a.example.com:1", "A.Example.com:1"), `"A.Example.com:1" stands there twice`},
		{"no port", slb("sh-1", "203.0.113.7"), `addresses: "203.0.113.7" is not host:port`},
		{"port 0", slb("sh-1", "203.0.113.7:0"), "the port of"},
		{"port", slb("sh-1", "203.0.113.7:http"), "the port of"},
		{"no brackets", slb("sh-1", "2001:db8::7:7000"), "is not host:port"},
		{"no host", slb("sh-1", ":7000"), "neither an IP address nor a name"},
		{"unspecified", slb("sh-1", "0.0.0.0:7000", "[::]:7000"), "no address that a client could dial"},
		{"zone", slb("sh-1", "[fe80::1%eth0]:7000"), "no address that a client could dial"},
		{"multicast", slb("sh-1", "224.0.0.1:7000"), "no address that a client could dial"},
		{"mistyped", slb("sh-1", "203.0.113.777:7000"), "neither an IP address nor a name"},
		{"a line", slb("sh-1", "a\nb:7000"), `"a\nb:7000" has neither`},
		{"markup", slb("sh-1", `"},<a>:7000`), "has neither"},
		{"labels", slb("sh-1", "-a.example.com:1", "a..b:1", strings.Repeat("a", 64)+":1", "a_b:1"), "a_b:1"},
	} {
		t.Run(tt.name, func(t *testing.T) { wantError(t, tt.s.Validate(), tt.want) })
	}
}

func TestAddressKey(t *testing.T) {
	seen := map[string]bool{}
	for _, same := range [][]string{
		{"203.0.113.7:7000", "[::ffff:203.0.113.7]:7000"}, {"203.0.113.7:7001"}, {"[2001:db8::7]:1", "[2001:DB8:0:0::7]:1"}, {"a.example:1", "A.EXAMPLE:1"},
	} {
		for _, a := range same {
			if dispatch.AddressKey(a) != dispatch.AddressKey(same[0]) {
				t.Errorf("%q are not the same", same)
			}
		}
		if k := dispatch.AddressKey(same[0]); seen[k] {
			t.Errorf("%q is taken for another one", same)
		} else {
			seen[k] = true
		}
	}
	if keys := []string{dispatch.AddressKey(""), dispatch.AddressKey("x")}; slices.Contains(keys, "y") {
		t.Error(keys)
	}
}
