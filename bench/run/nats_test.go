package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// broker is as much of a NATS server as cnats speaks to. It writes in pieces, between which it says what a client must bear.
type broker struct {
	address string
	spoil   func(subject, msg string) string // what a client gets for a message; nil: the message
	greet   string                           // what it says in return for CONNECT
	enough  chan struct{}                    // closed when many messages have come to links

	mu    sync.Mutex // guards the fields below and all writing
	rng   *rand.Rand
	subs  map[string][]net.Conn // by subject; the group of a queue gets each message once
	told  int                   // messages to links
	pongs int
}

// enoughMessages is more than all links have on their way at once, so that slots are used again.
const enoughMessages = 2000

func newBroker(t *testing.T, greet string, spoil func(subject, msg string) string) *broker {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	b := &broker{greet: greet, spoil: spoil, address: l.Addr().String(), enough: make(chan struct{}), rng: rand.New(rand.NewPCG(seed, 0)), subs: make(map[string][]net.Conn)}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { b.serve(c) })
		}
	})
	t.Cleanup(func() { // its clients are gone by then
		_ = l.Close()
		all.Wait()
	})
	return b
}

func (b *broker) serve(c net.Conn) {
	defer c.Close()
	b.write(c, "INFO {\"server_name\":\"broker\",\"max_payload\":1048576}\r\n")
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch f := strings.Fields(line); f[0] {
		case "CONNECT":
			b.write(c, b.greet)
		case "SUB":
			b.mu.Lock()
			b.subs[f[1]] = append(b.subs[f[1]], c)
			b.mu.Unlock()
		case "PING":
			b.write(c, "+OK\r\nPONG\r\n")
		case "PONG":
			b.mu.Lock()
			b.pongs++
			b.mu.Unlock()
		case "PUB":
			body := make([]byte, number(f[2])+2)
			if _, err := io.ReadFull(r, body); err != nil {
				return
			}
			b.publish(f[1], string(body))
		}
	}
}

// publish sends a message to one of those who want it.
func (b *broker) publish(subject, body string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	to := b.subs[subject]
	if strings.HasPrefix(subject, "u.") {
		to = b.subs["u.*"]
	} else if b.told++; b.told == enoughMessages {
		close(b.enough)
	}
	if len(to) == 0 {
		return
	}
	msg := fmt.Sprintf("MSG %s 1 %d\r\n%s", subject, len(body)-2, body)
	if b.spoil != nil {
		msg = b.spoil(subject, msg)
	}
	if b.rng.IntN(50) == 0 {
		msg += "PING\r\n"
	}
	b.writeLocked(to[b.rng.IntN(len(to))], msg)
}

func (b *broker) write(c net.Conn, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writeLocked(c, text)
}

// writeLocked needs not know of errors: who is gone gets nothing.
func (b *broker) writeLocked(c net.Conn, text string) {
	for text != "" {
		n := 1 + b.rng.IntN(len(text))
		_, _ = c.Write([]byte(text[:n]))
		text = text[n:]
	}
}

// runCnats has a load exchange messages over a broker until there were enough, and returns its report, what it said, and whether
// it was content.
func runCnats(t *testing.T, program string, b *broker, args ...string) (report, string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), programLimit)
	t.Cleanup(cancel)
	backend := exec.CommandContext(ctx, program, "-m", "backend", "-t", "2", b.address)
	ready, err := backend.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := backend.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = backend.Process.Kill()
		_ = backend.Wait()
	})
	if line, err := bufio.NewReader(ready).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the backend says %q, %v", line, err)
	}
	return runLoad(t, program, b.enough, append(append([]string{"-m", "load", "-t", "2", "-P", strconv.Itoa(backend.Process.Pid)}, args...), b.address)...)
}

