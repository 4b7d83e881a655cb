package delivery_test

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"edged/delivery"
)

// twin is one link's window as one would write it without a thought of memory: a list of pushes,
// times that never wrap, every question answered by a walk.
type twin struct {
	l         delivery.Limits
	pushes    []*twinPush
	srtt, dev int64 // ms; srtt 0: not measured
	base      int64
	displaced int
}

type twinPush struct {
	tid             uint32
	sampled         bool
	id, frame       string
	first, due, end int64
	base            int64
	tries           int
}

func (p *twinPush) size() int { return len(p.id) + len(p.frame) }

func (p *twinPush) wake() int64 { return min(p.due, p.end) }

func (w *twin) bytes() (n int) {
	for _, p := range w.pushes {
		n += p.size()
	}
	return n
}

func (w *twin) wait(base int64, tries int) int64 { return min(base<<min(tries-1, 30), 3_600_000) }

func (w *twin) send(now int64, p *twinPush, ttl time.Duration) bool {
	for len(w.pushes) > 0 && (len(w.pushes) >= w.l.Window || w.bytes()+p.size() > w.l.Bytes) {
		i := slices.IndexFunc(w.pushes, func(q *twinPush) bool { return q.sampled })
		if p.sampled || i < 0 {
			return false
		}
		w.pushes = slices.Delete(w.pushes, i, i+1)
		w.displaced++
	}
	if w.base == 0 {
		w.base = w.l.Retry.Milliseconds()
	}
	p.first, p.tries, p.base = now, 1, w.base
	if ttl == 0 {
		ttl = w.l.TTL
	}
	if ttl == 0 {
		ttl = 20 * 24 * time.Hour
	}
	p.end, p.due = now+ttl.Milliseconds()+1, now+w.base+1
	if p.sampled {
		p.due = now + 1
		for try := 1; try <= w.l.Tries; try++ {
			p.due += w.wait(w.base, try)
		}
	}
	w.pushes = append(w.pushes, p)
	return true
}

func (w *twin) take(i int) *twinPush {
	p := w.pushes[i]
	if w.pushes = slices.Delete(w.pushes, i, i+1); len(w.pushes) == 0 {
		w.srtt, w.base = 0, coarse(w.base, w.l.Retry.Milliseconds())
	}
	return p
}

// coarse is what is left of a wait while nothing is outstanding: the next of eight steps to a
// doubling, in units of 16 ms.
func coarse(base, retry int64) int64 {
	for step := int64(16); base > retry; step *= 2 {
		for n := int64(8); n < 16; n++ {
			if n*step >= base {
				return min(n*step, 3_600_000)
			}
		}
	}
	return retry
}

func (w *twin) ack(now int64, i int) *twinPush {
	p := w.pushes[i]
	if p.tries > 1 {
		w.base = min(max(w.base, 2*p.base), 3_600_000)
	} else {
		rtt := min(max(now-p.first, 1), 3_600_000)
		if w.srtt == 0 {
			w.srtt, w.dev = rtt, rtt/2
		} else {
			w.dev = (3*w.dev + max(rtt-w.srtt, w.srtt-rtt)) / 4
			w.srtt = max((7*w.srtt+rtt)/8, 1)
		}
		w.base = min(max(w.l.Retry.Milliseconds(), 2*w.srtt, w.srtt+4*w.dev), 3_600_000)
	}
	return w.take(i)
}

// due does what is due at now and returns it.
func (w *twin) due(now int64) (got []string) {
	for _, p := range slices.Clone(w.pushes) {
		what := "repeat"
		switch {
		case p.wake() > now:
			continue
		case p.end <= now:
			what = "expired"
		case p.sampled || p.tries >= w.l.Tries:
			what = "no_ack"
		}
		if what != "repeat" {
			w.take(slices.Index(w.pushes, p))
		} else {
			p.tries++
			p.due = now + w.wait(p.base, p.tries) + 1
		}
		got = append(got, event(what, p.tid, p.id, p.frame, p.sampled, p.tries))
	}
	return got
}

func event(what string, tid uint32, id, frame string, sampled bool, tries int) string {
	return fmt.Sprintf("%s %d %s %d:%x %v %d", what, tid, id, len(frame), crc32.ChecksumIEEE([]byte(frame)), sampled, tries)
}

