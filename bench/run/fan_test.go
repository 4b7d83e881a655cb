package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// tongue is how a hub is spoken to: one of cfan's dialects, seen from the other side.
type tongue struct {
	first    string // what the server says unasked
	greeting string // how the client's greeting ends
	welcome  string
	said     string // what stands before a body of 100 bytes that comes
	news     string // before one that goes
	tail     string // behind both
}

var tongues = map[string]tongue{
	"plain": {greeting: "\x00\x00", welcome: "\x00\x00", said: "\x00\x65\x03", news: "\x00\x65\x03"},
	"edged": {greeting: "\x00\x01\x01", welcome: "\x00\x03\x02ab", said: "\x00\x65\x03", news: "\x00\x65\x03"},
	"nats":  {"INFO {}\r\n", "PING\r\n", "PING\r\nPONG\r\n", "PUB all 100\r\n", "MSG all 1 100\r\n", "\r\n"},
	"mqtt":  {greeting: "\x00\x03all\x00", welcome: "\x20\x02\x00\x00\x90\x03\x00\x01\x00", said: "\x30\x69\x00\x03all", news: "\x30\x69\x00\x03all"},
}

// hub gives each message to all, in pieces. A link's own goroutine writes to it, so that no client can make others wait.
type hub struct {
	tongue
	address string
	spoil   func(link, n int, msg string) string // what a link gets as its nth message; nil: the message
	enough  chan struct{}                        // closed when many messages have come

	mu      sync.Mutex // guards the fields below
	rng     *rand.Rand
	links   []chan string
	counted int
}

func newHub(t *testing.T, dialect string, spoil func(link, n int, msg string) string) *hub {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	h := &hub{tongue: tongues[dialect], spoil: spoil, address: l.Addr().String(), enough: make(chan struct{}), rng: rand.New(rand.NewPCG(seed, 0))}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { h.serve(c, &all) })
		}
	})
	t.Cleanup(func() { // its clients are gone by then
		_ = l.Close()
		all.Wait()
	})
	return h
}

// serve welcomes a link, and hands on what it says.
func (h *hub) serve(c net.Conn, all *sync.WaitGroup) {
	defer c.Close()
	_, _ = io.WriteString(c, h.first)
	if err := readTo(c, h.greeting); err != nil {
		return
	}
	h.mu.Lock()
	link, out := len(h.links), make(chan string, 1000)
	h.links = append(h.links, out)
	h.mu.Unlock()
	gone := make(chan struct{})
	defer close(gone)
	all.Go(func() { h.write(c, link, out, gone) })
	if h.first != "" { // NATS: the answer to our PING comes first
		if err := readTo(c, "PONG\r\n"); err != nil {
			return
		}
	}
	for b := make([]byte, len(h.said)+fanPayload+len(h.tail)); ; {
		if _, err := io.ReadFull(c, b); err != nil || !strings.HasPrefix(string(b), h.said) || !strings.HasSuffix(string(b), h.tail) {
			return
		}
		h.publish(h.news + string(b[len(h.said):]))
	}
}

func readTo(c net.Conn, end string) error {
	var b []byte
	for one := make([]byte, 1); !strings.HasSuffix(string(b), end); b = append(b, one...) {
		if _, err := c.Read(one); err != nil {
			return err
		}
	}
	return nil
}

func (h *hub) publish(msg string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.counted++; h.counted == enoughMessages {
		close(h.enough)
	}
	for _, out := range h.links {
		select {
		case out <- msg:
		default: // it is gone
		}
	}
}

// write cuts what a link gets anywhere.
func (h *hub) write(c net.Conn, link int, out <-chan string, gone <-chan struct{}) {
	_, _ = io.WriteString(c, h.welcome)
	rest := ""
	for n := 0; ; n++ {
		select {
		case msg := <-out:
			if h.spoil != nil {
				msg = h.spoil(link, n, msg)
			}
			rest += msg
		case <-gone:
			return
		}
		for rest != "" && (len(out) == 0 || len(rest) > 1000) {
			h.mu.Lock()
			k := 1 + h.rng.IntN(len(rest))
			h.mu.Unlock()
			_, _ = io.WriteString(c, rest[:k])
			rest = rest[k:]
		}
	}
}

func TestCfan(t *testing.T) {
	program := buildC(t, "cfan")
	for dialect := range tongues {
		for _, args := range []string{"-c 20 -p 1 -t 2", "-c 7 -p 16 -t 3", "-c 1 -p 256 -t 1"} {
			t.Run(dialect+" "+args, func(t *testing.T) {
				h := newHub(t, dialect, nil)
				all := append(strings.Fields(args), "-m", dialect, "-s", "100", h.address)
				rep, said, err := runLoad(t, program, h.enough, all...)
				links := number(strings.Fields(args)[1])
				if err != nil || rep.check(links, 0, true) != nil {
					t.Fatalf("%v, %+v: %s", err, rep, said)
				}
				h.mu.Lock()
				defer h.mu.Unlock()
				if rep.Frames > links*h.counted || rep.P50 <= 0 {
					t.Errorf("%d deliveries of %d messages to %d links, p50 %v", rep.Frames, h.counted, links, rep.P50)
				}
			})
		}
	}
}

