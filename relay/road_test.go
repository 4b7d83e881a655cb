package relay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// plainBytes is a server's codec whose messages are byte slices, used again for receiving.
type plainBytes struct{}

func (plainBytes) Name() string { return "proto" }

func (plainBytes) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (plainBytes) Unmarshal(data mem.BufferSlice, v any) error {
	b := v.(*[]byte)
	*b = (*b)[:0]
	for _, part := range data {
		*b = append(*b, part.ReadOnlyData()...)
	}
	return nil
}

// echoServer answers each message with itself, and "end" with a status.
func echoServer(t testing.TB, network, address string) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.ForceServerCodecV2(plainBytes{}), grpc.UnknownServiceHandler(func(_ any, st grpc.ServerStream) error {
		var b []byte
		for {
			if err := st.RecvMsg(&b); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			if string(b) == "end" {
				return status.Error(codes.FailedPrecondition, "not today")
			}
			if err := st.SendMsg(bytes.Clone(b)); err != nil {
				return err
			}
		}
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // returns when the server is stopped
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	if network == "unix" {
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}

// roads are both, without TLS.
var roads = []struct {
	name string
	cred credentials.TransportCredentials
}{{"library", insecure.NewCredentials()}, {"own", nil}}

func openRoad(t testing.TB, address string, cred credentials.TransportCredentials) (road, call) {
	t.Helper()
	r, err := newRoad(address, cred, false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	waiting, enough := context.WithTimeout(ctx, 10*time.Second)
	defer enough()
	if !r.ready(waiting, func(err error) { t.Error(err) }) {
		t.Fatal("not ready")
	}
	c, err := r.open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

func TestRoads(t *testing.T) {
	for _, road := range roads {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(road.name+" "+network, func(t *testing.T) {
				address := "127.0.0.1:0"
				if network == "unix" {
					address = filepath.Join(t.TempDir(), "s")
				}
				_, c := openRoad(t, echoServer(t, network, address), road.cred)
				in := &inbound{}
				for _, m := range []any{[]byte("hello"), &Batch{wire: []byte("hello")}} {
					if err := c.SendMsg(m); err != nil {
						t.Fatal(err)
					}
					if err := c.RecvMsg(in); err != nil || string(in.b) != "hello" {
						t.Fatalf("%q, %v", in.b, err)
					}
				}
				if err := c.SendMsg([]byte("end")); err != nil {
					t.Fatal(err)
				}
				if err := c.RecvMsg(in); status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != "not today" {
					t.Errorf("the end: %v", err)
				}
			})
		}
	}
}

// Both tell why they cannot connect in the same words, once for each attempt, and leave when they are told to.
func TestRoadsExplain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	want := fmt.Sprintf(`connection error: desc = "transport: Error while dialing: dial tcp %v: connect: connection refused"`, l.Addr())
	for _, road := range roads {
		t.Run(road.name, func(t *testing.T) {
			r, err := newRoad(l.Addr().String(), road.cred, false)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			n := 0
			if r.ready(ctx, func(err error) {
				if ctx.Err() != nil {
					return // the attempt under way is cut off, which may be told too
				}
				if n++; n == 1 {
					time.AfterFunc(200*time.Millisecond, cancel)
				}
				if status.Code(err) != codes.Unavailable || status.Convert(err).Message() != want {
					t.Errorf("got %v", err)
				}
			}) {
				t.Error("ready")
			}
			if n == 0 || n > 4 {
				t.Errorf("told %d times", n)
			}
		})
	}
}

// A server that is probed too often is probed half as often.
func TestProbesTooOften(t *testing.T) {
	address := echoServer(t, "tcp", "127.0.0.1:0")
	p := newPlain(address)
	p.options.KeepAlive = 2 * time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer func() {
		cancel()
		_ = p.Close()
	}()
	never := func(err error) { t.Error(err) }
	if !p.ready(ctx, never) {
		t.Fatal("not ready")
	}
	c, _ := p.open(ctx)
	if err := c.RecvMsg(&inbound{}); status.Code(err) != codes.Unavailable {
		t.Fatalf("got %v", err)
	}
	if !p.ready(ctx, never) || p.options.KeepAlive != 4*time.Millisecond {
		t.Errorf("probes every %v", p.options.KeepAlive)
	}
}

// Both ends in one process; the CPU is that of both.
func BenchmarkRoads(b *testing.B) {
	for _, n := range []int{1, 64} {
		for _, road := range roads {
			b.Run(fmt.Sprintf("messages=%d/%s", n, road.name), func(b *testing.B) {
				_, c := openRoad(b, echoServer(b, "tcp", "127.0.0.1:0"), road.cred)
				out, in := &Batch{wire: make([]byte, 200*n)}, &inbound{}
				out.refs.Store(1) // so that none is pushed anywhere
				b.ReportAllocs()
				b.ResetTimer()
				begin := cpu(b)
				for range b.N {
					if err := c.SendMsg(out); err != nil {
						b.Fatal(err)
					}
					if err := c.RecvMsg(in); err != nil || len(in.b) != len(out.wire) {
						b.Fatalf("%d bytes, %v", len(in.b), err)
					}
				}
				b.ReportMetric(float64(cpu(b)-begin)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
