package dispatch_test

import (
	"maps"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"edged/dispatch"
)

// good is the hash of a gateway that is well.
func good() map[string]string {
	return map[string]string{
		"v": "1", "availability": "0.250", "raw": "0.300", "reason": "pps", "state": "up", "pps": "1", "pps_limit": "2",
		"bytes": "3", "bytes_limit": "4", "links": "5", "capacity": "6", "address": "192.0.2.1:7000", "slb": "sh-1",
		"version": "v1", "epoch": "9", "boot": "b1", "seq": "12", "sharded": "1", "at": "1",
	}
}

func TestParseReport(t *testing.T) {
	want := dispatch.Gateway{
		ID: "gw-1", Address: "192.0.2.1:7000", SLB: "sh-1", State: "up", Availability: 0.25, Links: 5, Capacity: 6, Boot: "b1", Seq: 12,
	}
	for _, c := range []struct {
		name, field, value string
		change             func(*dispatch.Gateway)
	}{
		{"as written", "v", "1", func(*dispatch.Gateway) {}},
		{"without load balancer", "slb", "", func(g *dispatch.Gateway) { g.SLB = "192.0.2.1:7000" }},
		{"IPv6", "address", "[2001:db8::7]:8000", func(g *dispatch.Gateway) { g.Address = "[2001:db8::7]:8000" }},
		{"a name for an address", "address", "gw-1.example:443", func(g *dispatch.Gateway) { g.Address = "gw-1.example:443" }},
		{"a load balancer in another script", "slb", "上海-1", func(g *dispatch.Gateway) { g.SLB = "上海-1" }},
		{"all of it free", "availability", "1.000", func(g *dispatch.Gateway) { g.Availability = 1 }},
		{"short numbers", "availability", "1", func(g *dispatch.Gateway) { g.Availability = 1 }},
		{"negative zero", "availability", "-0", func(g *dispatch.Gateway) { g.Availability = 0 }},
		{"draining has nothing free", "state", "draining", func(g *dispatch.Gateway) { g.State, g.Availability = "draining", 0 }},
		{"warming has nothing free", "state", "warming", func(g *dispatch.Gateway) { g.State, g.Availability = "warming", 0 }},
		{"down has nothing free", "state", "down", func(g *dispatch.Gateway) { g.State, g.Availability = "down", 0 }},
		{"a time to come", "at", "99999999999999", func(*dispatch.Gateway) {}},
		{"garbage where nobody looks", "pps", "NaN", func(*dispatch.Gateway) {}},
		{"a field of a later day", "colour", "green", func(*dispatch.Gateway) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fields := good()
			fields[c.field] = c.value
			expect := want
			c.change(&expect)
			if got, err := dispatch.ParseReport("gw-1", fields); err != nil || got != expect {
				t.Errorf("%+v, %v; want %+v", got, err, expect)
			}
		})
	}
}

// broken is what no report may hold, and the word by which the error names it.
var broken = []struct{ name, field, value, says string }{
	{"no version", "v", "-", "v"},
	{"no availability", "availability", "-", "availability"},
	{"no state", "state", "-", "state"},
	{"no links", "links", "-", "links"},
	{"no capacity", "capacity", "-", "capacity"},
	{"no address", "address", "-", "address"},
	{"no slb", "slb", "-", "slb"},
	{"no boot", "boot", "-", "boot"},
	{"no seq", "seq", "-", "seq"},
	{"another version", "v", "2", "v is"},
	{"availability: NaN", "availability", "NaN", "availability"},
	{"availability: infinity", "availability", "+Inf", "availability"},
	{"availability: negative", "availability", "-0.001", "availability"},
	{"availability: above 1", "availability", "1.001", "availability"},
	{"availability: words", "availability", "plenty", "availability"},
	{"availability: empty", "availability", "", "availability"},
	{"availability: hexadecimal", "availability", "0x1p-2", "availability"},
	{"availability: comma", "availability", "0,5", "availability"},
	{"availability: out of range", "availability", "1e999", "availability"},
	{"a state that is none", "state", "asleep", "state"},
	{"links: negative", "links", "-1", "links"},
	{"links: too many", "links", "99999999999", "links"},
	{"capacity: a fraction", "capacity", "1.5", "capacity"},
	{"address: empty", "address", "", "address"},
	{"address: no port", "address", "192.0.2.1", "address"},
	{"address: port 0", "address", "192.0.2.1:0", "address"},
	{"address: port too high", "address", "192.0.2.1:70000", "address"},
	{"address: no host", "address", ":7000", "address"},
	{"address: two lines", "address", "192.0.2.1\n192.0.2.2:7000", "address"},
	{"address: bytes", "address", "\xff\xfe:7000", "address"},
	{"address: endless", "address", strings.Repeat("a", 300) + ":7000", "address"},
	{"slb: a blank", "slb", "sh 1", "slb"},
	{"slb: endless", "slb", strings.Repeat("x", 1000), "slb"},
	{"boot: empty", "boot", "", "boot"},
	{"seq: garbage", "seq", "12a", "seq"},
}

