package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"edged/batch"
)

// TestStageModel: of random batches whose items fail at random, each item passes exactly once and those of one key in their order.
func TestStageModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 50 {
		synctest.Test(t, func(t *testing.T) { model(t, r) })
	}
}

func model(t *testing.T, r *rand.Rand) {
	wrong := errors.New("no")
	passed := make(map[key][]string)
	keys, total := 1+r.IntN(10), 0
	pick := func(r *rand.Rand) key { return key{batch.TargetUser, fmt.Sprint(r.IntN(keys))} }
	var healed atomic.Bool
	broken, fate := make(map[key]bool), rand.New(rand.NewPCG(r.Uint64(), 2)) // owned by work
	s := &stage{work: func(_ context.Context, items []*item) (failed []*item, err error) {
		time.Sleep(time.Duration(fate.IntN(20)) * time.Millisecond)
		for range fate.IntN(3) {
			k := pick(fate)
			broken[k] = !broken[k]
		}
		if healed.Load() {
			clear(broken)
		}
		for _, i := range items { // like Store: what fails takes the later ones of its key along
			if broken[i.key] {
				failed, err = append(failed, i), wrong
			} else {
				passed[i.key] = append(passed[i.key], i.ID)
			}
		}
		return failed, err
	}}
	in := make(chan []*item)
	ended := make(chan struct{})
	go func() { s.run(t.Context(), in); close(ended) }()
	want := make(map[key][]string)
	for range 50 {
		var items []*item
		for range 1 + r.IntN(8) {
			i := &item{Entry: Entry{ID: fmt.Sprint(total)}, key: pick(r)}
			want[i.key] = append(want[i.key], i.ID)
			items = append(items, i)
			total++
		}
		in <- items
		time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
	}
	healed.Store(true)
	close(in)
	<-ended
	if fmt.Sprint(passed) != fmt.Sprint(want) || s.err() != nil || s.held.Load() != 0 {
		t.Errorf("fault %v; passed\n%v\nwant\n%v", s.err(), passed, want)
	}
}

// TestStagePauses: what goes on failing is tried ever more seldom, up to a limit; then it is tried at once again.
func TestStagePauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var mu sync.Mutex // guards tries and well
		var tries []time.Duration
		well := false
		s := &stage{work: func(_ context.Context, items []*item) ([]*item, error) {
			mu.Lock()
			defer mu.Unlock()
			tries = append(tries, time.Since(begin))
			if well {
				return nil, nil
			}
			return items, errors.New("no")
		}}
		ctx, cancel := context.WithCancel(t.Context())
		in, ended := make(chan []*item), make(chan struct{})
		go func() { s.run(ctx, in); close(ended) }()
		in <- []*item{{}}
		time.Sleep(time.Minute)
		synctest.Wait()
		mu.Lock()
		if s.held.Load() != 1 || s.err() == nil {
			t.Errorf("%d are held, fault %v", s.held.Load(), s.err())
		}
		if n := len(tries); n < 25 || n > 50 || tries[1] > 100*time.Millisecond || tries[n-1]-tries[n-2] < longestWait*3/4 {
			t.Errorf("%d tries in a minute: %v", n, tries)
		}
		well = true
		mu.Unlock()
		time.Sleep(2 * longestWait)
		synctest.Wait()
		if s.held.Load() != 0 || s.err() != nil {
			t.Errorf("%d are held, fault %v", s.held.Load(), s.err())
		}
		mu.Lock()
		well, tries = false, nil
		mu.Unlock()
		in <- []*item{{}}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		mu.Lock()
		if len(tries) < 2 {
			t.Errorf("after all went well: %v", tries)
		}
		mu.Unlock()
		cancel()
		<-ended
	})
}

// TestWindow: there is room for the entries and the bytes that it has room for; one entry that is too large goes in alone.
func TestWindow(t *testing.T) {
	w := newWindow(10)
	ctx := t.Context()
	entry := func(id string, size int) Entry {
		return Entry{ID: id, Fields: []Field{{"payload", string(make([]byte, size))}}, Tries: 1}
	}
	if n := w.room(ctx, 100); n != 10 {
		t.Errorf("room for %d", n)
	}
	items := w.add([]Entry{entry("1", 10), entry("2", 10), entry("1", 10)})
	if len(items) != 2 || w.room(ctx, 100) != 8 || w.room(ctx, 3) != 3 {
		t.Errorf("%d items, room for %d", len(items), w.room(ctx, 100))
	}
	w.remove(items[:1])
	again := entry("1", 10)
	again.Tries = 2
	if got := w.add([]Entry{again}); len(got) != 0 {
		t.Error("an entry that was done while it was read comes again")
	}
	w.room(ctx, 1) // another read
	if got := w.add([]Entry{again}); len(got) != 1 {
		t.Error("an entry that comes again later is not taken")
	} else {
		w.remove(got)
	}
	big := w.add([]Entry{entry("3", 2*maxBytes)})
	limited, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if n := w.room(limited, 1); n != 0 {
		t.Errorf("room for %d beside too large a one", n)
	}
	w.remove(append(big, items[1]))
	if n := w.room(ctx, 100); n != 1 {
		t.Errorf("room for %d of such", n)
	}
	if entries, bytes := w.state(); entries != 0 || bytes != 0 {
		t.Errorf("%d entries, %d bytes are left", entries, bytes)
	}
}
