package relay_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/batch"
	"edged/handover"
	"edged/relay"
)

// What a turn sends goes out when it is committed, and not if it never is.
func TestNothingGoesOutBeforeCommit(t *testing.T) {
	m := newManager(t, "m")
	k := newKept(t, 1, nil, start(t, m).address)
	k.up(0)
	k.send(0, 0, "never")
	m.push(0, item(0, "x"))
	k.untilKind(0, 0, relay.EventItems) // the sender could have sent long since
	if st := k.stats(0, 0); st.Sent.Batches != 0 || st.HeldBatches != 1 {
		t.Errorf("before the commit: %+v", st)
	}
	k.crash()
	k.up(0)
	k.send(0, 0, "a")
	k.send(0, 0, "b")
	k.commit(0)
	same(t, m.untilPayloads(0, 2), []string{"a", "b"})
	same(t, k.got(0, 1), []string{"x"})
	m.until(0, "no receipt", func(b *book) bool { return b.receipt == 0 })
	k.commit(0)
	m.until(0, "a receipt", func(b *book) bool { return b.receipt == 1 })
}

// A batch is receipted when the last shard has committed its part, however often it comes; casts have a part for each.
func TestReceiptsWaitForAllShards(t *testing.T) {
	m := newManager(t, "m")
	server := start(t, m)
	k := newKept(t, 2, nil, server.address)
	k.up(0, 1)
	m.push(0, item(0, "x"), cast("r"), item(0, "y"))
	same(t, k.got(0, 3), []string{"x", "[r]", "y"})
	same(t, k.got(1, 1), []string{"[r]"})
	k.send(0, 0, "a")
	k.commit(0)
	m.untilPayloads(0, 1)
	server.kill()
	serve(t, listen(t, "tcp", server.address), m)
	k.until(0, 0, "the repeat", func(s relay.StreamStats) bool { return s.Repeated == 1 })
	k.send(0, 0, "b")
	k.commit(0)
	m.untilPayloads(0, 2)
	m.set(func() {
		if r := m.book(0).receipt; r != 0 {
			t.Errorf("%d is receipted", r)
		}
	})
	k.commit(1)
	m.until(0, "a receipt", func(b *book) bool { return b.receipt == 1 })
	m.push(0) // nothing for anybody
	m.until(0, "the next", func(b *book) bool { return b.receipt == 2 })
}

// After a crash each shard gets what it lacks of a batch, and what comes behind it.
func TestRepeatsAfterACrash(t *testing.T) {
	m := newManager(t, "m")
	k := newKept(t, 3, nil, start(t, m).address)
	k.up(0, 1, 2)
	m.push(0, item(0, "a"), item(1, "b"), cast("r1"), item(0, "c"), item(1, "d"), cast("r2"), item(1, "e"))
	same(t, k.got(0, 2), []string{"a", "[r1]"})
	k.commit(0)
	same(t, k.got(1, 5), []string{"b", "[r1]", "d", "[r2]", "e"})
	k.commit(1)
	same(t, k.got(2, 2), []string{"[r1]", "[r2]"})
	k.writeDown(2)
	m.push(0, item(0, "f"), item(1, "g"))
	for range 3 { // what was carried out is told again, or a second crash would not know it
		k.crash()
		same(t, k.got(2, 2), []string{"[r1]", "[r2]"})
		k.until(0, 0, "what was left out", func(s relay.StreamStats) bool { return s.Done == 7 })
	}
	same(t, k.got(0, 3), []string{"c", "[r2]", "f"})
	same(t, k.got(1, 1), []string{"g"})
	k.commit(0, 1, 2)
	m.until(0, "both receipts", func(b *book) bool { return b.receipt == 2 })
	m.push(0, item(2, "h"))
	same(t, k.got(2, 1), []string{"h"})
}

