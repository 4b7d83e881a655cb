package h2_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/h2"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// soon is how long a client of these tests may take to leave.
const soon = 300 * time.Millisecond

func serverOptions() h2.Options { return h2.Options{Window: 1 << 20, MaxMessage: 4 << 20} }

// accept serves each connection by serve, which has the call until it returns with the status. It does not ask whether the client
// is alone. What Accept says goes to serve's error channel, if it fails.
func accept(t testing.TB, network, address string, o h2.Options, serve func(c *h2.Call) error) (at string, failed <-chan error) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	fails := make(chan error, 16)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				read, _, err := h2.Sniff(conn)
				if err != nil {
					_ = conn.Close()
					fails <- err
					return
				}
				c, err := h2.Accept(ctx, conn, read, o)
				if err != nil {
					fails <- err
					return
				}
				c.Finish(serve(c), soon)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String(), fails
}

// mirrored is a server that sends back what it gets.
func mirrored(c *h2.Call) error {
	var b []byte
	for {
		var err error
		if b, err = c.Recv(b); err != nil {
			return err
		}
		if err := c.Send(b); err != nil {
			return err
		}
	}
}

func TestAcceptEcho(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, tt := range []struct {
		name, network  string
		client, server int // windows
		largest, n     int
		most           int // bytes of a piece on the way; 0: as they come
	}{
		{"small messages", "tcp", 1 << 20, 1 << 20, 300, 3000, 0},
		{"a unix socket", "unix", 1 << 20, 1 << 20, 300, 3000, 0},
		{"in pieces", "tcp", 1 << 20, 1 << 20, 300, 300, 7},
		{"around a frame", "tcp", 1 << 20, 1 << 20, 40000, 500, 0},
		{"tiny windows", "tcp", 65535, 65535, 300000, 40, 0},
		{"tiny windows in pieces", "tcp", 65535, 65535, 100000, 10, 4000},
		{"the largest", "tcp", 65535, 1 << 20, 4 << 20, 6, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			address := "127.0.0.1:0"
			if tt.network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
			}
			o := serverOptions()
			o.Window = tt.server
			paths := make(chan string, 1)
			address, _ = accept(t, tt.network, address, o, func(c *h2.Call) error {
				paths <- c.Path()
				return mirrored(c)
			})
			if tt.most > 0 {
				address = chop(t, seed, tt.most, address)
			}
			o = options()
			o.Window = tt.client
			c := dial(t, tt.network, address, o)
			sizes := make([]int, tt.n)
			for i := range sizes {
				sizes[i] = rnd.IntN(tt.largest + 1)
			}
			sizes[0], sizes[1] = 0, tt.largest
			within(t, "the echo", func() { bounce(t, c, sizes) })
			if p := <-paths; p != options().Path {
				t.Errorf("asked for %q", p)
			}
		})
	}
}

