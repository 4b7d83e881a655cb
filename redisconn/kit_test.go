package redisconn_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"edged/redisconn"
)

// limit bounds every wait of these tests.
const limit = 10 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// record is a log whose lines can be counted.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *record) count(part string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Count(r.text.String(), part)
}

// open returns a client that may not be connected yet, and its log.
func open(t *testing.T, c redisconn.Config) (*redisconn.Client, *record) {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	r := &record{}
	cl := redisconn.New(c, slog.New(slog.NewTextHandler(r, nil)))
	t.Cleanup(cl.Close)
	return cl, r
}

// refused waits until the client says what is wrong, with one of the parts.
func refused(t *testing.T, cl *redisconn.Client, parts ...string) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		err := cl.Err()
		if err != nil && slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(err.Error(), p) }) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the error is %v, not one of %q", err, parts)
		}
	}
}

// connect returns a client that is connected, and its log.
func connect(t *testing.T, c redisconn.Config) (*redisconn.Client, *record) {
	t.Helper()
	cl, r := open(t, c)
	eventually(t, "a connection", cl.Connected)
	return cl, r
}

func at(addrs ...string) redisconn.Config { return redisconn.Config{Addresses: addrs} }

func set(cl *redisconn.Client, key, value string) error {
	return setIn(context.Background(), cl, key, value)
}

func setIn(ctx context.Context, cl *redisconn.Client, key, value string) error {
	return cl.Do(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Set().Key(key).Value(value).Build() }).Error()
}

func get(t *testing.T, cl *redisconn.Client, key string) string {
	t.Helper()
	v, err := cl.Do(context.Background(), func(b rueidis.Builder) rueidis.Completed { return b.Get().Key(key).Build() }).ToString()
	if err != nil {
		t.Errorf("GET %s: %v", key, err)
	}
	return v
}

func ping(b rueidis.Builder) rueidis.Completed { return b.Ping().Build() }

func publish(cl *redisconn.Client, channel, message string) error {
	return cl.Do(context.Background(), func(b rueidis.Builder) rueidis.Completed {
		return b.Publish().Channel(channel).Message(message).Build()
	}).Error()
}

// subscription is a Receive under way.
type subscription struct {
	messages chan string // channel=message
	ended    chan error
	cancel   context.CancelFunc
}

// subscribe returns when the server has confirmed.
func subscribe(t *testing.T, cl *redisconn.Client, channels ...string) *subscription {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s := &subscription{make(chan string, 100), make(chan error, 1), cancel}
	confirmed := make(chan struct{}, len(channels))
	hooked := rueidis.WithOnSubscriptionHook(ctx, func(rueidis.PubSubSubscription) { confirmed <- struct{}{} })
	go func() {
		s.ended <- cl.Receive(hooked, channels, func(channel, message string) { s.messages <- channel + "=" + message })
	}()
	for range channels {
		await(t, confirmed)
	}
	return s
}

func await[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(limit):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

// forwarder is an address that leads to one server or another, as a name or a virtual address does.
type forwarder struct {
	addr string

	mu    sync.Mutex
	to    string
	taken int
}

func forward(t *testing.T, to string) *forwarder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{addr: l.Addr().String(), to: to}
	var conns sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		conns.Wait()
	})
	conns.Go(func() {
		for {
			in, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				conns.Go(func() { f.serve(in) })
			}
		}
	})
	return f
}

func (f *forwarder) lead(to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.to = to
}

func (f *forwarder) connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.taken
}

func (f *forwarder) serve(in net.Conn) {
	defer in.Close()
	f.mu.Lock()
	f.taken++
	to := f.to
	f.mu.Unlock()
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer out.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(in, out)
		_ = in.Close()
	}()
	_, _ = io.Copy(out, in)
	_ = out.Close()
	<-done
}
