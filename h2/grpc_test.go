package h2_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"edged/h2"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// serve starts a server of the gRPC library.
func serve(t testing.TB, network, address string, handler grpc.StreamHandler, opts ...grpc.ServerOption) (*grpc.Server, string) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	if handler != nil {
		opts = append(opts, grpc.UnknownServiceHandler(handler))
	}
	s := grpc.NewServer(append(opts, grpc.ForceServerCodecV2(bytesCodec{}))...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // returns when the server is stopped
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return s, l.Addr().String()
}

func echo(_ any, st grpc.ServerStream) error {
	for {
		var b []byte
		if err := st.RecvMsg(&b); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := st.SendMsg(b); err != nil {
			return err
		}
	}
}

func TestEcho(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	small := []grpc.ServerOption{grpc.StaticStreamWindowSize(64 << 10), grpc.StaticConnWindowSize(64 << 10)}
	tests := []struct {
		name, network string
		window        int
		largest, n    int
		server        []grpc.ServerOption
	}{
		{"small messages", "tcp", 1 << 20, 300, 3000, nil},
		{"more than the futile frames that a second may have", "tcp", 1 << 20, 10, 30000, nil}, // the server asks with each
		{"a unix socket", "unix", 1 << 20, 300, 3000, nil},
		{"around a frame", "tcp", 1 << 20, 40000, 500, nil},
		{"tiny windows of the server", "tcp", 1 << 20, 300000, 40, small},
		{"tiny windows of both", "tcp", 65535, 300000, 40, small},
		{"tiny windows of both at a unix socket", "unix", 65535, 300000, 40, small},
		{"the largest", "tcp", 65535, 4 << 20, 6, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			address := "127.0.0.1:0"
			if tt.network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
			}
			_, address = serve(t, tt.network, address, echo, append(tt.server, grpc.MaxRecvMsgSize(8<<20))...)
			o := options()
			o.Window = tt.window
			c := dial(t, tt.network, address, o)
			sizes := make([]int, tt.n)
			for i := range sizes {
				sizes[i] = rnd.IntN(tt.largest + 1)
			}
			sizes[0], sizes[1] = 0, tt.largest
			within(t, "the echo", func() { bounce(t, c, sizes) })
		})
	}
}

// bounce sends messages of these sizes and wants them back, then the end.
func bounce(t *testing.T, c *h2.Call, sizes []int) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for i, n := range sizes {
			if err := c.Send(pattern(i, n)); err != nil {
				t.Errorf("send %d: %v", i, err)
				return
			}
		}
		if err := c.CloseSend(); err != nil {
			t.Error(err)
		}
	})
	var b []byte
	for i, n := range sizes {
		var err error
		if b, err = c.Recv(b); err != nil {
			t.Errorf("receive %d: %v", i, err)
			return
		}
		if string(b) != string(pattern(i, n)) {
			t.Errorf("message %d of %d bytes came as %d bytes", i, n, len(b))
			return
		}
	}
	for range 2 {
		if _, err := c.Recv(b); err != io.EOF {
			t.Errorf("the end: %v", err)
		}
	}
}

func pattern(i, n int) []byte {
	b := make([]byte, n)
	for k := range b {
		b[k] = byte(i*31 + k*7 + k>>8)
	}
	return b
}

func TestStatusOfServer(t *testing.T) {
	tests := []struct {
		name string
		end  error
		code codes.Code
		text string
	}{
		{"text", status.Error(codes.FailedPrecondition, "not today"), codes.FailedPrecondition, "not today"},
		{"percent and more", status.Error(codes.NotFound, "100% ä\n\x01 %41"), codes.NotFound, "100% ä\n\x01 %41"},
		{"an expired deadline", status.FromContextError(context.DeadlineExceeded).Err(), codes.DeadlineExceeded, "context deadline exceeded"},
		{"unknown", fmt.Errorf("oops"), codes.Unknown, "oops"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, address := serve(t, "tcp", "127.0.0.1:0", func(_ any, st grpc.ServerStream) error {
				if err := st.SendMsg([]byte("x")); err != nil {
					return err
				}
				return tt.end
			})
			c := dial(t, "tcp", address, options())
			got, err := drain(c)
			if len(got) != 1 || status.Code(err) != tt.code || textOf(err) != tt.text {
				t.Errorf("got %q, %v", got, err)
			}
			within(t, "the sender's end", func() {
				if err := c.Send([]byte("x")); err != io.EOF {
					t.Errorf("send: %v", err)
				}
			})
		})
	}
	t.Run("no such method", func(t *testing.T) {
		_, address := serve(t, "tcp", "127.0.0.1:0", nil)
		if _, err := drain(dial(t, "tcp", address, options())); status.Code(err) != codes.Unimplemented {
			t.Errorf("got %v", err)
		}
	})
}

// A server that stops gracefully lets the stream go on; one that is stopped breaks it.
func TestServerStops(t *testing.T) {
	s, address := serve(t, "tcp", "127.0.0.1:0", echo)
	c := dial(t, "tcp", address, options())
	say := func() {
		t.Helper()
		if err := c.Send([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if b, err := c.Recv(nil); err != nil || string(b) != "x" {
			t.Fatalf("got %q, %v", b, err)
		}
	}
	say()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.GracefulStop()
	}()
	for range 20 {
		say()
		time.Sleep(2 * time.Millisecond) // so that the server's second GOAWAY comes between two
	}
	if err := c.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Recv(nil); err != io.EOF {
		t.Errorf("the end: %v", err)
	}
	c.Close()
	within(t, "GracefulStop", func() { <-stopped })

	s, address = serve(t, "tcp", "127.0.0.1:0", echo)
	c = dial(t, "tcp", address, options())
	say()
	s.Stop()
	if _, err := c.Recv(nil); status.Code(err) != codes.Unavailable {
		t.Errorf("after Stop: %v", err)
	}
}

// A call that is closed ends in the server too.
func TestCloseReachesServer(t *testing.T) {
	ended := make(chan struct{})
	_, address := serve(t, "tcp", "127.0.0.1:0", func(_ any, st grpc.ServerStream) error {
		defer close(ended)
		<-st.Context().Done()
		return nil
	})
	c := dial(t, "tcp", address, options())
	received := make(chan error)
	go func() {
		_, err := c.Recv(nil)
		received <- err
	}()
	c.Close()
	c.Close()
	within(t, "the end", func() {
		if err := <-received; status.Code(err) != codes.Canceled {
			t.Errorf("receive: %v", err)
		}
		if err := c.Send(nil); status.Code(err) != codes.Canceled {
			t.Errorf("send: %v", err)
		}
		<-ended
	})
}

func TestTooManyPings(t *testing.T) {
	_, address := serve(t, "tcp", "127.0.0.1:0", func(_ any, st grpc.ServerStream) error {
		<-st.Context().Done()
		return nil
	})
	o := options()
	o.KeepAlive, o.KeepAliveTimeout = 5*time.Millisecond, patience
	c := dial(t, "tcp", address, o)
	within(t, "the refusal", func() {
		_, err := drain(c)
		if status.Code(err) != codes.Unavailable || !c.TooManyPings() {
			t.Errorf("got %v", err)
		}
	})
}