// The gRPC library's client is served as well, and understands how a call ends.
func TestAcceptGRPC(t *testing.T) {
	verdicts := map[string]error{
		"OK":       nil,
		"named":    status.Error(codes.FailedPrecondition, "100 % of \"this\"\nüber\x7f"),
		"no text":  status.Error(codes.Aborted, ""),
		"no gRPC":  errors.New("plain"),
		"long":     status.Error(codes.Internal, strings.Repeat("x", 100000)),
		"EOF":      io.EOF,
		"canceled": context.Canceled,
	}
	address, _ := accept(t, "tcp", "127.0.0.1:0", serverOptions(), func(c *h2.Call) error {
		b, err := c.Recv(nil)
		if err != nil {
			return err
		}
		if err := c.Send(b); err != nil {
			return err
		}
		return verdicts[string(b)]
	})
	for name, want := range verdicts {
		t.Run(name, func(t *testing.T) {
			conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{})))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			st, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.Test/End")
			if err != nil {
				t.Fatal(err)
			}
			if err := st.SendMsg([]byte(name)); err != nil {
				t.Fatal(err)
			}
			var b []byte
			if err := st.RecvMsg(&b); err != nil || string(b) != name {
				t.Fatalf("got %q, %v", b, err)
			}
			err = st.RecvMsg(&b)
			if want == nil {
				want = io.EOF
			}
			text := textOf(want)
			text = text[:min(len(text), 4096)]
			if want == io.EOF && err != io.EOF || want != io.EOF && (status.Code(err) != status.Code(want) || textOf(err) != text) {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
}

func TestSniff(t *testing.T) {
	first := func(settings ...http2.Setting) string {
		b := bytes.NewBufferString(http2.ClientPreface)
		_ = http2.NewFramer(b, nil).WriteSettings(settings...)
		return b.String()
	}
	alone := http2.Setting{ID: 0xf1ed, Val: 1}
	for _, tt := range []struct {
		name, sent  string
		alone, ends bool // ends: the client closes before it can be told
	}{
		{"alone", first(alone), true, false},
		{"alone, and more", first(http2.Setting{ID: 4, Val: 70000}, alone, http2.Setting{ID: 6, Val: 1}) + "rest", true, false},
		{"another value", first(http2.Setting{ID: 0xf1ed, Val: 2}), false, false},
		{"others", first(http2.Setting{ID: 4, Val: 70000}), false, false},
		{"none", first(), false, false},
		{"an ACK", http2.ClientPreface + "\x00\x00\x00\x04\x01\x00\x00\x00\x00", false, false},
		{"a PING", http2.ClientPreface + "\x00\x00\x08\x06\x00\x00\x00\x00\x00", false, false},
		{"too long", http2.ClientPreface + "\x00\x40\x01\x04\x00\x00\x00\x00\x00", false, false},
		{"the longest", http2.ClientPreface + "\x00\x40\x00\x04\x00\x00\x00\x00\x00" + strings.Repeat("\x00", 16384), false, false},
		{"TLS", "\x16\x03\x01\x02\x00\x01", false, false},
		{"HTTP/1", "GET / HTTP/1.1\r\n\r\n", false, false},
		{"almost HTTP/2", http2.ClientPreface[:20] + "xx", false, false},
		{"nothing", "", false, true},
		{"half a preface", http2.ClientPreface[:10], false, true},
		{"half the settings", first(alone)[:30], false, true},
	} {
		for _, piece := range []int{1, 5, 1 << 20} {
			client, server := net.Pipe()
			go func() {
				for b := range slices.Chunk([]byte(tt.sent), piece) {
					if _, err := client.Write(b); err != nil {
						return
					}
				}
				if tt.ends {
					_ = client.Close()
				}
			}()
			_ = server.SetDeadline(time.Now().Add(patience))
			read, alone, err := h2.Sniff(server)
			if alone != tt.alone || (err != nil) != tt.ends || !strings.HasPrefix(tt.sent, string(read)) {
				t.Errorf("%s in pieces of %d: %v, %v, read %q", tt.name, piece, alone, err, read)
			}
			_, _ = client.Close(), server.Close()
		}
	}
}

// client is one made of frames.
func client(t testing.TB, address string) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	p := &peer{Conn: conn, fr: http2.NewFramer(conn, conn)}
	p.fr.AllowIllegalWrites = true
	p.pack = hpack.NewEncoder(&p.heads)
	return p
}

func (p *peer) preface() error {
	_, err := io.WriteString(p, http2.ClientPreface)
	if err == nil {
		err = p.fr.WriteSettings()
	}
	return err
}

func (p *peer) ask() error {
	return p.head(false, ":method", "POST", ":scheme", "http", ":path", "/a/b", ":authority", "x", "content-type", "application/grpc", "te", "trailers")
}

// verdict reads until the end of the call and returns how the server says that it ended; "" if it does not.
func (p *peer) verdict() (code string) {
	p.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		f, err := p.fr.ReadFrame()
		if err != nil {
			return code
		}
		if f, ok := f.(*http2.MetaHeadersFrame); ok {
			for _, field := range f.Fields {
				if field.Name == "grpc-status" {
					code = field.Value
				}
			}
		}
	}
}

