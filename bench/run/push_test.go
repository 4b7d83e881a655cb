package main

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
)

// pusher is as much of a gateway as cpush speaks to: it welcomes a link, and answers each of its frames with a push.
type pusher struct {
	address string
	push    func(link int, tid uint32) string // the frames that a link gets for one of its own
	enough  chan struct{}

	mu     sync.Mutex // guards the fields below
	links  int
	pushed int
	said   map[byte]int // frames of each kind
}

func newPusher(t *testing.T, push func(link int, tid uint32) string) *pusher {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pusher{address: l.Addr().String(), push: push, enough: make(chan struct{}), said: make(map[byte]int)}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() { // its clients are gone by then
		_ = l.Close()
		all.Wait()
	})
	return p
}

func (p *pusher) serve(c net.Conn) {
	defer c.Close()
	if err := readTo(c, "\x00\x01\x01"); err != nil {
		return
	}
	p.mu.Lock()
	link := p.links
	p.links++
	p.mu.Unlock()
	_, _ = io.WriteString(c, "\x00\x03\x02ab")
	for tid, f := uint32(0), make([]byte, 7); ; tid++ {
		if _, err := io.ReadFull(c, f); err != nil || f[0] != 0 || f[1] != 5 {
			return
		}
		p.mu.Lock()
		p.said[f[2]]++
		if p.pushed++; p.pushed == enoughMessages {
			close(p.enough)
		}
		p.mu.Unlock()
		if _, err := io.WriteString(c, p.push(link, tid)); err != nil {
			return
		}
	}
}

// pushOf returns a push frame of 64 bytes, with a msg_id if it is to be acknowledged.
func pushOf(tid uint32, required bool) string {
	b := []byte{4, 0}
	if required {
		b[1] = 1 | 32
	}
	b = binary.BigEndian.AppendUint32(b, tid)
	if required {
		b = append(b, "\x00\x00\x00\x00\x00\x00\x00\x00\x03m12"...)
	}
	for i := range payload {
		b = append(b, byte('a'+i%26))
	}
	return string(append([]byte{0, byte(len(b))}, b...))
}

func TestCpush(t *testing.T) {
	program := buildC(t, "cpush")
	for _, mode := range []string{"none", "required"} {
		for _, args := range []string{"-c 20 -p 1 -t 2", "-c 3 -p 256 -t 1"} {
			t.Run(mode+" "+args, func(t *testing.T) {
				p := newPusher(t, func(_ int, tid uint32) string { return pushOf(tid, mode == "required") })
				rep, said, err := runLoad(t, program, p.enough, append(strings.Fields(args), "-m", mode, p.address)...)
				if err != nil || rep.check(number(strings.Fields(args)[1]), 0, true) != nil {
					t.Fatalf("%v, %+v: %s", err, rep, said)
				}
				p.mu.Lock()
				defer p.mu.Unlock()
				answer := map[string]byte{"none": 3, "required": 5}[mode]
				if rep.Frames > p.pushed || rep.P50 <= 0 || p.said[answer] == 0 || mode == "required" && p.said[3] != number(strings.Fields(args)[1])*number(strings.Fields(args)[3]) {
					t.Errorf("%d of %d pushes were counted, p50 %v, frames by kind: %v", rep.Frames, p.pushed, rep.P50, p.said)
				}
			})
		}
	}
}

// TestCpushFaults: whatever is not the push that is due makes the load fail.
func TestCpushFaults(t *testing.T) {
	program := buildC(t, "cpush")
	change := func(at int, to byte) func(string) string {
		return func(push string) string { return push[:at] + string([]byte{to}) + push[at+1:] }
	}
	for _, tt := range []struct {
		name  string
		spoil func(push string) string
		want  func(report) bool
	}{
		{"a byte", change(40, '#'), mismatched},
		{"another kind", change(2, 3), mismatched},
		{"repeated", change(3, 1|32|8), mismatched},
		{"without a stamp", func(string) string { return pushOf(30, false) }, mismatched},
		{"the tid before", func(string) string { return pushOf(29, true) }, mismatched},
		{"without a msg_id", change(16, 0), mismatched},
		{"twice", func(push string) string { return push + pushOf(31, true) }, mismatched},
		{"a heartbeat", func(push string) string { return "\x00\x00" + push }, mismatched},
		{"too short", func(string) string { return "\x00\x03\x04\x21\x00" }, mismatched},
		{"lost", func(string) string { return "" }, func(r report) bool { return r.Silent == 1 && r.Errors == 0 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPusher(t, func(link int, tid uint32) string {
				if link == 2 && tid == 30 {
					return tt.spoil(pushOf(tid, true))
				}
				if link == 2 && tid > 30 && tt.name == "lost" {
					return ""
				}
				return pushOf(tid, true)
			})
			rep, said, err := runLoad(t, program, nil, "-d", "0.1", "-c", "5", "-p", "1", "-t", "1", "-m", "required", p.address)
			if err == nil || !tt.want(rep) {
				t.Errorf("%v, %+v: %s", err, rep, said)
			}
		})
	}
}

func mismatched(r report) bool { return r.Mismatches == 1 && r.Errors == 1 && r.Links == 4 }

// TestPushRows: the Manager of each subject pushes as its load awaits it, and the first is whom the second is divided by.
func TestPushRows(t *testing.T) {
	for _, r := range pushRows() {
		for i, mode := range []string{"none", "required"} {
			s := r.subjects[i]
			if _, args := new(bench).managerCommand(r, s); !slices.Equal(args, []string{"-s", "150", "-a", mode, "127.0.0.1:0"}) {
				t.Errorf("%s, %s: the Manager gets %q", r.name, s.who, args)
			}
		}
		if r.reference() != r.subjects[0].who {
			t.Errorf("%s is divided by %s", r.name, r.reference())
		}
	}
}
