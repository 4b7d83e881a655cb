package relay

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"edged/batch"
)

// Payloads of these tests are runs of four-byte numbers: whatever is merged or repeated can be taken
// apart again.
func numbers(b []byte) (out []uint32) {
	for ; len(b) >= 4; b = b[4:] {
		out = append(out, binary.BigEndian.Uint32(b))
	}
	return out
}

func newNumbered(first, n int) *Batch {
	b := &Batch{Items: make([]byte, 0, smallCap)}
	b.own()
	for i := range n {
		b.Items = binary.BigEndian.AppendUint32(b.Items, uint32(first+i))
	}
	return b
}

// naive is what an outbox should do, written without cursors: every number that was ever given has its
// items, and a flag for what has become of it.
type naive struct {
	waiting []uint32   // items not numbered yet
	items   [][]uint32 // of number i+1; nil: taken back
	done    uint64     // numbers up to this one are forgotten
	offered uint64     // on this stream
	keep    keeping
}

type outboxModel struct {
	t    *testing.T
	rnd  *rand.Rand
	box  outbox
	twin naive
	live int // batches that the outbox holds
	next int // number of the next item
	now  time.Time
	grpc []*Batch // references that gRPC has not freed
}

func newOutboxModel(t *testing.T, seed uint64) *outboxModel {
	m := &outboxModel{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(0, 0)}
	m.box = newOutbox(
		func(b *Batch) { m.live--; b.release() },
		func(*Batch) { m.live-- },
	)
	return m
}

func (m *outboxModel) send() {
	n := 1 + m.rnd.IntN(40)
	m.box.queue.push(newNumbered(m.next, n))
	m.live++
	for range n {
		m.twin.waiting = append(m.twin.waiting, uint32(m.next))
		m.next++
	}
}

// offer compares one message. How much is merged is the outbox's choice; the order of the items is not.
func (m *outboxModel) offer() {
	m.now = m.now.Add(time.Second)
	received := uint64(m.rnd.IntN(3))
	o, ok := m.box.next(m.now, received)
	if want := m.twin.offered < uint64(len(m.twin.items)) || len(m.twin.waiting) > 0; ok != want {
		m.t.Fatalf("next says %v, want %v", ok, want)
	}
	if !ok {
		return
	}
	m.twin.offered++
	if o.seq != m.twin.offered {
		m.t.Fatalf("number %d, want %d", o.seq, m.twin.offered)
	}
	var got []uint32
	if o.b != nil {
		got = numbers(o.b.Items)
		m.checkWire(o, received)
	}
	if o.new != (o.seq > uint64(len(m.twin.items))) {
		m.t.Fatalf("number %d: new is %v", o.seq, o.new)
	}
	if o.new {
		m.twin.items = append(m.twin.items, m.twin.waiting[:len(got):len(got)])
		m.twin.waiting = m.twin.waiting[len(got):]
	}
	if want := m.twin.items[o.seq-1]; !equal(got, want) {
		m.t.Fatalf("number %d holds %v, want %v", o.seq, got, want)
	}
	m.finishOffer(o)
}

func (m *outboxModel) checkWire(o offer, received uint64) {
	want := batch.AppendUpstreamSeq(bytes.Clone(o.b.Items), o.seq, received)
	if !bytes.Equal(o.b.wire, want) {
		m.t.Fatalf("number %d: wire is % x, want % x", o.seq, o.b.wire, want)
	}
}

// finishOffer is SendMsg: gRPC may keep its reference, and may fail.
func (m *outboxModel) finishOffer(o offer) {
	if o.b != nil {
		if m.rnd.IntN(3) == 0 {
			o.b.ref()
			m.grpc = append(m.grpc, o.b)
		}
		o.b.unref()
	}
	if m.rnd.IntN(20) == 0 {
		m.rewind()
		return
	}
	m.box.sent(o.seq)
	if m.twin.keep == keepNone {
		m.twin.done = max(m.twin.done, o.seq)
	}
}

func (m *outboxModel) rewind() {
	m.box.rewind()
	m.twin.offered = m.twin.done
}

func (m *outboxModel) receipt() {
	given := uint64(len(m.twin.items))
	seq := uint64(m.rnd.IntN(int(given) + 3))
	if _, ok := m.box.receipt(seq); ok != (seq <= given) {
		m.t.Fatalf("receipt of %d is %v, %d were given", seq, ok, given)
	}
	if seq <= given {
		m.twin.done = max(m.twin.done, seq)
		m.twin.offered = max(m.twin.offered, m.twin.done)
	}
}

func (m *outboxModel) settle() {
	k := keeping(m.rnd.IntN(3))
	m.box.settle(k)
	if m.twin.keep = k; k == keepNone {
		m.twin.done = max(m.twin.done, m.twin.offered)
	}
}