func TestAcceptFaults(t *testing.T) {
	raw := func(kind http2.FrameType, flags http2.Flags, id uint32, b string) func(*peer) error {
		return func(p *peer) error { return p.fr.WriteRawFrame(kind, flags, id, []byte(b)) }
	}
	say := func(b []byte) func(*peer) error { return func(p *peer) error { return p.fr.WriteData(1, false, b) } }
	head := func(fields ...string) func(*peer) error {
		return func(p *peer) error { return p.head(false, fields...) }
	}
	ask := (*peer).ask
	type steps = []func(*peer) error
	for _, tt := range []struct {
		name string
		play steps
		got  string     // messages, in front of one another
		code codes.Code // of Recv; or of Accept, if it failed
		text string
		told string // grpc-status that the client gets
	}{
		{"a message and the end", steps{ask, say(message("a")), raw(http2.FrameData, http2.FlagDataEndStream, 1, "")}, "a", codes.OK, "", "0"},
		{"the end with the message", steps{ask, raw(http2.FrameData, http2.FlagDataEndStream, 1, string(message("a")))}, "a", codes.OK, "", "0"},
		{"the end with the head", steps{func(p *peer) error {
			return p.head(true, ":method", "POST", ":path", "/a/b", "content-type", "application/grpc")
		}}, "", codes.OK, "", "0"},
		{"an end in the middle", steps{ask, raw(http2.FrameData, http2.FlagDataEndStream, 1, string(message("abc")[:6]))}, "", codes.Internal, "unexpected EOF", "13"},
		{"PING and what nobody knows between", steps{raw(http2.FramePing, 0, 0, "12345678"), raw(0x99, 0xff, 77, "?"), ask, say(message("a")), raw(http2.FrameData, 1, 1, "")}, "a", codes.OK, "", "0"},
		{"reset", steps{ask, say(message("a")), raw(http2.FrameRSTStream, 0, 1, "\x00\x00\x00\x08")}, "a", codes.Canceled, "CANCEL", ""},
		{"gone", steps{ask}, "", codes.Unavailable, "error reading from client: EOF", ""},
		{"gone before it asked", steps{}, "", codes.Unavailable, "error reading from client: EOF", ""},
		{"a farewell, then gone", steps{ask, raw(http2.FrameGoAway, 0, 0, "\x00\x00\x00\x00\x00\x00\x00\x00bye"), say(message("a"))}, "a", codes.Unavailable, "bye", ""},
		{"DATA after the end", steps{ask, raw(http2.FrameData, 1, 1, string(message("a"))), say(message("b"))}, "a", codes.OK, "", "0"},
		{"a second head", steps{ask, ask}, "", codes.Unavailable, "second head", "14"},
		{"a second call", steps{ask, func(p *peer) error {
			return p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: p.block(":method", "POST"), EndHeaders: true})
		}}, "", codes.Unavailable, "HEADERS on stream 3", "14"},
		{"DATA before a head", steps{say(message("a"))}, "", codes.Internal, "before HEADERS", ""},
		{"GET", steps{head(":method", "GET", ":path", "/", "content-type", "application/grpc")}, "", codes.Internal, "is no call", "13"},
		{"no gRPC", steps{head(":method", "POST", ":path", "/", "content-type", "text/html")}, "", codes.Internal, "text/html", "13"},
		{"compressed", steps{ask, say([]byte{1, 0, 0, 0, 0})}, "", codes.Internal, "identity", "13"},
		{"compressed by name", steps{head(":method", "POST", ":path", "/", "content-type", "application/grpc", "grpc-encoding", "gzip"), say([]byte{1, 0, 0, 0, 0})}, "", codes.Internal, `"gzip"`, "13"},
		{"too large", steps{ask, say([]byte{0, 0xff, 0xff, 0xff, 0xff})}, "", codes.ResourceExhausted, "larger than max", "8"},
		{"a long frame", steps{ask, raw(http2.FrameData, 0, 1, strings.Repeat("x", 16385))}, "", codes.Unavailable, "16385", "14"},
		{"window overflows", steps{ask, raw(http2.FrameWindowUpdate, 0, 0, "\x7f\xff\xff\xff")}, "", codes.Unavailable, "window", "14"},
		{"a push", steps{ask, raw(http2.FramePushPromise, 4, 1, "\x00\x00\x00\x02")}, "", codes.Unavailable, "push", "14"},
		{"frames without end", steps{ask, func(p *peer) error {
			_, _ = p.Write([]byte(strings.Repeat("\x00\x00\x00\x00\x00\x00\x00\x00\x01", 12000))) // it may have left already
			return nil
		}}, "", codes.Unavailable, "without a byte", "14"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			type end struct {
				got string
				err error
			}
			ended := make(chan end, 1)
			address, failed := accept(t, "tcp", "127.0.0.1:0", serverOptions(), func(c *h2.Call) error {
				got, err := drain(c)
				ended <- end{strings.Join(got, " "), err}
				return err
			})
			p := client(t, address)
			for _, step := range append(steps{(*peer).preface}, tt.play...) {
				if err := step(p); err != nil {
					t.Fatal(err)
				}
			}
			_ = p.Conn.(*net.TCPConn).CloseWrite()
			told := p.verdict()
			within(t, "the end", func() {
				var e end
				select {
				case e = <-ended:
				case e.err = <-failed:
				}
				if tt.code == codes.OK && e.err == io.EOF {
					e.err = nil
				}
				if e.got != tt.got || status.Code(e.err) != tt.code || !strings.Contains(textOf(e.err), tt.text) {
					t.Errorf("got %q, %v, want %q, %v %q", e.got, e.err, tt.got, tt.code, tt.text)
				}
			})
			// A reset may have taken away what a client that breaks the protocol was told.
			if told != tt.told && !(told == "" && tt.code == codes.Unavailable) {
				t.Errorf("the client was told %q, want %q", told, tt.told)
			}
		})
	}
}