func TestParseReportBroken(t *testing.T) {
	for _, c := range broken {
		t.Run(c.name, func(t *testing.T) {
			fields := good()
			fields[c.field] = c.value
			if c.value == "-" {
				delete(fields, c.field)
			}
			got, err := dispatch.ParseReport("gw-1", fields)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that names %s", err, c.says)
			} else if len(err.Error()) > 200 || !utf8.ValidString(err.Error()) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is no line of a log", err)
			}
			if got != (dispatch.Gateway{}) {
				t.Errorf("a gateway %+v came with the error", got)
			}
		})
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add("1", "0.5", "up", "1", "2", "192.0.2.1:7000", "sh-1", "b", "3")
	f.Add("1", "NaN", "down", "-1", "", "[::1]:1", "", "", "18446744073709551616")
	f.Add("2", "1e-400", "draining", "2147483648", "0", "a:65536", "\x00", "b", "+1")
	f.Fuzz(func(t *testing.T, v, availability, state, links, capacity, address, slb, boot, seq string) {
		fields := map[string]string{"v": v, "availability": availability, "state": state, "links": links, "capacity": capacity,
			"address": address, "slb": slb, "boot": boot, "seq": seq}
		before := maps.Clone(fields)
		g, err := dispatch.ParseReport("gw-1", fields)
		if !maps.Equal(fields, before) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			if g != (dispatch.Gateway{}) || strings.ContainsAny(err.Error(), "\n\r") || len(err.Error()) > 500 {
				t.Fatalf("%+v, %q", g, err)
			}
			return
		}
		if !(g.Availability >= 0 && g.Availability <= 1) || math.Signbit(g.Availability) || g.Links < 0 || g.Capacity < 0 ||
			g.SLB == "" || g.Boot == "" || g.State != state || strings.ContainsAny(g.Address+g.SLB, " \n\r\t\x00") ||
			state != dispatch.StateUp && g.Availability != 0 {
			t.Fatalf("%+v of %v", g, fields)
		}
	})
}

// TestReportRoundTrip writes random reports, NaN and infinities among them, and reads them back: a gateway cannot write what
// the service calls broken.
func TestReportRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	odd := []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 2, 0, 1, 0.9996, 1e300}
	number := func() float64 {
		if rnd.IntN(2) == 0 {
			return odd[rnd.IntN(len(odd))]
		}
		return rnd.Float64()
	}
	states := []string{dispatch.StateUp, dispatch.StateWarming, dispatch.StateDraining, dispatch.StateDown}
	for range 2000 {
		r := dispatch.Report{
			Address: "192.0.2.1:7000", State: states[rnd.IntN(len(states))], Availability: number(), Raw: number(), PPS: number(),
			PPSLimit: number(), Bytes: number(), BytesLimit: number(), Links: rnd.IntN(1 << 30), Capacity: rnd.IntN(1 << 30),
		}
		boot, seq := "b", rnd.Uint64()
		g, err := dispatch.ParseReport("gw-1", dispatch.ReportFields(r, boot, seq))
		if err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		free := r.Availability
		if math.IsNaN(free) || r.State != dispatch.StateUp {
			free = 0
		}
		if want := min(max(free, 0), 1); math.Abs(g.Availability-want) > 0.0005 {
			t.Fatalf("availability %v came back as %v", r.Availability, g.Availability)
		}
		if g.State != r.State || g.Links != r.Links || g.Capacity != r.Capacity || g.Boot != boot || g.Seq != seq || g.SLB != r.Address {
			t.Fatalf("%+v came back as %+v", r, g)
		}
	}
}
