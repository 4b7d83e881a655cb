package queue_test

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
)

// TestBare: the server that the demo carries in its own process is enough for the way of messages.
func TestBare(t *testing.T) {
	t.Parallel()
	s := miniredis.RunT(t)
	g := listen(t, nil, "10.0.0.1:7000", s.Addr())
	if err := s.Set("edged:lease:{10.0.0.1:7000}", "7"); err != nil {
		t.Fatal(err)
	}
	s.HSet("edged:route:{42}", "phone", "10.0.0.1:7000 7 127.0.0.1:7000:0:1")
	l := start(t, []string{s.Addr()})
	for _, payload := range []string{"one", "two"} {
		if _, err := s.XAdd("edged:in", "*", []string{"to", "user:42", "payload", payload, "offline", "1", "msg_id", payload}); err != nil {
			t.Fatal(err)
		}
	}
	g.awaits("user:42 one v1 id=one", "user:42 two v2 id=two")
	if _, err := s.XAdd("edged:in", "*", []string{"to", "nobody", "payload", "x"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is done", func() bool {
		b, ok := l.stream.Backlog()
		return l.service.Stats().Finished == 3 && ok && b.Length == 0 && b.Consumers == 1 && b.Dead == 1
	})
	if l.stream.Err() != nil || l.service.Ready() != nil {
		t.Errorf("wrong: %v, %v", l.stream.Err(), l.service.Ready())
	}
}
