package redisconn_test

import (
	"context"
	"errors"
	"testing"

	"edged/redisconn/redistest"
)

// TestReceiveEnds: with the connection, so that the caller knows that messages were missed, and begins anew when called again.
func TestReceiveEnds(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl, _ := connect(t, at(s.Addr))
	for name, end := range map[string]func(){
		"connection killed": func() { s.Do("CLIENT", "KILL", "TYPE", "pubsub") },
		"server restarted":  s.Restart,
		"server hangs":      s.Pause, // noticed within 3 s
	} {
		var sub *subscription
		eventually(t, "a subscription", func() bool {
			ok := set(cl, "k", "v") == nil
			if ok {
				sub = subscribe(t, cl, "c")
			}
			return ok
		})
		end()
		if err := await(t, sub.ended); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("%s: ended with %v", name, err)
		}
		s.Continue()
	}
}

// TestReceiveOnHung: a subscription that the server never confirms ends with its context.
func TestReceiveOnHung(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl, _ := connect(t, at(s.Addr))
	s.Pause()
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- cl.Receive(ctx, []string{"c"}, nil) }()
	cancel()
	if err := await(t, ended); err != context.Canceled {
		t.Errorf("ended with %v", err)
	}
	s.Continue()
}

// TestReceiveSlowly: a receiver that takes its time holds up no command and loses no message.
func TestReceiveSlowly(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl, _ := connect(t, at(s.Addr))
	sub := subscribe(t, cl, "c")
	const n = 1000 // more than sub.messages and the library hold
	for range n {
		if err := publish(cl, "c", "m"); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		await(t, sub.messages)
	}
	sub.cancel()
	await(t, sub.ended)
	eventually(t, "the subscription's connection is closed", func() bool { return s.Do("PUBSUB", "CHANNELS") == "" })
}

// TestReceiveTwice: two subscriptions to one channel both get every message.
func TestReceiveTwice(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl, _ := connect(t, at(s.Addr))
	a, b := subscribe(t, cl, "c"), subscribe(t, cl, "c")
	s.Do("PUBLISH", "c", "1")
	if got := await(t, a.messages); got != "c=1" {
		t.Errorf("first: %q", got)
	}
	a.cancel()
	await(t, a.ended)
	s.Do("PUBLISH", "c", "2")
	for _, want := range []string{"c=1", "c=2"} {
		if got := await(t, b.messages); got != want {
			t.Errorf("second: %q, not %q", got, want)
		}
	}
}