func TestCnats(t *testing.T) {
	program := buildC(t, "cnats")
	for _, args := range []string{"-c 20 -p 8 -d 0.3", "-c 3 -p 256 -s 8 -d 0.3", "-c 2 -p 4 -s 65535 -d 0.3"} {
		t.Run(args, func(t *testing.T) {
			b := newBroker(t, "+OK\r\nPING\r\n", nil)
			rep, said, err := runCnats(t, program, b, strings.Fields(args)...)
			if err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			if err := rep.check(number(strings.Fields(args)[1]), 1, true); err != nil {
				t.Errorf("%v: %s", err, said)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.pongs < 5 {
				t.Errorf("%d PINGs were answered", b.pongs)
			}
			if rep.Frames > b.told || rep.P50 <= 0 {
				t.Errorf("%d answers were counted of %d, p50 %v", rep.Frames, b.told, rep.P50)
			}
		})
	}
}

// TestCnatsFaults: whatever is not what was sent makes the load fail.
func TestCnatsFaults(t *testing.T) {
	program := buildC(t, "cnats")
	once := func(change func(msg string) string) func(string, string) string { // the hundredth message to a link
		n := 0
		return func(subject, msg string) string {
			if strings.HasPrefix(subject, "d.") {
				if n++; n == 100 {
					return change(msg)
				}
			}
			return msg
		}
	}
	replaced := func(old, with string) func(string) string {
		return func(msg string) string { return strings.Replace(msg, old, with, 1) }
	}
	mismatch := func(r report) bool { return r.Mismatches == 1 && r.Errors == 1 }
	refused := func(r report) bool { return r.Mismatches == 0 && r.Errors == 1 && r.Links == 4 }
	for _, tt := range []struct {
		name   string
		change func(string) string
		want   func(report) bool
		said   string
	}{
		{"a byte", func(m string) string { return m[:len(m)-3] + "#\r\n" }, mismatch, "not what was sent"},
		{"twice", func(m string) string { return m + m }, mismatch, "not what was sent"},
		{"another subject", replaced("MSG d.", "MSG d.9"), mismatch, "not what was sent"},
		{"another subscription", replaced(" 1 ", " 2 "), mismatch, "a head that"},
		{"a reply subject", replaced(" 1 ", " 1 r "), mismatch, "a head that"},
		{"shorter", func(m string) string { return strings.Replace(m[:len(m)-3], " 64\r", " 63\r", 1) + "\r\n" }, mismatch, "not what was sent"},
		{"longer than its head says", func(m string) string { return m[:len(m)-2] + "#\r\n" }, mismatch, "another length"},
		{"too long for any", replaced(" 64\r", " 65536\r"), mismatch, "a head that"},
		{"an error", func(string) string { return "-ERR 'Stale Connection'\r\n" }, refused, "-ERR 'Stale Connection'"},
		{"an endless line", func(string) string { return strings.Repeat("x", 5000) }, refused, "too long"},
		{"lost", func(string) string { return "" }, func(r report) bool { return r.Silent == 1 && r.Errors == 0 }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBroker(t, "", once(tt.change))
			rep, said, err := runCnats(t, program, b, "-c", "5", "-p", "8")
			if err == nil || !tt.want(rep) || !strings.Contains(said, tt.said) {
				t.Errorf("%v, %+v: %s", err, rep, said)
			}
		})
	}
}

// TestCnatsUnopened: a server that takes nobody is an error for each link.
func TestCnatsUnopened(t *testing.T) {
	program := buildC(t, "cnats")
	var out, said bytes.Buffer
	load := exec.CommandContext(t.Context(), program, "-c", "3", "-w", "0", "-d", "0.01", "127.0.0.1:1")
	load.Stdout, load.Stderr = &out, &said
	if err := load.Run(); err == nil {
		t.Error("it is content")
	}
	if rep, err := parseReport(out.Bytes()); err != nil || rep.Errors != 3 || rep.Links != 0 {
		t.Errorf("%+v, %v: %s", rep, err, said.String())
	}
	backend := exec.CommandContext(t.Context(), program, "-m", "backend", "127.0.0.1:1")
	if out, err := backend.CombinedOutput(); err == nil || strings.Contains(string(out), "ready") {
		t.Errorf("the backend: %v, %s", err, out)
	}
}
