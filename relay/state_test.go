package relay

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"testing"
	"time"

	"edged/batch"
	"edged/handover"
)

var update = flag.Bool("update", false, "write the files of testdata anew")

const (
	goldenOne = "127.0.0.1:7001"
	goldenTwo = "unix:/run/manager.sock"
)

// heir makes a relay of two shards that is never started.
func heir(t testing.TB, from *Inheritance, addresses ...string) (*Relay, error) {
	t.Helper()
	o := Options{Config: Default(), Shards: 2, ShardOf: func(i uint32) int { return int(i >> 24) }, Inherit: from}
	o.Config.Addresses = addresses
	r, err := New(o)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { discard(r) })
	return r, nil
}

func discard(r *Relay) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = r.Stop(ctx) // nothing waits
}

// stateOf freezes a relay and returns its state.
func stateOf(t testing.TB, r *Relay) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := errors.Join(r.Hold(ctx), r.Freeze(ctx)); err != nil {
		t.Fatal(err)
	}
	b, err := r.AppendState(nil, StateVersion)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func message(n int) []byte {
	return batch.AppendMessage(nil, batch.Link{Index: 7, Uniq: uint32(n)}, nil, batch.KindData, fmt.Append(nil, "message ", n))
}

// golden makes a relay each of whose streams stands elsewhere.
func golden(t testing.TB) *Relay {
	t.Helper()
	r, err := heir(t, nil, goldenOne, goldenTwo)
	if err != nil {
		t.Fatal(err)
	}
	give := func(s *stream, kept int, batches ...[]byte) {
		for i, items := range batches {
			if b := s.out.adopt(items); i < kept {
				s.state.outbox.number(b)
			} else {
				s.state.outbox.queue.push(b)
			}
		}
	}
	s := r.streams[0]
	s.state.peer = peer{met: true, named: true, id: "manager-1"}
	s.state.inbox = inbox{last: 41, owed: 3}
	s.state.outbox.first, s.state.outbox.keep = 17, keepAll
	s.out.up.Store(true)
	give(s, 3, message(1), nil, append(message(2), message(3)...), message(4), message(5))

	s = r.streams[1]
	s.state.peer = peer{met: true}
	s.state.inbox = inbox{last: 5, loose: true}
	s.state.outbox.first, s.state.outbox.keep = 300, keepNone
	s.out.up.Store(true)
	give(s, 0, message(6))

	s = r.streams[2]
	s.state.peer = peer{met: true, changed: true}
	s.state.outbox.first = math.MaxUint64
	s.retry.gone = true
	return r
}

func TestGoldenState(t *testing.T) {
	file := fmt.Sprintf("testdata/state.v%d", StateVersion)
	got := stateOf(t, golden(t))
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the state is no longer that of %s:\n%x\n%x", file, got, want)
	}
}

// The states of all versions that were ever released load, and say the same.
func TestStatesOfOldVersionsLoad(t *testing.T) {
	for v := OldestState; v <= StateVersion; v++ {
		file := fmt.Sprintf("testdata/state.v%d", v)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := heir(t, &Inheritance{Version: v, State: b}, goldenOne, goldenTwo)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if got, want := stateOf(t, r), stateOf(t, golden(t)); !bytes.Equal(got, want) {
			t.Errorf("%s became\n%x\nwant\n%x", file, got, want)
		}
		if !r.Port(0).Up(0) || r.Port(1).Up(0) || r.Port(0).Held(0) == 0 {
			t.Errorf("%s: the ports do not show it", file)
		}
	}
}

// A predecessor's version can be written as long as it can be read.
func TestStatesOfOldVersionsAreWritten(t *testing.T) {
	r := golden(t)
	stateOf(t, r)
	for v := OldestState; v <= StateVersion; v++ {
		got, err := r.AppendState(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(fmt.Sprintf("testdata/state.v%d", v))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("version %d is\n%x\nwant\n%x", v, got, want)
		}
	}
}