// A client that asks for nothing is given up when the time is over.
func TestAcceptSilence(t *testing.T) {
	here, there := tcpPair(t)
	defer there.Close()
	var b bytes.Buffer
	b.WriteString(http2.ClientPreface)
	_ = http2.NewFramer(&b, nil).WriteSettings()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	within(t, "giving up", func() {
		if _, err := h2.Accept(ctx, here, b.Bytes(), serverOptions()); status.Code(err) != codes.Unavailable {
			t.Errorf("got %v", err)
		}
	})
	_ = there.SetDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, there); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Logf("the connection ended with %v", err) // closed or reset: it has ended
	}
}

func tcpPair(t testing.TB) (here, there net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if there, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if here, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return here, there
}

// A call may be finished while it is received and sent, by a client that reads nothing.
func TestFinishFrees(t *testing.T) {
	out := make(chan error, 2)
	began := make(chan struct{})
	took := make(chan time.Duration, 1)
	address, _ := accept(t, "tcp", "127.0.0.1:0", serverOptions(), func(c *h2.Call) error {
		go func() {
			_, err := c.Recv(nil)
			out <- err
		}()
		go func() {
			close(began)
			for {
				if err := c.Send(make([]byte, 100000)); err != nil {
					out <- err
					return
				}
			}
		}()
		<-began
		time.Sleep(20 * time.Millisecond) // the window is used up meanwhile
		start := time.Now()
		c.Finish(status.Error(codes.Aborted, "taken over"), soon)
		took <- time.Since(start)
		return nil
	})
	c := dial(t, "tcp", address, options())
	within(t, "the end", func() {
		for range 2 {
			if err := <-out; status.Code(err) != codes.Aborted {
				t.Errorf("got %v", err)
			}
		}
		if d := <-took; d < soon/2 {
			t.Errorf("a client that had not left was waited for %v", d)
		}
		// What the client had no room for before it was given up is lost.
		if _, err := drain(c); status.Code(err) != codes.Aborted && status.Code(err) != codes.Unavailable {
			t.Errorf("the client got %v", err)
		}
	})
}

// What an answered call costs its server.
func TestAcceptAllocations(t *testing.T) {
	address, _ := accept(t, "tcp", "127.0.0.1:0", serverOptions(), mirrored)
	tripsAllocateNothing(t, dial(t, "tcp", address, options())) // of both ends
}

// A server notices a client that has fallen silent.
func TestAcceptKeepAlive(t *testing.T) {
	o := serverOptions()
	o.KeepAlive, o.KeepAliveTimeout = 20*time.Millisecond, 50*time.Millisecond
	ended := make(chan error, 1)
	address, _ := accept(t, "tcp", "127.0.0.1:0", o, func(c *h2.Call) error {
		_, err := c.Recv(nil)
		ended <- err
		return err
	})
	p := client(t, address)
	if err := errors.Join(p.preface(), p.ask()); err != nil {
		t.Fatal(err)
	}
	within(t, "the end", func() {
		if err := <-ended; status.Code(err) != codes.Unavailable || !strings.Contains(textOf(err), "keepalive") {
			t.Errorf("got %v", err)
		}
	})
}

// Whatever bytes a client sends, its call ends with an error or goes on within its bounds.
func FuzzAccept(f *testing.F) {
	var b bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	_ = fr.WriteSettings()
	p := &peer{fr: fr}
	p.pack = hpack.NewEncoder(&p.heads)
	_ = p.ask()
	ok := b.String()
	f.Add([]byte(ok + "\x00\x00\x06\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x01x"))
	f.Add([]byte(ok + "\x00\x00\x00\x00\x08\x00\x00\x00\x01"))
	f.Add([]byte(ok + "\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08"))
	f.Add([]byte("\x00\x00\x08\x07\x00\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00\x00\x00" + ok))
	f.Fuzz(func(t *testing.T, b []byte) {
		o := serverOptions()
		o.MaxMessage = 1000
		here, there := tcpPair(t)
		defer there.Close()
		go func() {
			_, _ = there.Write(b)
			_ = there.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, there)
			_ = there.Close()
		}()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		c, err := h2.Accept(ctx, here, []byte(http2.ClientPreface), o)
		if err != nil {
			if _, ok := status.FromError(err); !ok {
				t.Errorf("no status: %v", err)
			}
			return
		}
		if len(b)%2 == 0 {
			for range 3 {
				c.Attend()
			}
		}
		got, err := drain(c)
		for _, m := range got {
			if len(m) > o.MaxMessage || len(m) > len(b) {
				t.Errorf("a message of %d bytes out of %d", len(m), len(b))
			}
		}
		if _, ok := status.FromError(err); !ok && err != io.EOF {
			t.Errorf("no status: %v", err)
		}
		c.Finish(err, time.Second)
	})
}
