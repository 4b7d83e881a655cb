package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"edged/queue"
	"edged/redisconn/redistest"
)

// broker is a Source that is no Redis, and fails at random. Entries that it has given out come again.
type broker struct {
	mu      sync.Mutex
	r       *rand.Rand
	waiting []queue.Entry
	given   map[string]queue.Entry
	done    map[string]int
	refused map[string]string
}

func newBroker(r *rand.Rand) *broker {
	return &broker{r: r, given: make(map[string]queue.Entry), done: make(map[string]int), refused: make(map[string]string)}
}

var errBroker = errors.New("the broker is away")

func (b *broker) Read(ctx context.Context, n int) ([]queue.Entry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.r.IntN(20) == 0 {
		return nil, errBroker
	}
	var entries []queue.Entry
	for _, e := range b.given {
		if len(entries) < n && b.r.IntN(3) == 0 {
			e.Tries = 2
			entries = append(entries, e)
		}
	}
	for len(b.waiting) > 0 && len(entries) < n {
		e := b.waiting[0]
		b.waiting = b.waiting[1:]
		b.given[e.ID] = e
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		time.Sleep(time.Millisecond)
	}
	return entries, nil
}

func (b *broker) Done(_ context.Context, ids []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.r.IntN(6) == 0 {
		return errBroker
	}
	for _, id := range ids {
		delete(b.given, id)
		b.done[id]++
	}
	return nil
}

func (b *broker) Refuse(_ context.Context, entries []queue.Refusal) []error {
	b.mu.Lock()
	defer b.mu.Unlock()
	errs := make([]error, len(entries))
	for i, e := range entries {
		if b.r.IntN(30) == 0 {
			errs[i] = errBroker
		} else {
			b.refused[e.ID] += e.Why.Error()
		}
	}
	return errs
}

// TestSource: a Service needs no more of a broker than Source says. Whatever that fails at is done in the end, once.
func TestSource(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := listen(t, s, "10.0.0.1:7000")
	g.hold(only(s), "42/phone")
	b := newBroker(seeded(t))
	const n = 300
	for i := range n {
		e := queue.Entry{ID: fmt.Sprint("entry-", i), Fields: fields("to", "user:42", "payload", fmt.Sprint("p", i)), Tries: 1}
		switch i % 3 {
		case 1:
			e.Fields[0].Value = "nobody"
		case 2:
			e.Tries = 33
		}
		b.waiting = append(b.waiting, e)
	}
	c := queue.Default()
	c.Batch, c.InFlight = 20, 100
	l := newLayer(dial(t, s.Addr), c, b)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { l.service.Run(ctx); close(ended) }()
	eventually(t, "all is done", func() bool { return l.service.Stats().Finished == n })
	cancel()
	<-ended
	st := l.service.Stats()
	if o := st.Outcomes; o["delivered"] != n/3 || o["dead"] != 2*n/3 || st.Reasons["too-many-attempts"] != n/3 || st.Reasons["bad-to"] != n/3 || st.Read != n {
		t.Errorf("%+v", st)
	}
	eventually(t, "all is heard", func() bool { return len(g.heard()) >= n/3 })
	for p, times := range g.payloads() {
		if times != 1 {
			t.Errorf("%s came %d times", p, times)
		}
	}
	for i := range n {
		id := fmt.Sprint("entry-", i)
		want := map[int]string{1: `to: "nobody" is not user:U, device:U/D, room:R or everyone`, 2: "entry: was read 33 times, and never done"}[i%3]
		if b.done[id] != 1 || b.refused[id] != want {
			t.Errorf("%s: done %d times, refused %q", id, b.done[id], b.refused[id])
		}
	}
	if len(b.given) != 0 {
		t.Errorf("%d are not done", len(b.given))
	}
	l.publisher.Stop(context.Background())
}

// TestStopAway: a service that is told to stop while nothing can be done gives up, and leaves what it has to others.
func TestStopAway(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := start(t, []string{s.Addr})
	s.Do("SET", "edged:dead", "text")
	for range 10 {
		put(s, "to", "nobody", "payload", "x")
	}
	eventually(t, "they are held", func() bool { return l.service.Stats().Held == 10 })
	began := time.Now()
	l.stop()
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	s.Do("DEL", "edged:dead")
	next := start(t, []string{s.Addr})
	eventually(t, "another one does them", func() bool { return next.service.Stats().Outcomes["dead"] == 10 })
}