// An item for a user whose link did not outlive the crash comes back as one for nobody, however far that shard had got.
func TestUserIsGoneAfterACrash(t *testing.T) {
	m := newManager(t, "m")
	var gone atomic.Bool
	users := func(o *relay.Options) {
		o.UserShards = func(_, _ []byte) relay.Shards {
			if gone.Load() {
				return relay.Shards{}
			}
			return relay.Shards{1 << 1}
		}
	}
	k := newKept(t, 2, users, start(t, m).address)
	k.up(0, 1)
	it := item(0, "for the user")
	it.Target = &edgedpb.DownItem_User{User: "user"}
	m.push(0, it, item(0, "a"), item(1, "b"))
	same(t, k.got(0, 1), []string{"a"})
	k.commit(0)
	same(t, k.got(1, 2), []string{"for the user", "b"})
	gone.Store(true)
	k.crash()
	same(t, k.got(0, 1), []string{"for the user"})
	same(t, k.got(1, 1), []string{"b"})
	k.commit(0, 1)
	m.until(0, "the receipt", func(b *book) bool { return b.receipt == 1 })
}

// An upgrade before the Manager came back, and a crash after it, change nothing about that.
func TestUpgradeSoonAfterACrash(t *testing.T) {
	m := newManager(t, "m")
	server := start(t, m)
	k := newKept(t, 2, nil, server.address)
	k.up(0, 1)
	m.push(0, item(0, "a"), item(1, "b"), item(0, "c"))
	same(t, k.got(0, 2), []string{"a", "c"})
	k.send(0, 0, "one")
	k.commit(0)
	m.untilPayloads(0, 1)
	server.kill()
	k.until(0, 0, "its end", func(s relay.StreamStats) bool { return s.State == relay.StateDown })
	k.send(0, 0, "two")
	k.commit(0)
	k.crash()
	k.upgrade()
	k.upgrade()
	k.crash()
	serve(t, listen(t, "tcp", server.address), m)
	same(t, k.got(1, 1), []string{"b"})
	k.until(0, 0, "what was left out", func(s relay.StreamStats) bool { return s.Done == 2 })
	k.commit(1)
	m.push(0, item(0, "d"))
	same(t, k.got(0, 1), []string{"d"})
	k.commit(0)
	m.until(0, "the receipts", func(b *book) bool { return b.receipt == 2 })
	same(t, m.untilPayloads(0, 2), []string{"one", "two"})
}

// What was for a Manager that was replaced is handed back once more where the turn that took it was not committed, and nothing
// of it went out meanwhile.
func TestNewsThatIsNotCommitted(t *testing.T) {
	a, b := newManager(t, "a"), newManager(t, "b")
	a.lag = 1000 // receipts never come
	server := start(t, a)
	k := newKept(t, 1, nil, server.address)
	k.up(0)
	k.send(0, 0, "one")
	k.commit(0)
	a.untilPayloads(0, 1)
	server.kill()
	serve(t, listen(t, "tcp", server.address), b)
	b.push(0, item(0, "of b"))
	reroute := func() {
		e := k.untilKind(0, 0, relay.EventNew)
		same(t, upPayloads(t, e.Lost), []string{"one"})
		k.send(0, 0, "opened")
		for _, l := range e.Lost {
			k.relay.Port(0).Send(0, l)
		}
	}
	reroute()
	if e, ok := k.tryNext(0, 20*time.Millisecond); ok {
		t.Errorf("event %v before the commit", e.Kind)
	}
	if n := len(b.payloads(0)); n > 0 {
		t.Errorf("%d items went out before the commit", n)
	}
	k.crash()
	reroute()
	k.commit(0)
	same(t, b.untilPayloads(0, 2), []string{"opened", "one"})
	same(t, k.got(0, 1), []string{"of b"})
	k.crash()
	k.up(0)
	same(t, k.got(0, 1), []string{"of b"})
	k.send(0, 0, "two")
	k.commit(0)
	same(t, b.untilPayloads(0, 3), []string{"opened", "one", "two"})
	b.until(0, "a receipt", func(b *book) bool { return b.receipt == 1 })
}