// model is a store of several links beside their twins.
type model struct {
	testing.TB
	*rand.Rand
	s    *delivery.Windows
	l    delivery.Limits
	now  int64
	refs []delivery.Ref
	tids []uint32
	w    []*twin
}

func (m *model) millis() delivery.Millis { return delivery.Millis(m.now) }

func (m *model) step() {
	i := m.IntN(len(m.refs))
	switch n := m.IntN(100); {
	case n < 45:
		m.send(i)
	case n < 80:
		m.ack(i)
	case n < 90:
		m.sleep()
	case n < 96:
		m.due(i)
	case n < 97:
		m.end(i)
	default:
		m.reload(i)
	}
}

func (m *model) send(i int) {
	for range 1 + m.IntN(1+m.IntN(30)) {
		m.tids[i] += uint32(m.IntN(2)) // a push that wants no ACK
		c := string(rune('a' + m.IntN(26)))
		p := &twinPush{tid: m.tids[i], sampled: m.IntN(3) == 0,
			id: strings.Repeat(c, m.IntN(30)), frame: strings.Repeat(c, m.IntN(1+m.IntN(3000)))}
		ttl := time.Duration(0)
		if m.IntN(4) == 0 {
			ttl = time.Duration(1+m.IntN(40_000)) * time.Millisecond
		}
		r, err := m.s.Send(m.refs[i], m.millis(),
			&delivery.Push{TID: p.tid, Sampled: p.sampled, TTL: ttl, MsgID: []byte(p.id), Frame: []byte(p.frame)})
		if p.sampled {
			p.frame = ""
		}
		if ok := m.w[i].send(m.now, p, ttl); ok != (err == nil) {
			m.Fatalf("link %d tid %d: %v, twin says %v", i, p.tid, err, ok)
		}
		if m.refs[i] = r; err == nil {
			m.tids[i]++
		}
	}
}

func (m *model) ack(i int) {
	tid, w := m.tids[i]-uint32(m.IntN(40)), m.w[i]
	at := -1
	if len(w.pushes) > 0 && m.IntN(4) > 0 {
		at = m.IntN(len(w.pushes))
		tid = w.pushes[at].tid
	} else {
		at = slices.IndexFunc(w.pushes, func(p *twinPush) bool { return p.tid == tid })
	}
	var rc delivery.Receipt
	r, got := m.s.Ack(m.refs[i], m.millis(), tid, m.tids[i], &rc)
	m.refs[i] = r
	switch {
	case at >= 0:
		p := w.ack(m.now, at)
		want := fmt.Sprint(p.tid, p.id, p.sampled, p.tries, time.Duration(m.now-p.first)*time.Millisecond)
		if is := fmt.Sprint(rc.TID, string(rc.MsgID), rc.Sampled, rc.Tries, rc.Took); got != delivery.Acked || is != want {
			m.Fatalf("link %d: %v %s, want %s", i, got, is, want)
		}
	case tid < m.tids[i] && got != delivery.Duplicate, tid >= m.tids[i] && got != delivery.Unknown:
		m.Fatalf("link %d: ACK of %d with next %d: %v", i, tid, m.tids[i], got)
	}
}

// sleep goes on by a little, or by much.
func (m *model) sleep() {
	m.now += int64(m.IntN([...]int{2, 200, 3_000, 30_000, 3_000, 200, 2}[m.IntN(7)]))
	if m.IntN(300) == 0 {
		m.now += int64(m.IntN(3 * 24 * 3_600_000))
	}
}

func (m *model) due(i int) {
	w := m.w[i]
	at, open := m.s.Next(m.refs[i])
	if open != (len(w.pushes) > 0) {
		m.Fatalf("link %d: Next says %v for %d pushes", i, open, len(w.pushes))
	}
	var want []string
	if int32(at-m.millis()) <= 0 {
		want = w.due(m.now)
	} else {
		m.notLate(i)
	}
	var got []string
	for {
		var ev delivery.Event
		r, ok := m.s.Due(m.refs[i], m.millis(), &ev)
		if m.refs[i] = r; !ok {
			break
		}
		got = append(got, event(ev.What.String(), ev.TID, string(ev.MsgID), string(ev.Frame), ev.Sampled, ev.Tries))
	}
	if !slices.Equal(got, want) {
		m.Fatalf("link %d at %d: %.200q, want %.200q", i, m.now, got, want)
	}
}

