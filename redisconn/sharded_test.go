package redisconn_test

import (
	"context"
	"errors"
	"testing"

	"github.com/redis/rueidis"

	"edged/redisconn"
	"edged/redisconn/redistest"
)

func spublish(cl *redisconn.Client, channel, message string) error {
	return cl.Do(context.Background(), func(b rueidis.Builder) rueidis.Completed {
		return b.Spublish().Channel(channel).Message(message).Build()
	}).Error()
}

// ssubscribe returns when the server has confirmed, or the subscription ended.
func ssubscribe(t *testing.T, cl *redisconn.Client, channel string) *subscription {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s := &subscription{make(chan string, 100), make(chan error, 1), cancel}
	seen := make(chan struct{}, 10) // the end of a subscription is told there too
	hooked := rueidis.WithOnSubscriptionHook(ctx, func(rueidis.PubSubSubscription) { seen <- struct{}{} })
	go func() {
		s.ended <- cl.ReceiveSharded(hooked, channel, func(message string) { s.messages <- message })
		seen <- struct{}{}
	}()
	await(t, seen)
	return s
}

func TestReceiveSharded(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) []string{
		"standalone": func(t *testing.T) []string { return []string{redistest.Start(t).Addr} },
		"cluster":    func(t *testing.T) []string { return redistest.StartCluster(t, 3).Addrs() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl, _ := connect(t, at(start(t)...))
			for _, channel := range []string{"a", "b", "c", "d"} { // over the nodes
				s := ssubscribe(t, cl, channel)
				for _, m := range []string{"1", "", "2"} {
					if err := spublish(cl, channel, m); err != nil {
						t.Fatal(err)
					}
					if got := await(t, s.messages); got != m {
						t.Errorf("received %q, not %q", got, m)
					}
				}
				s.cancel()
				if err := await(t, s.ended); err != context.Canceled {
					t.Errorf("ended with %v", err)
				}
			}
		})
	}
}

// TestReceiveShardedMoves: the slot's new node has nobody to send to, so that the caller must know.
func TestReceiveShardedMoves(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 2)
	cl, _ := connect(t, at(c.Addrs()...))
	to := c.Nodes[0]
	if c.Owner("k") == to {
		to = c.Nodes[1]
	}
	s := ssubscribe(t, cl, "k")
	c.Move("k", to)
	if err := await(t, s.ended); err == nil || errors.Is(err, redisconn.ErrNotSharded) {
		t.Errorf("ended with %v", err)
	}
	eventually(t, "a subscription at the new node", func() bool {
		s = ssubscribe(t, cl, "k")
		return to.Do("PUBSUB", "SHARDNUMSUB", "k") == "k\n1"
	})
	if err := spublish(cl, "k", "m"); err != nil {
		t.Fatal(err)
	}
	if got := await(t, s.messages); got != "m" {
		t.Errorf("received %q", got)
	}
}

// TestNotSharded: a server that lacks the command, or keeps it from us, is told from one that cannot be reached.
func TestNotSharded(t *testing.T) {
	t.Parallel()
	forbidden := redistest.Start(t)
	forbidden.Do("ACL", "SETUSER", "default", "-ssubscribe", "-spublish")
	for name, s := range map[string]*redistest.Server{
		"unknown":   redistest.Start(t, "--rename-command", "SSUBSCRIBE", "", "--rename-command", "SPUBLISH", ""),
		"forbidden": forbidden,
	} {
		cl, _ := connect(t, at(s.Addr))
		if err := await(t, ssubscribe(t, cl, "c").ended); !errors.Is(err, redisconn.ErrNotSharded) {
			t.Errorf("%s: SSUBSCRIBE: %v", name, err)
		}
		if err := spublish(cl, "c", "m"); !redisconn.IsRefused(err) {
			t.Errorf("%s: SPUBLISH: %v", name, err)
		}
		if !cl.Connected() {
			t.Errorf("%s: not connected: %v", name, cl.Err())
		}
		s.Kill()
		eventually(t, name+": the loss is noticed", func() bool { return set(cl, "k", "v") != nil })
		if err := await(t, ssubscribe(t, cl, "c").ended); err == nil || errors.Is(err, redisconn.ErrNotSharded) {
			t.Errorf("%s: SSUBSCRIBE without a server: %v", name, err)
		}
	}
	for _, err := range []error{nil, context.Canceled, redisconn.ErrNotConnected} {
		if redisconn.IsRefused(err) {
			t.Errorf("%v counts as refused", err)
		}
	}
}