// The same where the Manager was gone and came back: its numbers mean what they meant until the shard has committed.
func TestGoneThatIsNotCommitted(t *testing.T) {
	m, other := newManager(t, "m"), newManager(t, "other")
	m.lag = 1000
	server := start(t, m)
	grace := func(o *relay.Options) { o.Config.Grace = 20 * time.Millisecond }
	k := newKept(t, 1, grace, server.address, start(t, other).address)
	k.untilKind(0, 0, relay.EventUp)
	k.up(0)
	k.commit(0)
	k.send(0, 0, "one")
	k.commit(0)
	m.untilPayloads(0, 1)
	server.kill()
	k.send(0, 0, "two")
	k.commit(0)
	e := k.untilKind(0, 0, relay.EventGone)
	k.send(0, 0, "three") // too late for it to be lost with the others, too early for the Manager
	same(t, upPayloads(t, e.Lost), []string{"one", "two"})
	server = serve(t, listen(t, "tcp", server.address), m)
	k.untilKind(0, 0, relay.EventUp)
	m.until(0, "the stream", func(b *book) bool { return b.streams == 2 })
	m.push(0, item(0, "x"))
	if e, ok := k.tryNext(0, 20*time.Millisecond); ok {
		t.Errorf("event %v before the commit", e.Kind)
	}
	k.crash()
	k.untilKind(0, 0, relay.EventUp)
	k.commit(0)
	same(t, m.untilPayloads(0, 2), []string{"one", "two"})
	same(t, k.got(0, 1), []string{"x"})
	k.commit(0)
	// And once more, to the end.
	server.kill()
	e = k.untilKind(0, 0, relay.EventGone)
	for _, l := range e.Lost {
		k.relay.Port(0).Send(1, l)
	}
	k.commit(0)
	k.crash()
	if st := k.stats(0, 0); st.HeldBatches != 0 {
		t.Errorf("%d batches are kept that were handed back", st.HeldBatches)
	}
	serve(t, listen(t, "tcp", server.address), m)
	k.untilKind(0, 0, relay.EventUp)
	k.commit(0)
	k.send(0, 0, "four")
	k.commit(0)
	same(t, m.untilPayloads(0, 3), []string{"one", "two", "four"})
	same(t, other.untilPayloads(0, 2), []string{"one", "two"})
}

// Positions go on where numbers begin anew, also where the new Manager is met after a crash, and what is under way of the old
// one does not count for it.
func TestPositionsOverManagers(t *testing.T) {
	a, b, c := newManager(t, "a"), newManager(t, "b"), newManager(t, "c")
	server := start(t, a)
	k := newKept(t, 2, nil, server.address)
	k.up(0, 1)
	for _, x := range []string{"1", "2", "3"} {
		a.push(0, item(1, x))
	}
	same(t, k.got(1, 3), []string{"1", "2", "3"})
	server.kill()
	server = serve(t, listen(t, "tcp", server.address), b)
	for _, x := range []string{"4", "5", "6", "7"} {
		b.push(0, item(0, x))
	}
	k.untilKind(0, 0, relay.EventNew)
	k.commit(0)
	same(t, k.got(0, 4), []string{"4", "5", "6", "7"})
	k.commit(0)
	if c := k.carried[[2]int{0, 0}]; c.Seq != 7 {
		t.Errorf("the position is %d", c.Seq)
	}
	b.until(0, "receipts", func(b *book) bool { return b.receipt == 4 })
	k.untilKind(1, 0, relay.EventNew)
	k.commit(1) // what a had sent
	b.push(0, item(0, "8"), item(1, "9"))
	same(t, k.got(0, 1), []string{"8"})
	k.commit(0)
	server.kill()
	serve(t, listen(t, "tcp", server.address), c)
	k.crash()
	c.push(0, item(0, "10"), item(1, "11"))
	for shard, want := range []string{"10", "11"} {
		k.untilKind(shard, 0, relay.EventNew)
		k.commit(shard)
		same(t, k.got(shard, 1), []string{want})
		k.commit(shard)
		if c := k.carried[[2]int{shard, 0}]; c.Seq != 9 {
			t.Errorf("shard %d: the position is %d", shard, c.Seq)
		}
	}
	c.until(0, "a receipt", func(b *book) bool { return b.receipt == 1 })
}