// notLate fails if something waits for longer than Due may be late.
func (m *model) notLate(i int) {
	slack := int64(0)
	if len(m.w[i].pushes) > 0 {
		slack = min(m.l.Retry.Milliseconds()/64, 100)
	}
	for _, p := range m.w[i].pushes {
		if p.wake()+slack < m.now {
			m.Fatalf("link %d: tid %d was due %d ms ago", i, p.tid, m.now-p.wake())
		}
	}
}

func (m *model) end(i int) {
	var got, want []uint32
	var ev delivery.Event
	for {
		r, ok := m.s.End(m.refs[i], &ev)
		if m.refs[i] = r; !ok {
			break
		}
		got = append(got, ev.TID)
	}
	for _, p := range m.w[i].pushes {
		want = append(want, p.tid)
	}
	if !slices.Equal(got, want) || m.refs[i] != 0 {
		m.Fatalf("link %d ends with %v, want %v", i, got, want)
	}
	m.w[i], m.tids[i] = &twin{l: m.l}, m.Uint32()
}

// reload saves a link and makes it again in the same store, at another clock's time.
func (m *model) reload(i int) {
	state := m.s.AppendState([]byte("before"), m.refs[i], m.millis())[len("before"):]
	var ev delivery.Event
	for ok := true; ok; {
		m.refs[i], ok = m.s.End(m.refs[i], &ev)
	}
	r, n, err := m.s.LoadState(append(slices.Clone(state), "after"...), m.millis())
	if err != nil || n != len(state) {
		m.Fatalf("link %d: LoadState: %d of %d, %v", i, n, len(state), err)
	}
	if again := m.s.AppendState(nil, r, m.millis()); !slices.Equal(again, state) {
		m.Fatalf("link %d: saved again it is another", i)
	}
	m.refs[i] = r
}

func (m *model) whole() {
	m.Helper()
	open, live, bytes, displaced := 0, 0, 0, 0
	for i, w := range m.w {
		n, size := m.s.Outstanding(m.refs[i])
		if n != len(w.pushes) || size != w.bytes() || m.refs[i].Open() != (n > 0) {
			m.Fatalf("link %d: %d pushes of %d bytes, want %d of %d", i, n, size, len(w.pushes), w.bytes())
		}
		if n > 0 {
			open++
		}
		live, bytes = live+n, bytes+size
	}
	for _, w := range m.w {
		displaced += w.displaced
	}
	if m.s.Len() != open || m.s.Pushes() != live || m.s.Bytes() != bytes {
		m.Fatalf("Len %d, Pushes %d, Bytes %d, want %d, %d, %d", m.s.Len(), m.s.Pushes(), m.s.Bytes(), open, live, bytes)
	}
}

func TestWindowsAgainstTwin(t *testing.T) {
	n := seed(t)
	for i, l := range []delivery.Limits{
		{Retry: 5 * time.Second, Tries: 5, Window: 256, Bytes: delivery.DefaultBytes},
		{Retry: 100 * time.Millisecond, Tries: 3, Window: 1, Bytes: 1 << 20, TTL: 250 * time.Millisecond},
		{Retry: time.Second, Tries: 1, Window: 20, Bytes: 20_000},
		{Retry: 20 * time.Second, Tries: 100, Window: 65535, Bytes: 1 << 20, TTL: time.Hour},
	} {
		t.Run(fmt.Sprint(l.Window), func(t *testing.T) {
			m := &model{TB: t, Rand: dice(n, uint64(i)), s: delivery.NewWindows(l), l: l, now: 1<<32 - 50_000}
			for range 8 {
				m.refs, m.tids, m.w = append(m.refs, 0), append(m.tids, 0), append(m.w, &twin{l: l})
			}
			for i := range 20_000 {
				if m.step(); i%200 == 0 {
					m.whole()
				}
			}
			for i := range m.refs {
				m.end(i)
			}
			empty(t, m.s)
			t.Logf("%d samples displaced, %d bytes held", m.s.Displaced(), m.s.Held())
		})
	}
}