// What is addressed to a Manager that is not configured is the shard's. Its numbering waits for its return.
func TestOrphansAndTheirManagersReturn(t *testing.T) {
	state := stateOf(t, golden(t))
	r, err := heir(t, &Inheritance{Version: StateVersion, State: state}, goldenTwo)
	if err != nil {
		t.Fatal(err)
	}
	var got [][]byte
	for _, b := range r.Orphans(0) {
		got = append(got, b.Items)
		r.Port(0).Send(0, b)
	}
	want := [][]byte{message(1), append(message(2), message(3)...), message(4), message(5)}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("orphans are %q, want %q", got, want)
	}
	if len(r.Orphans(0)) > 0 || len(r.Orphans(1)) > 0 {
		t.Error("there are more")
	}
	again := stateOf(t, r)
	if r, err = heir(t, &Inheritance{Version: StateVersion, State: again}, goldenOne, goldenTwo); err != nil {
		t.Fatal(err)
	}
	s := r.streams[0]
	o := &s.state.outbox
	if o.first != 17 || len(o.kept) != 3 || o.kept[0].b != nil || o.queue.n != 0 || s.state.inbox.last != 41 || s.state.peer.id != "manager-1" {
		t.Errorf("the numbering came back as %+v", s.state)
	}
	if s.out.up.Load() || s.retry.gone {
		t.Error("it counts as known to the shard")
	}
	if n := r.streams[1].state.outbox.queue.n; n != 5 {
		t.Errorf("%d batches wait for the other one, want 5", n)
	}
}

// A Manager that was gone as the only one had batches wait for it. They do not, when another one is there.
func TestGoneManagerIsNoLongerAlone(t *testing.T) {
	r, err := heir(t, nil, goldenOne)
	if err != nil {
		t.Fatal(err)
	}
	r.streams[0].retry.gone = true
	r.Port(0).Send(0, &Batch{Items: message(1)})
	state := stateOf(t, r)
	for _, addresses := range [][]string{{goldenOne}, {goldenOne, goldenTwo}} {
		if r, err = heir(t, &Inheritance{Version: StateVersion, State: state}, addresses...); err != nil {
			t.Fatal(err)
		}
		held, orphans := r.Stats().Streams[0].HeldBatches, len(r.Orphans(0))
		if alone := int64(2 - len(addresses)); held != alone || int64(orphans) != 1-alone {
			t.Errorf("with %q: %d batches wait, %d are orphans", addresses, held, orphans)
		}
		if !r.streams[0].retry.gone {
			t.Errorf("with %q: it is not gone any more", addresses)
		}
	}
}

// A Manager that was gone and came back is up, and not gone as well.
func TestManagerThatCameBackIsUp(t *testing.T) {
	r, err := heir(t, nil, goldenOne)
	if err != nil {
		t.Fatal(err)
	}
	s := r.streams[0]
	s.retry.gone = true // until its next end
	s.out.up.Store(true)
	if r, err = heir(t, &Inheritance{Version: StateVersion, State: stateOf(t, r)}, goldenOne, goldenTwo); err != nil {
		t.Fatal(err)
	}
	if s = r.streams[0]; !s.out.up.Load() || s.retry.gone {
		t.Errorf("up: %v, gone: %v", s.out.up.Load(), s.retry.gone)
	}
}

