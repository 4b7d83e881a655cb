package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestQueueModel: random puts and takes against a plain slice.
func TestQueueModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for range 50 {
		c := Config{QueueBatches: 1 + r.IntN(20), QueueBytes: 1 + r.IntN(200)}
		q := newQueue(c)
		var model []string
		bytes, next := 0, 0
		for range 500 {
			if r.IntN(2) == 0 {
				p := publication{channel: fmt.Sprint(next), batch: strings.Repeat("x", r.IntN(40))}
				fits := len(model) == 0 || len(model) < c.QueueBatches && bytes+len(p.batch) <= c.QueueBytes
				err := q.put(over, p)
				if fits != (err == nil) || !fits && !errors.Is(err, ErrFull) {
					t.Fatalf("%+v holds %d batches, %d bytes: put %d bytes: %v", c, len(model), bytes, len(p.batch), err)
				}
				if fits {
					model = append(model, p.channel+" "+p.batch)
					bytes += len(p.batch)
					next++
				}
			} else {
				most, room := r.IntN(8), r.IntN(100)
				got := q.take(nil, most, room)
				for i, p := range got {
					if i >= len(model) || model[i] != p.channel+" "+p.batch {
						t.Fatalf("took %q, not %q", p.channel, model)
					}
					bytes -= len(p.batch)
					room -= len(p.batch)
					if i > 0 && room < 0 {
						t.Fatalf("took %d batches, more bytes than asked for", len(got))
					}
				}
				model = model[len(got):]
				more := len(model) > 0 && len(got) < most
				if len(got) > most || more && (len(got) == 0 || len(model[0])-1-len(strings.Fields(model[0])[0]) <= room) {
					t.Fatalf("took %d of %d, %d bytes of room left before %q", len(got), most, room, model)
				}
			}
			if waiting, _ := q.state(); waiting != len(model) {
				t.Fatalf("%d wait, not %d", waiting, len(model))
			}
		}
	}
}

// TestQueueClose: those that wait for room are told.
func TestQueueClose(t *testing.T) {
	q := newQueue(Config{QueueBatches: 1, QueueBytes: 1})
	if err := q.put(context.Background(), publication{}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 3)
	for range cap(ended) {
		go func() { ended <- q.put(context.Background(), publication{}) }()
	}
	for waits := false; !waits; {
		q.mu.Lock()
		waits = q.freed != nil
		q.mu.Unlock()
	}
	q.close()
	for range cap(ended) {
		if err := <-ended; !errors.Is(err, ErrStopped) {
			t.Errorf("put in a closed queue: %v", err)
		}
	}
	if got := q.take(nil, 10, 10); len(got) != 1 {
		t.Errorf("%d batches left in it", len(got))
	}
}

func TestQuiet(t *testing.T) {
	var q quiet
	now := time.Unix(1e9, 0)
	for i, c := range []struct {
		after time.Duration
		ok    bool
		held  uint64
	}{{0, true, 0}, {0, false, 0}, {logGap - 1, false, 0}, {1, true, 2}, {logGap, true, 0}, {1, false, 0}, {time.Hour, true, 1}} {
		now = now.Add(c.after)
		if held, ok := q.line(now); ok != c.ok || held != c.held {
			t.Errorf("line %d: %d, %v", i, held, ok)
		}
	}
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	err := Config{QueueBatches: 0, QueueBytes: 2 << 30}.Validate()
	for _, key := range []string{"queue_batches: 0 ", "queue_bytes: 2147483648 "} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%q is not in: %v", key, err)
		}
	}
}