func (m *outboxModel) takeBack() {
	var want []uint32
	for i := m.twin.done; i < uint64(len(m.twin.items)); i++ {
		want = append(want, m.twin.items[i]...)
		m.twin.items[i] = nil
	}
	want = append(want, m.twin.waiting...)
	m.twin.waiting = nil
	var got []uint32
	for _, b := range m.box.takeBack() {
		got = append(got, numbers(b.Items)...)
	}
	if !equal(got, want) {
		m.t.Fatalf("taken back %v, want %v", got, want)
	}
	m.rewind()
	if m.rnd.IntN(2) == 0 {
		m.box.restart()
		m.twin = naive{}
	}
}

func (m *outboxModel) check() {
	if m.box.whole() != (m.twin.done == 0) {
		m.t.Fatalf("whole is %v, %d are done", m.box.whole(), m.twin.done)
	}
	if want := len(m.twin.items) - int(m.twin.done); len(m.box.kept) != want {
		m.t.Fatalf("%d kept, want %d", len(m.box.kept), want)
	}
	held := m.box.queue.n
	for _, e := range m.box.kept {
		if e.b != nil {
			held++
		}
	}
	if held != m.live {
		m.t.Fatalf("%d batches held, %d not told of", held, m.live)
	}
}

func equal(a, b []uint32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestOutboxModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for round := range uint64(60) {
		m := newOutboxModel(t, seed+round)
		for range 800 {
			switch n := m.rnd.IntN(100); {
			case n < 40:
				m.send()
			case n < 80:
				m.offer()
			case n < 92:
				m.receipt()
			case n < 95:
				m.rewind()
			case n < 97:
				m.settle()
			case n < 98:
				m.takeBack()
			default:
				for _, b := range m.grpc {
					b.unref()
				}
				m.grpc = nil
			}
			m.check()
		}
	}
}

func TestMergeStaysBelowAFrame(t *testing.T) {
	box := newOutbox(func(b *Batch) { b.release() }, func(*Batch) {})
	for i := range 100 {
		b := &Batch{Items: make([]byte, 0, 32<<10)}
		b.own()
		b.Items = append(b.Items, newNumbered(i*100, 100).Items...)
		box.queue.push(b)
	}
	total := 0
	for {
		o, ok := box.next(time.Time{}, 1<<60)
		if !ok {
			break
		}
		if len(o.b.wire) >= frameLen {
			t.Fatalf("a message of %d bytes", len(o.b.wire))
		}
		total += len(o.b.Items)
		o.b.unref()
	}
	if total != 100*400 {
		t.Fatalf("%d bytes went out, want %d", total, 100*400)
	}
}

// A batch that gRPC still reads, since the stream on which it was sent broke, must be neither sealed
// again in place nor merged into.
func TestLentBatchIsNotWritten(t *testing.T) {
	box := newOutbox(func(b *Batch) { b.release() }, func(*Batch) {})
	box.queue.push(newNumbered(0, 2))
	o, _ := box.next(time.Time{}, 1)
	o.b.ref() // gRPC's
	o.b.unref()
	lent := bytes.Clone(o.b.wire)

	box.rewind()
	again, _ := box.next(time.Time{}, 2)
	if again.b == o.b {
		t.Fatal("the lent batch was sealed again")
	}
	if !bytes.Equal(again.b.Items, o.b.Items) || bytes.Equal(again.b.wire, lent) {
		t.Fatalf("the copy's wire is % x", again.b.wire)
	}
	again.b.unref()

	again.b.ref() // gRPC's, once more
	lost := box.takeBack()
	box.restart()
	box.queue.push(lost[0])
	box.queue.push(newNumbered(2, 2))
	if o, _ := box.next(time.Time{}, 3); len(numbers(o.b.Items)) != 2 {
		t.Fatalf("merged into a lent batch: %v", numbers(o.b.Items))
	}
	if !bytes.Equal(o.b.wire, lent) {
		t.Fatal("what gRPC reads has changed")
	}
}

func TestSteadyOutboxDoesNotAllocate(t *testing.T) {
	var free list
	box := newOutbox(func(b *Batch) { b.release(); free.push(b) }, func(*Batch) {})
	box.settle(keepAll)
	for i := range 50 {
		free.push(newNumbered(i, 1))
	}
	for b := free.head; b != nil; b = b.next {
		b.release()
	}
	received := uint64(0)
	turn := func() {
		b := free.pop()
		b.own()
		box.queue.push(b)
		o, _ := box.next(time.Time{}, 0)
		o.b.unref()
		box.sent(o.seq)
		if o.seq > 20 { // the Manager lags by 20 batches
			received++
			box.receipt(received)
		}
	}
	for range 1000 {
		turn()
	}
	if n := testing.AllocsPerRun(1000, turn); n != 0 {
		t.Fatalf("%v allocations for a batch", n)
	}
}