func TestStatesThatCannotBe(t *testing.T) {
	good := golden(t)
	rec := func(change func(h *head), rest ...byte) []byte {
		h := good.streams[0].head()
		change(&h)
		b, start := handover.Begin(nil, StateVersion)
		b = append(h.append(b, StateVersion), 0) // nothing was carried out before
		b = append(b, rest...)
		handover.End(b, start)
		return b
	}
	same := func(*head) {}
	for name, state := range map[string][]byte{
		"no record":           {1, 2, 3},
		"half a record":       rec(same, 0, 0)[:20],
		"trailing bytes":      rec(same, 0, 0, 9),
		"no numbers":          rec(same),
		"kept beyond the end": rec(same, 5, 0),
		"empty that waits":    rec(same, 0, 1, 0),
		"no items":            rec(same, 1, 0, 3, 1, 2, 3),
		"a bad item":          rec(same, 1, 0, 4, 0x12, 2, 0x0a, 9),
		"a field beside":      rec(same, 1, 0, 2, 0x18, 1),
		"such a shard":        rec(func(h *head) { h.shard = 2 }, 0, 0),
		"large shard":         rec(func(h *head) { h.shard = 1 << 40 }, 0, 0),
		"no address":          rec(func(h *head) { h.address = "" }, 0, 0),
		"keeping":             rec(func(h *head) { h.keep = 3 }, 0, 0),
		"stranger with name":  rec(func(h *head) { h.peer.met = false }, 0, 0),
		"name of the mute":    rec(func(h *head) { h.peer.named = false }, 0, 0),
		"up and gone":         rec(func(h *head) { h.gone = true }, 0, 0),
		"number 0":            rec(func(h *head) { h.first = 0 }, 0, 0),
		"numbers overflow":    rec(func(h *head) { h.first = math.MaxUint64 }, 1, 0, 0),
		"the same twice":      append(rec(same, 0, 0), rec(same, 0, 0)...),
	} {
		if _, err := heir(t, &Inheritance{Version: StateVersion, State: state}, goldenOne, goldenTwo); !errors.Is(err, ErrState) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := heir(t, &Inheritance{Version: StateVersion, State: rec(same, 0, 0)}, goldenOne); err != nil {
		t.Errorf("as it should be: %v", err)
	}
	if _, err := heir(t, &Inheritance{Version: StateVersion + 1, State: rec(same, 0, 0)}, goldenOne); !errors.Is(err, ErrState) {
		t.Errorf("a later version: %v", err)
	}
}

func TestAppendStateOutOfTurn(t *testing.T) {
	r := golden(t)
	if _, err := r.AppendState(nil, StateVersion); err == nil {
		t.Error("not frozen, and there is a state")
	}
	state := stateOf(t, r)
	if _, err := r.AppendState(nil, StateVersion+1); err == nil {
		t.Error("a version that nobody knows is written")
	}
	if n := r.StateSize(); n < len(state) {
		t.Errorf("expected are %d bytes, it has %d", n, len(state))
	}
	b := make([]byte, 0, 2*len(state))
	if n := testing.AllocsPerRun(10, func() { _, _ = r.AppendState(b, StateVersion) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	r.Thaw()
	if _, err := r.AppendState(nil, StateVersion); err == nil {
		t.Error("thawed, and there is a state")
	}
	r.streams[0].port.tell(Event{Kind: EventUp})
	ctx := context.Background()
	if err := errors.Join(r.Hold(ctx), r.Freeze(ctx)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.AppendState(nil, StateVersion); err == nil {
		t.Error("an event waits, and there is a state")
	}
	discard(r)
	if err := r.Hold(ctx); !errors.Is(err, ErrStopped) {
		t.Errorf("Hold after Stop: %v", err)
	}
}

// Whatever bytes come as a state: they load or are refused, and what loads is written as it was read.
func FuzzState(f *testing.F) {
	b, err := os.ReadFile("testdata/state.v1")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add([]byte{})
	load := func(t *testing.T, state []byte) *Relay {
		r, err := heir(t, &Inheritance{Version: StateVersion, State: state}, goldenOne)
		if err != nil && !errors.Is(err, ErrState) {
			t.Fatal(err)
		}
		return r
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		r := load(t, state)
		if r == nil {
			return
		}
		first := stateOf(t, r)
		if r = load(t, first); r == nil {
			t.Fatalf("what was loaded cannot be loaded again: %x", first)
		}
		if second := stateOf(t, r); !bytes.Equal(second, first) {
			t.Fatalf("not the same again:\n%x\n%x", first, second)
		}
	})
}
