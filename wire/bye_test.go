package wire_test

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"edged/wire"
)

func TestByeRoundTrip(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name        string
		after, want time.Duration
	}{
		{"none", 0, 0},
		{"negative", -time.Second, 0},
		{"whole", 1500 * ms, 1500 * ms},
		{"rounded up from a nanosecond", 1, ms},
		{"rounded up", 1500*ms + 1, 1501 * ms},
		{"largest of the wire", math.MaxUint32 * ms, math.MaxUint32 * ms},
		{"cut to the wire", math.MaxUint32*ms + 1, math.MaxUint32 * ms},
		{"largest of Go", math.MaxInt64, math.MaxUint32 * ms},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := wire.ParseBye(wire.AppendBye(nil, wire.ByeOverloaded, test.after, "full")[3:])
			if got.Reason != wire.ByeOverloaded || got.RetryAfter != test.want || string(got.Text) != "full" {
				t.Errorf("got %+v, want retry after %v", got, test.want)
			}
		})
	}
}

func TestByeShort(t *testing.T) {
	for n := range 5 {
		got := wire.ParseBye([]byte("\x07\x01\x01\x01")[:min(n, 4)])
		if got.Reason != wire.ByeNormal || got.RetryAfter != 0 || len(got.Text) != 0 {
			t.Errorf("%d bytes: got %+v", n, got)
		}
	}
	if got := wire.ParseBye([]byte("\x07\x00\x00\x00\x00")); got.Reason != wire.ByeKicked {
		t.Errorf("five bytes: got %+v", got)
	}
}

func TestByeTextIsCutBetweenRunes(t *testing.T) {
	const most = wire.MaxRest - 5
	tests := []struct {
		name, text string
		want       int
	}{
		{"fits", strings.Repeat("x", most), most},
		{"one too many", strings.Repeat("x", most+1), most},
		{"rune over the edge", strings.Repeat("x", most-1) + "é", most - 1},
		{"rune at the edge", strings.Repeat("x", most-2) + "é!", most},
		{"long rune over the edge", strings.Repeat("x", most-3) + "\U0001F44B", most - 3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := wire.ParseBye(wire.AppendBye(nil, wire.ByeKicked, 0, test.text)[3:])
			if len(got.Text) != test.want || !strings.HasPrefix(test.text, string(got.Text)) {
				t.Errorf("got %d bytes, want %d", len(got.Text), test.want)
			}
		})
	}
}

func TestByeTextIsUTF8(t *testing.T) {
	got := wire.ParseBye(wire.AppendBye(nil, wire.ByeKicked, 0, "a\xff\xfeb")[3:])
	if string(got.Text) != "a\uFFFDb" {
		t.Errorf("got %q", got.Text)
	}
}

func TestCutText(t *testing.T) {
	tests := []struct {
		text     string
		maxFrame int
		want     string
	}{
		{"hello", 11, "hello"},
		{"hello", 10, "hell"},
		{"hello", 6, ""},
		{"hello", 0, ""},
		{"aé", 8, "a"},
		{"aé", 9, "aé"},
		{"é", 7, ""},
		{"\x80\x80\x80", 8, ""}, // no rune begins here, so there is none to keep
	}
	for _, test := range tests {
		if got := wire.CutText(test.text, test.maxFrame); got != test.want {
			t.Errorf("%q for max_frame %d: got %q, want %q", test.text, test.maxFrame, got, test.want)
		}
	}
}

// FuzzParseBye: any rest parses, and what it gave appends to the same bytes
// unless it was short or its text was not UTF-8.
func FuzzParseBye(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("\x07\x00"))
	f.Add([]byte("\x08\x00\x00\x05\xdcback soon"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, rest []byte) {
		if len(rest) > wire.MaxRest {
			return
		}
		bye := wire.ParseBye(rest)
		again := wire.AppendBye(nil, bye.Reason, bye.RetryAfter, string(bye.Text))
		body, n, err := wire.Split(again, wire.MaxBody)
		if err != nil || n != len(again) || wire.CheckGateway(body) != nil {
			t.Fatalf("%q comes back as %q: %v", rest, again, err)
		}
		if len(rest) >= 5 && utf8.Valid(rest[5:]) && string(body[1:]) != string(rest) {
			t.Fatalf("%q comes back as %q", rest, body[1:])
		}
		if !utf8.Valid(body[6:]) {
			t.Fatalf("text %q", body[6:])
		}
	})
}
