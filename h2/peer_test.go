package h2_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"edged/h2"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/status"
)

const patience = 10 * time.Second // of every wait in these tests

// polledVariable has all calls of these tests be polled.
const polledVariable = "EDGED_TEST_H2_POLLED"

// All that holds for a call holds for a polled one.
func TestPolledAsWell(t *testing.T) {
	if os.Getenv(polledVariable) != "" {
		return // this is the run with polled calls
	}
	cmd := exec.Command(os.Args[0], "-test.timeout=5m")
	cmd.Env = append(os.Environ(), polledVariable+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func options() h2.Options {
	return h2.Options{Path: "/test.Test/Echo", Authority: "test", Window: 1 << 20, MaxMessage: 4 << 20}
}

func dial(t testing.TB, network, address string, o h2.Options) *h2.Call {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	o.Polled = o.Polled || os.Getenv(polledVariable) != ""
	c, err := h2.Dial(ctx, network, address, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// peer is a server made of frames.
type peer struct {
	net.Conn
	fr    *http2.Framer
	heads bytes.Buffer
	pack  *hpack.Encoder
}

// script serves one connection by play, once the call's head has come.
func script(t testing.TB, o h2.Options, play func(p *peer) error) *h2.Call {
	t.Helper()
	return dial(t, "tcp", serveRaw(t, func(p *peer) error {
		if err := p.greet(); err != nil {
			return err
		}
		return play(p)
	}), o)
}

// serveRaw serves one connection by play and returns the address.
func serveRaw(t testing.TB, play func(p *peer) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		p := &peer{Conn: conn, fr: http2.NewFramer(conn, conn)}
		p.fr.AllowIllegalWrites = true
		p.pack = hpack.NewEncoder(&p.heads)
		if err := play(p); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("peer: %v", err)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

func (p *peer) greet(settings ...http2.Setting) error {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(p, preface); err != nil || string(preface) != http2.ClientPreface {
		return fmt.Errorf("preface %q: %v", preface, err)
	}
	if err := p.fr.WriteSettings(settings...); err != nil {
		return err
	}
	for {
		f, err := p.fr.ReadFrame()
		if err != nil {
			return err
		}
		if _, ok := f.(*http2.HeadersFrame); ok {
			return nil
		}
	}
}

// block packs a head from names and values in turn.
func (p *peer) block(fields ...string) []byte {
	p.heads.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = p.pack.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return p.heads.Bytes()
}

func (p *peer) head(end bool, fields ...string) error {
	return p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block(fields...), EndHeaders: true, EndStream: end})
}

func (p *peer) ok() error { return p.head(false, ":status", "200", "content-type", "application/grpc") }

func (p *peer) trailers(fields ...string) error { return p.head(true, fields...) }

// message is one with its prefix.
func message(body string) []byte {
	b := make([]byte, 5, 5+len(body))
	binary.BigEndian.PutUint32(b[1:], uint32(len(body)))
	return append(b, body...)
}

// untilClosed reads whatever comes.
func (p *peer) untilClosed() error {
	_, _ = io.Copy(io.Discard, p)
	return nil
}

// drain receives until the end.
func drain(c *h2.Call) (got []string, err error) {
	var b []byte
	for {
		if b, err = c.Recv(b); err != nil {
			return got, err
		}
		got = append(got, string(b))
	}
}

func within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s takes too long", what)
	}
}

func textOf(err error) string { return status.Convert(err).Message() }
