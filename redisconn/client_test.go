package redisconn_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"edged/redisconn"
	"edged/redisconn/redistest"
)

// within waits until ok, at most 15 s.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func newClient(t *testing.T, c redisconn.Config) *redisconn.Client {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	cl := redisconn.New(c, nopLog())
	t.Cleanup(cl.Close)
	return cl
}

func set(cl *redisconn.Client, key, value string) error {
	return cl.Do(context.Background(), func(b rueidis.Builder) rueidis.Completed {
		return b.Set().Key(key).Value(value).Build()
	}).Error()
}

func TestStandalone(t *testing.T) {
	s := redistest.Start(t)
	cl := newClient(t, redisconn.Config{Addresses: []string{s.Addr}})
	within(t, "a connection", cl.Connected)
	if err := set(cl, "k", "v"); err != nil {
		t.Fatal(err)
	}
	if got := s.Do("GET", "k"); got != "v" {
		t.Errorf("the server has %q", got)
	}
	s.Restart()
	within(t, "a write after the restart", func() bool { return set(cl, "k", "w") == nil })
}

func nopLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