// A hand-over needs the last turns to be committed.
func TestFreezeNeedsCommits(t *testing.T) {
	m := newManager(t, "m")
	k := newKept(t, 2, nil, start(t, m).address)
	k.up(0, 1)
	ctx, cancel := limit()
	defer cancel()
	try := func() error {
		t.Helper()
		return errors.Join(k.relay.Hold(ctx), k.relay.Freeze(ctx))
	}
	refused := func(what string, err error) {
		t.Helper()
		if err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", what, err)
		}
		k.relay.Thaw()
	}
	m.push(0, item(1, "x"))
	same(t, k.got(1, 1), []string{"x"})
	refused("an item is being carried out", try())
	k.commit(1)
	k.send(0, 0, "a")
	refused("a batch is not committed", try())
	k.commit(0)
	m.push(1, item(0, "y"))
	k.until(1, 0, "it", func(s relay.StreamStats) bool { return s.Received.Items == 1 })
	refused("an item was not taken", try())
	same(t, k.got(0, 1), []string{"y"})
	k.commit(0)
	if err := try(); err != nil {
		t.Error(err)
	}
	k.relay.Thaw()
	same(t, m.untilPayloads(0, 1), []string{"a"})
}

// A full ring stops the shard as a full buffer does, and goes on when receipts have emptied it.
func TestRingIsFull(t *testing.T) {
	m := newManager(t, "m")
	m.lag = 1000
	k := newKept(t, 1, func(o *relay.Options) { o.Config.Buffer = 16 << 20 }, start(t, m).address)
	k.up(0)
	p, n := k.relay.Port(0), 0
	for b := p.Take(0); b != nil; b = p.Take(0) {
		b.Items = batch.AppendMessage(b.Items, batch.Link{Index: 1}, nil, 3, make([]byte, 15000))
		p.Send(0, b)
		n++
	}
	k.commit(0)
	if n < 50 || n > 69 {
		t.Errorf("%d batches fit", n)
	}
	m.untilPayloads(0, n)
	m.raw(0, &edgedpb.Downstream{Received: uint64(n)})
	k.untilKind(0, 0, relay.EventRoom)
	if p.Take(0) == nil {
		t.Error("no batch after EventRoom")
	}
	if st := k.stats(0, 0); st.Unkept != 0 {
		t.Errorf("%d found no room", st.Unkept)
	}
}

// What finds no room in the ring goes out like the rest, and its number stays taken.
func TestBatchThatIsNotKept(t *testing.T) {
	m := newManager(t, "m")
	m.lag = 2
	k := newKept(t, 1, func(o *relay.Options) { o.Config.Buffer = 16 << 20 }, start(t, m).address)
	k.up(0)
	big := func() *relay.Batch {
		b := &relay.Batch{}
		for range 30 {
			b.Items = batch.AppendMessage(b.Items, batch.Link{Index: 1}, nil, 3, make([]byte, 50000))
		}
		return b
	}
	k.relay.Port(0).Send(0, big())
	k.commit(0)
	m.untilPayloads(0, 30)
	if st := k.stats(0, 0); st.Unkept != 1 {
		t.Errorf("%d found no room", st.Unkept)
	}
	k.crash()
	k.up(0)
	k.send(0, 0, "next")
	k.commit(0)
	if got := m.untilPayloads(0, 31)[30]; got != "next" {
		t.Errorf("then came %.20q", got)
	}
	k.send(0, 0, strings.Repeat("x", 50000), "in pieces", strings.Repeat("x", 50000))
	k.commit(0)
	m.untilPayloads(0, 34)
	k.crash()
	k.up(0)
	k.send(0, 0, "last")
	k.commit(0)
	if got := m.untilPayloads(0, 35); got[32] != "in pieces" || got[34] != "last" {
		t.Errorf("then came %.20q and %.20q", got[32], got[34])
	}
}

