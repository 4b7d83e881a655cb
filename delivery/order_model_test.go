package delivery_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"edged/delivery"
)

// orderTwin is one order as one would write it without a thought of memory.
type orderTwin struct {
	id         uint32
	next, end  uint64
	held       map[uint64]heldTwin
	holes      [][2]uint64 // [from, to)
	moved, at  int64       // when it went on, when anything happened
	everPassed bool
}

type heldTwin struct {
	msg string
	at  int64
}

func (o *orderTwin) head() (n uint64, ok bool) {
	for k := range o.held {
		if !ok || k < n {
			n, ok = k, true
		}
	}
	return n, ok
}

func (o *orderTwin) bytes() (n int) {
	for _, h := range o.held {
		n += len(h.msg)
	}
	return n
}

// gapEnds is two seconds after something is known to be missing, and nothing came in turn.
func (o *orderTwin) gapEnds(gap int64) int64 {
	since := int64(1) << 62
	for _, h := range o.held {
		since = min(since, h.at) // all of them lie behind the first gap
	}
	if o.everPassed {
		since = max(since, o.moved)
	}
	return since + gap + 1
}

func (o *orderTwin) fill(n uint64) bool {
	for i, h := range o.holes {
		if n < h[0] || n >= h[1] {
			continue
		}
		parts := [][2]uint64{}
		if h[0] < n {
			parts = append(parts, [2]uint64{h[0], n})
		}
		if n+1 < h[1] {
			parts = append(parts, [2]uint64{n + 1, h[1]})
		}
		if len(parts) < 2 || len(o.holes) < 8 {
			o.holes = slices.Replace(o.holes, i, i+1, parts...)
		}
		return true
	}
	return false
}

func (o *orderTwin) skip(n uint64) {
	last := len(o.holes) - 1
	switch {
	case last >= 0 && o.holes[last][1] == o.next:
		o.holes[last][1] = n
	case last == 7:
		o.holes[1][0] = o.holes[0][0]
		o.holes = append(o.holes[1:], [2]uint64{o.next, n})
	default:
		o.holes = append(o.holes, [2]uint64{o.next, n})
	}
	o.next = n
}

// reopen and gone are those of Orders.
func (o *orderTwin) reopen(n uint64) {
	if n+1 == o.next && (len(o.holes) == 0 || o.holes[len(o.holes)-1][1] != o.next) {
		o.next = n
		return
	}
	i := slices.IndexFunc(o.holes, func(h [2]uint64) bool { return h[1] >= n })
	if i < 0 {
		i = len(o.holes)
	}
	switch {
	case n >= o.next || slices.ContainsFunc(o.holes, func(h [2]uint64) bool { return n >= h[0] && n < h[1] }):
	case i < len(o.holes) && o.holes[i][1] == n:
		o.holes[i][1]++
	case len(o.holes) < 8:
		o.holes = slices.Insert(o.holes, i, [2]uint64{n, n + 1})
	case i == 0:
		o.holes[0][0] = n
	default:
		o.holes[1][0] = o.holes[0][0]
		if o.holes = slices.Delete(o.holes, 0, 1); i > 1 {
			o.holes = slices.Insert(o.holes, i-1, [2]uint64{n, n + 1})
		}
	}
}

func (o *orderTwin) gone(now int64, from, to uint64) {
	var kept [][2]uint64
	for i, h := range o.holes {
		before, behind := [2]uint64{h[0], min(h[1], from)}, [2]uint64{max(h[0], to), h[1]}
		if split := before[0] < before[1] && behind[0] < behind[1]; split && len(kept)+len(o.holes)-i >= 8 {
			kept = append(kept, h)
			continue
		}
		for _, h := range [][2]uint64{before, behind} {
			if h[0] < h[1] {
				kept = append(kept, h)
			}
		}
	}
	o.holes = kept
	if o.next == 0 || o.next >= from && o.next < to {
		if n, ok := o.head(); ok {
			to = min(to, n)
		}
		if to > o.next {
			o.next, o.moved, o.everPassed = to, now, true
		}
	}
	o.at = now
}