// TestCfanFaults: whatever is not what was sent, once and in its order, makes the load fail.
func TestCfanFaults(t *testing.T) {
	program := buildC(t, "cfan")
	for _, tt := range []struct {
		name  string
		spoil func(msg string, held *string) string // link 2's 50th message
		want  string
	}{
		{"a byte", func(m string, _ *string) string { return m[:60] + "#" + m[61:] }, "not what was sent"},
		{"twice", func(m string, _ *string) string { return m + m }, "not what was sent"},
		{"late", func(m string, held *string) string { *held = m; return "" }, "not what was sent"},
		{"longer", func(m string, _ *string) string { return "\x00\x66" + m[2:] + "x" }, "not what was sent"},
		{"no such kind", func(m string, _ *string) string { return m[:2] + "\x04" + m[3:] }, "what nobody sends"},
		{"welcome again", func(m string, _ *string) string { return "\x00\x01\x02" + m }, "welcome twice"},
		{"an empty frame", func(m string, _ *string) string { return "\x00\x00" + m }, "what nobody sends"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			held := ""
			h := newHub(t, "edged", func(link, n int, msg string) string {
				if link == 2 && n == 50 {
					return tt.spoil(msg, &held)
				}
				if link == 2 && n > 50 {
					msg, held = msg+held, ""
				}
				return msg
			})
			rep, said, err := runLoad(t, program, nil, "-d", "0.1", "-c", "5", "-p", "4", "-t", "1", "-m", "edged", "-s", "100", h.address)
			if err == nil || rep.Mismatches != 1 || rep.Errors != 1 || rep.Links != 4 || !strings.Contains(said, tt.want) {
				t.Errorf("%v, %+v: %s", err, rep, said)
			}
		})
	}
}

// TestCroom: what one link says comes to all, whichever thread they belong to, and those that leave are no burden.
func TestCroom(t *testing.T) {
	floor := serve(t, buildC(t, "croom"), "-n", "3", "0")
	program := buildC(t, "cfan")
	for _, args := range []string{"-c 50 -p 1 -t 2", "-c 200 -p 16 -t 2", "-c 1 -p 3 -t 1"} {
		enough := make(chan struct{})
		timer := time.AfterFunc(100*time.Millisecond, func() { close(enough) })
		defer timer.Stop()
		rep, said, err := runLoad(t, program, enough, append(strings.Fields(args), "-m", "plain", "-s", "100", floor.address)...)
		if err != nil || rep.check(number(strings.Fields(args)[1]), 0, true) != nil {
			t.Fatalf("%v, %+v: %s", err, rep, said)
		}
	}
	if !floor.alive() {
		t.Error("it ended")
	}
}

func TestMosquittoConfig(t *testing.T) {
	for _, want := range []string{"listener 7001 127.0.0.1\n", "allow_anonymous true\n", "persistence false\n", "sys_interval 0\n", "set_tcp_nodelay true\n"} {
		if text := mosquittoConfig(7001); !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// TestFanRows: each program is spoken to in its own way, and the peers are there only if they were asked for.
func TestFanRows(t *testing.T) {
	t.Setenv("PEERS", "1")
	set := defaults(t)
	want := map[string]string{"C floor": "plain", "edged": "edged", "NATS": "nats", "mosquitto": "mqtt"}
	for _, r := range fanRows(set) {
		for _, s := range r.subjects {
			args := strings.Join(loadArgs(set, r, s, []int{1}), " ")
			if part := fmt.Sprintf("-m %s -p %d -t 2 ", want[s.who], r.depth); !strings.Contains(args, part) {
				t.Errorf("%s, %s: %q is not in %q", r.name, s.who, part, args)
			}
		}
		if len(r.subjects) != len(want) {
			t.Errorf("%s: %v", r.name, r.subjects)
		}
	}
	if _, args := new(bench).managerCommand(row{mode: fanout}, subject{manager: inC, session: 150}); !slices.Equal(args, []string{"-s", "150", "-r", "all", "127.0.0.1:0"}) {
		t.Errorf("the Manager gets %q", args)
	}
	set.peers = false
	for _, r := range fanRows(set) {
		if len(r.subjects) != 2 {
			t.Errorf("%s without peers: %v", r.name, r.subjects)
		}
	}
}
