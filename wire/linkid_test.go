package wire_test

import (
	"errors"
	"math"
	"testing"

	"edged/wire"
)

func TestLinkIDRoundTrip(t *testing.T) {
	tests := []struct {
		address     string
		index, uniq uint32
		want        string
	}{
		{"192.0.2.7:8000", 231, 23, "192.0.2.7:8000:231:23"},
		{"192.0.2.7:8000", 0, 0, "192.0.2.7:8000:0:0"},
		{"192.0.2.7:1", math.MaxUint32, math.MaxUint32, "192.0.2.7:1:4294967295:4294967295"},
		{"[2001:db8::7]:8000", 231, 23, "[2001:db8::7]:8000:231:23"},
		{"[::ffff:192.0.2.7]:8000", 1, 2, "[::ffff:192.0.2.7]:8000:1:2"},
	}
	for _, test := range tests {
		t.Run(test.want, func(t *testing.T) {
			if got := wire.AppendLinkID([]byte("id "), test.address, test.index, test.uniq); string(got) != "id "+test.want {
				t.Errorf("got %q, want %q", got, "id "+test.want)
			}
			address, index, uniq, err := wire.ParseLinkID(test.want)
			if err != nil || address != test.address || index != test.index || uniq != test.uniq {
				t.Errorf("got %q, %d, %d, %v", address, index, uniq, err)
			}
		})
	}
}

func TestParseLinkIDRefuses(t *testing.T) {
	tests := []struct{ name, in string }{
		{"nothing", ""},
		{"colons alone", ":::"},
		{"no numbers", "192.0.2.7:8000"},
		{"one number", "192.0.2.7:8000:231"},
		{"five parts", "192.0.2.7:8000:231:23:1"},
		{"no uniq", "192.0.2.7:8000:231:"},
		{"no index", "192.0.2.7:8000::23"},
		{"no address", ":231:23"},
		{"no port", "192.0.2.7::231:23"},
		{"host name", "edge.example:8000:231:23"},
		{"port too high", "192.0.2.7:65536:231:23"},
		{"index too high", "192.0.2.7:8000:4294967296:23"},
		{"uniq too high", "192.0.2.7:8000:231:4294967296"},
		{"uniq far too high", "192.0.2.7:8000:231:99999999999999999999"},
		{"negative", "192.0.2.7:8000:-1:23"},
		{"signed", "192.0.2.7:8000:+1:23"},
		{"leading zero of index", "192.0.2.7:8000:0231:23"},
		{"leading zero of uniq", "192.0.2.7:8000:231:00"},
		{"hexadecimal", "192.0.2.7:8000:0x1:23"},
		{"underscore", "192.0.2.7:8000:2_3:23"},
		{"space before", " 192.0.2.7:8000:231:23"},
		{"space behind", "192.0.2.7:8000:231:23 "},
		{"newline", "192.0.2.7:8000:231:23\n"},
		{"IPv6 without brackets", "2001:db8::7:8000:231:23"},
		{"IPv6 without a number", "[2001:db8::7]:8000:231"},
		{"IPv4 in brackets", "[192.0.2.7]:8000:231:23"},
		{"bracket left open", "[2001:db8::7:8000:231:23"},
		{"zone", "[fe80::1%eth0]:8000:231:23"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			address, index, uniq, err := wire.ParseLinkID(test.in)
			if !errors.Is(err, wire.ErrLinkID) || address != "" || index != 0 || uniq != 0 {
				t.Errorf("%q: got %q, %d, %d, %v", test.in, address, index, uniq, err)
			}
		})
	}
}

// FuzzParseLinkID: what parses, appends to the same string.
func FuzzParseLinkID(f *testing.F) {
	for _, seed := range []string{"", "192.0.2.7:8000:231:23", "[2001:db8::7]:8000:231:23", "1.2.3.4:5:00:6", "[fe80::1%a]:1:2:3", "::::"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		address, index, uniq, err := wire.ParseLinkID(s)
		if err != nil {
			return
		}
		if got := wire.AppendLinkID(nil, address, index, uniq); string(got) != s {
			t.Fatalf("%q comes back as %q", s, got)
		}
	})
}