// A Manager without receipts gets what waited, and nothing twice.
func TestCrashWithoutReceipts(t *testing.T) {
	m := newMute(t)
	server := start(t, m)
	k := newKept(t, 1, nil, server.address)
	m.until(0, "the stream", func(b *book) bool { return b.stream != nil })
	m.push(0, item(0, "x")) // the first word without a hello says that there are no receipts
	same(t, k.got(0, 1), []string{"x"})
	k.send(0, 0, "a")
	k.commit(0)
	m.untilPayloads(0, 1)
	k.until(0, 0, "it is forgotten", func(s relay.StreamStats) bool { return s.HeldBatches == 0 })
	server.kill()
	k.until(0, 0, "the end", func(s relay.StreamStats) bool { return s.State == relay.StateDown })
	k.send(0, 0, "b")
	k.commit(0)
	k.send(0, 0, "never")
	k.crash()
	serve(t, listen(t, "tcp", server.address), m)
	k.send(0, 0, "c")
	k.commit(0)
	same(t, m.untilPayloads(0, 3), []string{"a", "b", "c"})
}

// A name that fits no note makes another Manager of it after a crash, and nothing is lost.
func TestNameThatFitsNoNote(t *testing.T) {
	m := newManager(t, strings.Repeat("m", 3000))
	m.lag, m.unkept = 1000, true
	k := newKept(t, 1, nil, start(t, m).address)
	k.up(0)
	k.send(0, 0, "a")
	k.commit(0)
	m.untilPayloads(0, 1)
	m.raw(0, &edgedpb.Downstream{Received: 1})
	k.until(0, 0, "the receipt", func(s relay.StreamStats) bool { return s.HeldBatches == 0 })
	k.send(0, 0, "b")
	k.commit(0)
	m.untilPayloads(0, 2)
	k.crash()
	same(t, upPayloads(t, k.untilKind(0, 0, relay.EventNew).Lost), []string{"b"})
}

// What a Manager goes by that is not configured any more outlives a crash.
func TestAbsentManagerOutlivesACrash(t *testing.T) {
	a, b := newManager(t, "a"), newManager(t, "b")
	both := []string{start(t, a).address, start(t, b).address}
	k := newKept(t, 1, nil, both...)
	k.untilKind(0, 0, relay.EventUp)
	k.send(0, 0, "one")
	k.commit(0)
	a.untilPayloads(0, 1)
	k.addresses = both[1:]
	k.crash()
	for _, o := range k.relay.Orphans(0) { // its receipt may have come too late
		k.relay.Port(0).Send(0, o)
	}
	k.commit(0)
	k.crash()
	k.addresses = []string{both[1], both[0]}
	k.crash()
	k.untilKind(0, 1, relay.EventUp)
	k.send(0, 1, "two")
	k.commit(0)
	same(t, a.untilPayloads(0, 2), []string{"one", "two"})
}

// New refuses a ring that could not hold what the relay may send.
func TestRingIsTooSmall(t *testing.T) {
	memory, err := handover.NewMemory(handover.Geometry{Shards: 1, Records: 1, Blocks: 1, Rings: 1, RingBytes: relay.MinRingBytes / 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = memory.Close() })
	o := relay.Options{Config: relay.Default(), Shards: 1, Rings: memory.Ring}
	o.Addresses = []string{"127.0.0.1:1"}
	if _, err := relay.New(o); err == nil {
		t.Error("New takes it")
	}
	o.Rings = nil
	o.Addresses = []string{"unix:/" + strings.Repeat("x", 3000)}
	r, err := relay.New(o)
	if err != nil {
		t.Fatal(err)
	}
	kill(r)
	o.Rings = memory.Ring
	if _, err := relay.New(o); err == nil {
		t.Error("New takes an address that no note can hold")
	}
	if _, state, err := relay.RecoverState(memory.Ring, 1, 1); err != nil || len(state) > 0 {
		t.Errorf("of rings that were never used: %x, %v", bytes.Clone(state), err)
	}
}