// whole is the number before which nothing was given up.
func (o *orderTwin) whole() uint64 {
	if len(o.holes) > 0 {
		return o.holes[0][0] - 1
	}
	return max(o.next, 1) - 1
}

func (o *orderTwin) take(now int64, n uint64, msg string) delivery.Verdict {
	o.at = now
	_, twice := o.held[n]
	switch {
	case n < o.next && o.fill(n):
		return delivery.Late
	case n < o.next:
		return delivery.Double
	case n == o.next:
		o.next, o.moved, o.everPassed = n+1, now, true
		return delivery.Pass
	case twice:
		return delivery.Double
	}
	if o.held[n] = (heldTwin{msg, now}); len(o.held) == 1 {
		return delivery.Gap
	}
	return delivery.Held
}

// pop returns everything that can go, as Released is printed.
func (o *orderTwin) pop(now int64, l delivery.OrderLimits, force bool) (got []string) {
	for {
		n, ok := o.head()
		if !ok {
			return got
		}
		gap, late := false, false
		drop := false
		switch {
		case n < o.next:
			late = o.fill(n)
			drop = !late
		case n == o.next:
			o.next++
		case force || len(o.held) > l.Messages || o.bytes() > l.Bytes && len(o.held) > 1 || now >= o.gapEnds(l.Gap.Milliseconds()):
			gap = true
			o.skip(n)
			o.next++
			o.at = now
		default:
			return got
		}
		if !drop {
			got = append(got, fmt.Sprint(o.id, " ", n, " ", o.held[n].msg, " ", gap, " ", late))
		}
		delete(o.held, n)
	}
}

// lineTwin is one link: its order of versions, nil while there is none, and its packages, the
// newest first.
type lineTwin struct {
	gate     *orderTwin
	packages []*orderTwin
}

func (w *lineTwin) open() *orderTwin {
	if w.gate == nil {
		w.gate = &orderTwin{held: map[uint64]heldTwin{}}
	}
	return w.gate
}

func (w *lineTwin) pop(now int64, l delivery.OrderLimits) (got []string) {
	if w.gate == nil {
		return nil
	}
	var kept []*orderTwin
	for _, o := range w.packages {
		force := len(kept) == 8
		got = append(got, o.pop(now, l, force)...)
		whole := o.end != 0 && o.next == o.end && len(o.holes) == 0
		if len(o.held) > 0 || !force && !whole && now < o.at+10*l.Gap.Milliseconds()+1 {
			kept = append(kept, o)
		}
	}
	w.packages = kept
	got = append(got, w.gate.pop(now, l, false)...)
	if w.gate.next == 0 && len(w.packages) == 0 {
		w.gate = nil
	}
	return got
}

// orderModel is a store of several links beside their twins.
type orderModel struct {
	testing.TB
	*rand.Rand
	s    *delivery.Orders
	l    delivery.OrderLimits
	now  int64
	refs []delivery.OrderRef
	w    []*lineTwin
}

func (m *orderModel) millis() delivery.Millis { return delivery.Millis(m.now) }

