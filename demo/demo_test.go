package demo_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"edged/config"
	"edged/demo"
	"edged/gateway"
)

// limit bounds every wait of these tests.
const limit = 20 * time.Second

// served is a gateway as cmd/edged starts it, without its windows.
type served struct {
	*gateway.Gateway
	front string // where clients connect; empty: the gateway itself
}

func (s served) Addresses() []string {
	if s.front != "" {
		return []string{s.front}
	}
	return s.Gateway.Addresses()
}

func (s served) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return s.Gateway.Stop(ctx)
}

func startGateway(cfg *config.Config, log *slog.Logger) (demo.Gateway, error) {
	g, err := gateway.New(gateway.Options{
		Config: cfg.Gateway, Listeners: cfg.Listeners, Managers: cfg.Manager, Version: "test", Files: 4096, Log: log,
	})
	if err != nil {
		return nil, err
	}
	g.Start()
	return served{Gateway: g}, nil
}

func options(out io.Writer) demo.Options {
	o := demo.Default()
	o.Start, o.Out, o.Log = startGateway, out, slog.New(slog.DiscardHandler)
	o.Links, o.People, o.Duration = 50, 4, time.Second
	return o
}

func TestShow(t *testing.T) {
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := demo.Run(ctx, options(&out)); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"50 links", "chat words", "nothing was lost"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output does not say %q:\n%s", want, out.String())
		}
	}
}

// TestShowReloads has the gateway replaced, or so it believes, and says what the clients noticed.
func TestShowReloads(t *testing.T) {
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	o := options(&out)
	times := 0
	reload := func(context.Context) (string, error) {
		times++
		return fmt.Sprintf("reload %d: process 4711 serves", times), nil
	}
	o.Deeds = demo.Deeds{List: []func(context.Context) (string, error){reload, reload, reload}, Name: "3 reloads"}
	if err := demo.Run(ctx, o); err != nil || times != 3 {
		t.Fatalf("%d reloads, %v\n%s", times, err, out.String())
	}
	for _, want := range []string{"reload 3: process 4711 serves\n", "3 reloads: 0 links broken; messages lost 0 up and 0 down, doubled 0 and 0, out of order 0 and 0; longest pause"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output does not say %q:\n%s", want, out.String())
		}
	}
	failure := errors.New("no room")
	o.Deeds.List[1] = func(context.Context) (string, error) { return "", failure }
	if err := demo.Run(ctx, o); !errors.Is(err, failure) {
		t.Errorf("error %v", err)
	}
}

// TestShowFindsHarm puts somebody between the clients and the gateway who changes a byte now and then.
func TestShowFindsHarm(t *testing.T) {
	var out bytes.Buffer
	o := options(&out)
	o.Start = func(cfg *config.Config, log *slog.Logger) (demo.Gateway, error) {
		g, err := startGateway(cfg, log)
		if err != nil {
			return nil, err
		}
		return served{g.(served).Gateway, harm(t, g.Addresses()[0])}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := demo.Run(ctx, o); !errors.Is(err, demo.ErrWrong) {
		t.Fatalf("a changed byte went unnoticed: %v\n%s", err, out.String())
	}
}

// harm serves a proxy to address which changes the last byte of one large piece on its way to the client.
func harm(t *testing.T, address string) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lis.Close() })
	var pieces atomic.Int64
	go func() {
		for {
			down, err := lis.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", address)
			if err != nil {
				_ = down.Close()
				continue
			}
			go func() { _, _ = io.Copy(up, down); _ = up.Close() }()
			go func() {
				defer func() { _ = down.Close() }()
				b := make([]byte, 4096)
				for {
					n, err := up.Read(b)
					if n == 67 && pieces.Add(1) == 100 { // a single answer of the swarm: head, kind, 64 bytes
						b[n-1] ^= 1
					}
					if _, werr := down.Write(b[:n]); err != nil || werr != nil {
						return
					}
				}
			}()
		}
	}()
	return lis.Addr().String()
}

// textLink is a link whose client talks plain text.
type textLink struct {
	t *testing.T
	net.Conn
}

func dialText(t *testing.T, address, hello string) textLink {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(limit))
	l := textLink{t, c}
	l.send(1, hello)
	return l
}

func (l textLink) send(kind byte, text string) {
	l.t.Helper()
	frame := append(binary.BigEndian.AppendUint16(nil, uint16(1+len(text))), kind)
	if _, err := l.Write(append(frame, text...)); err != nil {
		l.t.Fatal(err)
	}
}

func (l textLink) receive() (kind byte, text string) {
	l.t.Helper()
	var head [2]byte
	if _, err := io.ReadFull(l, head[:]); err != nil {
		l.t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(head[:]))
	if _, err := io.ReadFull(l, body); err != nil {
		l.t.Fatal(err)
	}
	return body[0], string(body[1:])
}

func (l textLink) hears(want string) {
	l.t.Helper()
	if kind, text := l.receive(); kind != 3 || text != want {
		l.t.Errorf("got kind %d %q, want DATA %q", kind, text, want)
	}
}

// keep runs demo.Keep until the test ends.
func keep(t *testing.T) (address string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	addresses := make(chan string, 1)
	o := options(io.Discard)
	o.Start = func(cfg *config.Config, log *slog.Logger) (demo.Gateway, error) {
		g, err := startGateway(cfg, log)
		if err == nil {
			addresses <- g.Addresses()[0]
		}
		return g, err
	}
	ended := make(chan error, 1)
	go func() { ended <- demo.Keep(ctx, o) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case address = <-addresses:
	case <-time.After(limit):
		t.Fatal("no gateway")
	}
	return address
}

func TestPlainText(t *testing.T) {
	address := keep(t)
	alice := dialText(t, address, "alice laptop")
	if kind, _ := alice.receive(); kind != 2 {
		t.Fatalf("kind %d instead of WELCOME", kind)
	}
	alice.send(3, "hello")
	alice.hears("alice: hello")
	alice.send(3, "@bob are you there?")
	alice.hears("bob is not here")
	bob := dialText(t, address, "bob phone")
	if kind, _ := bob.receive(); kind != 2 {
		t.Fatalf("kind %d instead of WELCOME", kind)
	}
	alice.send(3, "@bob hi")
	bob.hears("alice: hi")

	for _, hello := range []string{"", "alice", "alice the laptop", "\xff\xfe phone"} {
		if kind, text := dialText(t, address, hello).receive(); kind != 6 || text[0] != 4 {
			t.Errorf("HELLO %q: kind %d %q, want BYE 4", hello, kind, text)
		}
	}
}