func (m *orderModel) step() {
	i := m.IntN(len(m.refs))
	var got, want delivery.Verdict
	r, w, msg := m.refs[i], m.w[i], strings.Repeat(string(rune('a'+m.IntN(26))), m.IntN(1+m.IntN(200)))
	switch n := m.IntN(100); {
	case n < 40:
		v := m.version(w)
		r, got = m.s.Version(r, m.millis(), v, []byte(msg))
		if w.open().next == 0 {
			w.gate.next = v
		}
		want = w.gate.take(m.now, v, msg)
	case n < 50:
		v := m.version(w)
		r, got = m.s.Passed(r, m.millis(), v)
		if w.open().next == 0 {
			w.gate.next = v
		}
		if v > w.gate.next {
			w.gate.skip(v)
		}
		want = w.gate.take(m.now, v, "")
	case n < 80:
		at := delivery.Position{Package: 1 + uint32(m.IntN(12)), Seq: uint32(m.IntN(1 + m.IntN(9))), Count: uint32(m.IntN(10))}
		r, got = m.s.InPackage(r, m.millis(), at, []byte(msg))
		want = m.inPackage(w, at, msg)
	case n < 90:
		m.now += int64(m.IntN([...]int{2, 200, 3_000, 30_000}[m.IntN(4)]))
	case n < 93:
		r = m.start(r, w)
	case n < 95:
		v := m.version(w)
		r = m.s.GiveUp(r, m.millis(), v)
		if w.gate != nil {
			if head, ok := w.gate.head(); ok && head > w.gate.next && v > w.gate.next {
				w.gate.skip(min(v, head))
				w.gate.at = m.now
			}
		}
	case n < 96:
		r = m.end(r, w)
	case n < 98:
		m.changeMind(&r, w)
	default:
		r = m.reload(r)
	}
	if m.refs[i] = r; got != want {
		m.Fatalf("link %d: verdict %v, want %v", i, got, want)
	}
	if w.gate != nil && (m.s.Whole(r) != w.gate.whole() || m.s.Turn(r) != w.gate.next) {
		m.Fatalf("link %d: whole up to %d and next %d, want %d and %d", i, m.s.Whole(r), m.s.Turn(r), w.gate.whole(), w.gate.next)
	}
	m.pop(i)
}

// changeMind takes a turn back, or says that some versions will not come.
func (m *orderModel) changeMind(r *delivery.OrderRef, w *lineTwin) {
	v := m.version(w)
	if v -= min(v-1, m.Uint64N(20)); m.IntN(2) == 0 {
		m.s.Reopen(*r, v)
		if w.gate != nil {
			w.gate.reopen(v)
		}
		return
	}
	to := v + m.Uint64N(12)
	if *r = m.s.Gone(*r, m.millis(), v, to); v < to {
		w.open().gone(m.now, v, to)
	}
}

// version is one about which something is to be decided.
func (m *orderModel) version(w *lineTwin) uint64 {
	if w.gate == nil || w.gate.next == 0 {
		return 1 + m.Uint64N(1000)
	}
	if m.IntN(2) == 0 {
		return w.gate.next
	}
	return max(1, w.gate.next+m.Uint64N(8)-min(3, w.gate.next))
}

func (m *orderModel) inPackage(w *lineTwin, at delivery.Position, msg string) delivery.Verdict {
	if at.Count != 0 && at.Seq >= at.Count {
		return delivery.Pass
	}
	w.open()
	i := slices.IndexFunc(w.packages, func(o *orderTwin) bool { return o.id == at.Package })
	if i < 0 {
		i = 0
		w.packages = slices.Insert(w.packages, 0, &orderTwin{id: at.Package, end: uint64(at.Count), held: map[uint64]heldTwin{}})
	} else if end := w.packages[i].end; end != 0 && uint64(at.Seq) >= end {
		return delivery.Pass
	}
	return w.packages[i].take(m.now, uint64(at.Seq), msg)
}

func (m *orderModel) start(r delivery.OrderRef, w *lineTwin) delivery.OrderRef {
	v := m.version(w) - m.Uint64N(2)
	o := w.open()
	if v+1 > o.next {
		o.next, o.moved, o.everPassed = v+1, m.now, true
	}
	o.at = m.now
	o.holes = slices.DeleteFunc(o.holes, func(h [2]uint64) bool { return h[1] <= v+1 })
	for i := range o.holes {
		o.holes[i][0] = max(o.holes[i][0], v+1)
	}
	for n := range o.held {
		if n <= v {
			delete(o.held, n)
		}
	}
	return m.s.Start(r, m.millis(), v)
}

func (m *orderModel) end(r delivery.OrderRef, w *lineTwin) delivery.OrderRef {
	held, got := 0, 0
	if w.gate != nil {
		for _, o := range append(w.packages, w.gate) {
			for n := range o.held {
				if n >= o.next || slices.ContainsFunc(o.holes, func(h [2]uint64) bool { return n >= h[0] && n < h[1] }) {
					held++
				}
			}
		}
	}
	var rel delivery.Released
	for ok := true; ok; got++ {
		r, ok = m.s.End(r, &rel)
	}
	if got-1 != held {
		m.Fatalf("%d messages at the end, want %d", got-1, held)
	}
	*w = lineTwin{}
	return r
}

func (m *orderModel) reload(r delivery.OrderRef) delivery.OrderRef {
	state := m.s.AppendState(nil, r, m.millis())
	m.end(r, &lineTwin{gate: &orderTwin{held: m.all(r)}})
	r, n, err := m.s.LoadState(append(slices.Clone(state), "after"...), m.millis())
	if err != nil || n != len(state) {
		m.Fatalf("LoadState: %d of %d, %v", n, len(state), err)
	}
	if again := m.s.AppendState(nil, r, m.millis()); !slices.Equal(again, state) {
		m.Fatal("saved again it is another")
	}
	return r
}

// all returns as many held messages as the link has.
func (m *orderModel) all(r delivery.OrderRef) map[uint64]heldTwin {
	all := map[uint64]heldTwin{}
	w := m.w[slices.Index(m.refs, r)]
	if w.gate != nil {
		for _, o := range append(slices.Clone(w.packages), w.gate) {
			for range o.held {
				all[uint64(len(all))] = heldTwin{}
			}
		}
	}
	return all
}

func (m *orderModel) pop(i int) {
	_, waits := m.s.Next(m.refs[i])
	var got []string
	var rel delivery.Released
	for {
		r, ok := m.s.Pop(m.refs[i], m.millis(), &rel)
		if m.refs[i] = r; !ok {
			break
		}
		got = append(got, fmt.Sprint(rel.Package, " ", rel.Number, " ", string(rel.Message), " ", rel.Gap, " ", rel.Late))
	}
	want := m.w[i].pop(m.now, m.l)
	if !slices.Equal(got, want) {
		m.Fatalf("link %d: %.200q, want %.200q", i, got, want)
	}
	// A message that came a moment ago needs no Next: everybody calls Pop then.
	if len(got) > 0 && !waits {
		m.Fatalf("link %d: Next did not tell of %.200q", i, got)
	}
	if at, waits := m.s.Next(m.refs[i]); waits && int32(at-m.millis()) <= 0 {
		m.Fatalf("link %d: Next is %d ms ago after Pop had nothing more", i, int32(m.millis()-at))
	}
	if (m.refs[i] != 0) != (m.w[i].gate != nil) {
		m.Fatalf("link %d: ref %#x", i, uint32(m.refs[i]))
	}
}

func TestOrdersAgainstTwin(t *testing.T) {
	n := seed(t)
	for i, l := range []delivery.OrderLimits{
		{Gap: 2 * time.Second, Messages: delivery.DefaultHeld, Bytes: delivery.DefaultBytes},
		{Gap: 10 * time.Millisecond, Messages: 1, Bytes: 1},
		{Gap: time.Minute, Messages: 5, Bytes: 400},
	} {
		t.Run(fmt.Sprint(l.Messages), func(t *testing.T) {
			m := &orderModel{TB: t, Rand: dice(n, uint64(i)), s: delivery.NewOrders(l), l: l, now: 1<<32 - 50_000}
			m.refs = make([]delivery.OrderRef, 6)
			for range m.refs {
				m.w = append(m.w, &lineTwin{})
			}
			for range 30_000 {
				m.step()
			}
			for i := range m.refs {
				m.refs[i] = m.end(m.refs[i], m.w[i])
			}
			if m.s.Len() != 0 || m.s.Held() != 0 {
				t.Errorf("Len %d, Held %d", m.s.Len(), m.s.Held())
			}
		})
	}
}
