package delivery_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"edged/delivery"
)

func orderLimits() delivery.OrderLimits {
	return delivery.OrderLimits{Gap: 2 * time.Second, Messages: delivery.DefaultHeld, Bytes: delivery.DefaultBytes}
}

// line is one link of a store of orders, and what went out to its client.
type line struct {
	testing.TB
	s   *delivery.Orders
	r   delivery.OrderRef
	now delivery.Millis
	out []string // numbers, with what was said about them
}

// newLine begins near the end of the clock, so that it wraps in most tests.
func newLine(t testing.TB, l delivery.OrderLimits) *line {
	return &line{TB: t, s: delivery.NewOrders(l), now: 1<<32 - 3000}
}

// verdict notes what went out at once, and pops what follows.
func (l *line) verdict(n uint64, v delivery.Verdict) delivery.Verdict {
	l.Helper()
	switch v {
	case delivery.Pass:
		l.out = append(l.out, fmt.Sprint(n))
	case delivery.Late:
		l.out = append(l.out, fmt.Sprint(n, " late"))
	}
	l.pop()
	return v
}

func (l *line) pop() {
	l.Helper()
	var rel delivery.Released
	for {
		r, ok := l.s.Pop(l.r, l.now, &rel)
		if l.r = r; !ok {
			return
		}
		word := fmt.Sprint(rel.Number)
		if string(rel.Message) != "m"+word {
			l.Fatalf("message %q of %+v", rel.Message, rel)
		}
		if rel.Gap {
			word += " gap"
		}
		if rel.Late {
			word += " late"
		}
		l.out = append(l.out, word)
		if rel.Package >= 1<<16 { // its places are versions too, from 1
			var v delivery.Verdict
			if l.r, v = l.s.Passed(l.r, l.now, rel.Number+1); v != delivery.Pass {
				l.Errorf("version %d: %v", rel.Number+1, v)
			}
		}
	}
}

func (l *line) live(versions ...uint64) (v delivery.Verdict) {
	l.Helper()
	for _, n := range versions {
		l.r, v = l.s.Version(l.r, l.now, n, fmt.Append(nil, "m", n))
		l.verdict(n, v)
	}
	return v
}

func (l *line) pack(id, count uint32, places ...uint32) (v delivery.Verdict) {
	l.Helper()
	for _, n := range places {
		l.r, v = l.s.InPackage(l.r, l.now, delivery.Position{Package: id, Seq: n, Count: count}, fmt.Append(nil, "m", n))
		l.verdict(uint64(n), v)
	}
	return v
}

// sleep goes on to the link's next moment, which must be after d, and to what happens then.
func (l *line) sleep(d time.Duration) {
	l.Helper()
	at, ok := l.s.Next(l.r)
	if after := time.Duration(int32(at-l.now)) * time.Millisecond; !ok || after < d || after > d+time.Millisecond {
		l.Fatalf("next after %v, %v, want %v", after, ok, d)
	}
	l.now = at - 1
	was := len(l.out)
	if l.pop(); len(l.out) != was {
		l.Errorf("a millisecond early: %q", l.out[was:])
	}
	l.now = at
	l.pop()
}

// want compares what went out since the last call.
func (l *line) want(words string) {
	l.Helper()
	if got := strings.Join(l.out, ", "); got != words {
		l.Fatalf("%s\nwant %s", got, words)
	}
	l.out = l.out[:0]
}

func (l *line) nothingLeft() {
	l.Helper()
	if l.r != 0 || l.s.Len() != 0 || l.s.Held() != 0 {
		l.Errorf("ref %#x, Len %d, Held %d", uint32(l.r), l.s.Len(), l.s.Held())
	}
}

func TestPackageIsPutInOrder(t *testing.T) {
	l := newLine(t, orderLimits())
	l.pack(7, 10, 0, 2, 1)
	l.want("0, 1, 2")
	l.pack(7, 10, 5, 4, 3, 6, 7, 8, 9)
	l.want("3, 4, 5, 6, 7, 8, 9")
	l.nothingLeft()
}

func TestGapOfPackage(t *testing.T) {
	l := newLine(t, orderLimits())
	l.pack(7, 10, 0, 1, 2, 3, 5, 6)
	l.now += 500
	l.pack(7, 10, 7, 8, 9)
	l.want("0, 1, 2, 3")
	l.sleep(1500 * time.Millisecond)
	l.want("5 gap, 6, 7, 8, 9")
	l.now += 3000
	l.pack(7, 10, 5)
	l.want("")
	l.pack(7, 10, 4)
	l.want("4 late")
	l.nothingLeft()
}

// Several gaps that are known for as long end together; one that was seen later ends later.
func TestGapsOfPackage(t *testing.T) {
	l := newLine(t, orderLimits())
	l.pack(7, 0, 1, 3)
	l.now += 1000
	l.pack(7, 0, 5)
	l.sleep(time.Second)
	l.want("1 gap, 3 gap")
	l.sleep(time.Second)
	l.want("5 gap")
	l.pack(7, 0, 2)
	l.want("2 late")
	l.sleep(20 * time.Second)
	l.want("")
	l.nothingLeft()
}

// What is never completed is forgotten, whatever of it came.
func TestPackageThatStops(t *testing.T) {
	for _, places := range [][]uint32{{0}, {0, 1, 2}, {3}, {0, 1, 5}, {9}} {
		l := newLine(t, orderLimits())
		l.pack(7, 10, places...)
		for range 3 {
			if at, ok := l.s.Next(l.r); ok {
				l.now = at
				l.pop()
			}
		}
		if len(l.out) != len(places) {
			t.Errorf("%v: %q went out", places, l.out)
		}
		l.nothingLeft()
	}
}

func TestPackagesDoNotMix(t *testing.T) {
	l := newLine(t, orderLimits())
	for id := uint32(1); id <= 8; id++ {
		l.pack(id, 3, 1)
	}
	l.want("")
	l.pack(4, 3, 0)
	l.want("0, 1")
	l.pack(4, 3, 2)
	l.want("2")
	l.pack(9, 3, 2)
	l.want("")
	l.pack(10, 3, 2) // one too many: the oldest ends
	l.want("1 gap")
	l.now += 10_000
	l.pop()
	l.want("2 gap, 2 gap, 1 gap, 1 gap, 1 gap, 1 gap, 1 gap, 1 gap")
	l.now += 20_001
	l.pop()
	l.nothingLeft()
}

func TestNonsenseAboutAPlace(t *testing.T) {
	l := newLine(t, orderLimits())
	l.pack(0, 10, 5)
	l.pack(7, 3, 3, 4)
	l.live(0)
	l.live(math.MaxUint64)
	l.want("5, 3, 4, 0, 18446744073709551615")
	l.nothingLeft()
	l.pack(7, 3, 2)
	l.pack(7, 9, 8) // its count was another
	l.want("8")
}

func TestVersionsInOrder(t *testing.T) {
	l := newLine(t, orderLimits())
	l.live(41, 42, 43)
	l.want("41, 42, 43")
	if v := l.live(42); v != delivery.Double {
		t.Errorf("%v, want Double", v)
	}
	if v := l.live(46); v != delivery.Gap {
		t.Errorf("%v, want Gap", v)
	}
	if v := l.live(45); v != delivery.Held {
		t.Errorf("%v, want Held", v)
	}
	if v := l.live(45); v != delivery.Double {
		t.Errorf("%v, want Double", v)
	}
	if from, to, ok := l.s.Missing(l.r); from != 44 || to != 45 || !ok {
		t.Errorf("missing [%d, %d) %v", from, to, ok)
	}
	l.live(44) // from the log
	l.want("44, 45, 46")
	if _, _, ok := l.s.Missing(l.r); ok {
		t.Error("something is missing")
	}
	if at, ok := l.s.Next(l.r); ok {
		t.Errorf("something waits until %d", at)
	}
	l.live(48, 49)
	l.sleep(2 * time.Second)
	l.want("48 gap, 49")
	l.live(47, 47)
	l.want("47 late")
}

// The log does not reach back: nobody waits for what will not come.
func TestLogDoesNotReachBack(t *testing.T) {
	l := newLine(t, orderLimits())
	l.live(1, 100, 101)
	l.r = l.s.GiveUp(l.r, l.now, 90)
	l.pop()
	if from, to, _ := l.s.Missing(l.r); from != 90 || to != 100 {
		t.Errorf("missing [%d, %d)", from, to)
	}
	l.want("1")
	l.r = l.s.GiveUp(l.r, l.now, 1000)
	l.pop()
	l.want("100, 101")
	l.r = l.s.GiveUp(l.r, l.now, 1000)
	l.live(102)
	l.want("102")
}

// What the log does not have any more is not waited for, and does not count as missing.
func TestGoneFromTheLog(t *testing.T) {
	l := newLine(t, orderLimits())
	l.r = l.s.Gone(l.r, l.now, 1, 10)
	l.live(12, 15)
	l.r = l.s.Gone(l.r, l.now, 10, 14)
	l.pop()
	l.want("12")
	if whole, turn := l.s.Whole(l.r), l.s.Turn(l.r); whole != 12 || turn != 13 {
		t.Errorf("whole up to %d, next %d", whole, turn)
	}
	l.r = l.s.Gone(l.r, l.now, 13, 15)
	l.pop()
	l.want("15")
	l.live(30)
	l.sleep(2 * time.Second)
	l.want("30 gap")
	if whole := l.s.Whole(l.r); whole != 15 {
		t.Errorf("whole up to %d", whole)
	}
	l.r = l.s.Gone(l.r, l.now, 18, 20)
	l.live(18, 17)
	l.want("17 late")
	l.r = l.s.Gone(l.r, l.now, 1, 40)
	if whole, turn := l.s.Whole(l.r), l.s.Turn(l.r); whole != 39 || turn != 40 {
		t.Errorf("whole up to %d, next %d", whole, turn)
	}
}

// A message that was let through and could not be sent has its turn again, unless a later one went meanwhile.
func TestTurnTakenBack(t *testing.T) {
	l := newLine(t, orderLimits())
	l.live(1, 2)
	l.s.Reopen(l.r, 2)
	l.live(3)
	l.want("1, 2")
	l.live(2)
	l.want("2, 3")
	l.s.Reopen(l.r, 2)
	if whole := l.s.Whole(l.r); whole != 1 {
		t.Errorf("whole up to %d", whole)
	}
	l.live(4, 2, 2)
	l.want("4, 2 late")
	if whole := l.s.Whole(l.r); whole != 4 {
		t.Errorf("whole up to %d", whole)
	}
}

// A turn that is taken back twice comes back once.
func TestTurnTakenBackTwice(t *testing.T) {
	l := newLine(t, orderLimits())
	l.live(1, 2, 3, 4, 5)
	for _, n := range []uint64{4, 3, 4, 3} {
		l.s.Reopen(l.r, n)
	}
	l.live(4, 4, 3, 3)
	l.want("1, 2, 3, 4, 5, 4 late, 3 late")
	if whole := l.s.Whole(l.r); whole != 5 {
		t.Errorf("whole up to %d", whole)
	}
}

// At the end only that is lost which no other copy brought.
func TestEndAfterTheOthersCame(t *testing.T) {
	l := newLine(t, orderLimits())
	l.live(1)
	for _, n := range []uint64{3, 4, 6} {
		l.r, _ = l.s.Version(l.r, l.now, n, fmt.Append(nil, "m", n)) // and nobody pops
	}
	for _, n := range []uint64{2, 3, 5} {
		l.r, _ = l.s.Passed(l.r, l.now, n)
	}
	var lost []uint64
	var rel delivery.Released
	for ok := true; ok; {
		if l.r, ok = l.s.End(l.r, &rel); ok {
			lost = append(lost, rel.Number)
		}
	}
	if !slices.Equal(lost, []uint64{4, 6}) || l.s.Doubles() != 1 || l.s.Held() != 0 {
		t.Errorf("lost %v, %d doubles, %d held", lost, l.s.Doubles(), l.s.Held())
	}
}

// Live messages during the pull: none is lost, doubled or early.
func TestLiveDuringThePull(t *testing.T) {
	l := newLine(t, orderLimits())
	l.r = l.s.Start(l.r, l.now, 0) // it is being looked up what the client has
	l.live(5, 6)
	l.want("")
	l.r = l.s.Start(l.r, l.now, 2)
	for v := uint64(3); v <= 5; v++ { // 5 was in the log already
		l.now += 1000
		var verdict delivery.Verdict
		l.r, verdict = l.s.Passed(l.r, l.now, v)
		if l.verdict(v, verdict); (verdict == delivery.Double) != (v == 5) {
			l.Errorf("version %d: %v", v, verdict)
		}
		if v == 3 {
			l.live(7)
		}
	}
	l.live(8)
	l.want("3, 4, 5, 6, 7, 8")
}

func TestPackageCarriesVersions(t *testing.T) {
	l := newLine(t, orderLimits())
	l.r = l.s.Start(l.r, l.now, 0)
	l.live(5)
	l.pack(1<<16, 4, 1, 2, 3) // 0 never comes: versions 2, 3 and 4
	l.want("")
	l.sleep(2 * time.Second)
	l.want("1 gap, 2, 3, 5")
	l.live(1)
	l.want("1 late")
}

func TestStartDropsWhatTheClientHas(t *testing.T) {
	l := newLine(t, orderLimits())
	l.r = l.s.Start(l.r, l.now, 0)
	l.live(3, 4, 9, 10)
	l.r = l.s.Start(l.r, l.now, 8)
	l.pop()
	l.want("9, 10")
	if n := l.s.Doubles(); n != 2 {
		t.Errorf("%d doubles, want 2", n)
	}
	l.r = l.s.Start(l.r, l.now, math.MaxUint64)
	l.live(11)
	l.want("11")
}

func TestHeldIsBounded(t *testing.T) {
	lim := orderLimits()
	lim.Messages, lim.Bytes = 3, 20
	l := newLine(t, lim)
	l.live(1, 5, 6, 8)
	l.want("1")
	l.live(9)
	l.want("5 gap, 6")
	l.live(7)
	l.want("7, 8, 9")
	l.live(3)
	l.want("3 late")
	big := make([]byte, 21)
	for n := range uint64(2) {
		var v delivery.Verdict
		if l.r, v = l.s.Version(l.r, l.now, 20+n, big); v != delivery.Gap && v != delivery.Held {
			t.Errorf("%v", v)
		}
	}
	var rel delivery.Released
	if _, ok := l.s.Pop(l.r, l.now, &rel); !ok || rel.Number != 20 || !rel.Gap {
		t.Errorf("%+v", rel)
	}
	if _, v := l.s.Version(l.r, l.now, 30, make([]byte, delivery.MaxMessage+1)); v != delivery.Pass {
		t.Errorf("too long: %v, want Pass", v)
	}
}

// More holes than are remembered: what comes late may come twice then, but is never lost.
func TestManyHoles(t *testing.T) {
	l := newLine(t, orderLimits())
	for n := uint64(0); n < 60; n += 3 {
		l.r, _ = l.s.Passed(l.r, l.now, n+1)
	}
	for n := uint64(2); n < 58; n++ {
		if n%3 != 1 && l.live(n) != delivery.Late {
			t.Errorf("%d is lost", n)
		}
	}
}

// The last message in turn may have been weeks ago.
func TestGapAfterWeeks(t *testing.T) {
	for _, idle := range []time.Duration{time.Hour, 20 * 24 * time.Hour, 30 * 24 * time.Hour, 45 * 24 * time.Hour} {
		l := newLine(t, orderLimits())
		l.live(1)
		l.now += delivery.Millis(idle / time.Millisecond)
		l.live(3)
		l.sleep(2 * time.Second)
		l.want("1, 3 gap")
	}
}

func TestEndOfOrders(t *testing.T) {
	l := newLine(t, orderLimits())
	l.live(1, 5, 4)
	l.pack(7, 9, 0, 3, 2)
	var got []string
	var rel delivery.Released
	for {
		r, ok := l.s.End(l.r, &rel)
		if l.r = r; !ok {
			break
		}
		got = append(got, fmt.Sprint(rel.Package, string(rel.Message)))
	}
	if want := []string{"0m4", "0m5", "7m2", "7m3"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	l.nothingLeft()
}

func TestWrongUseOfOrdersPanics(t *testing.T) {
	for name, call := range map[string]func(){
		"limits": func() { delivery.NewOrders(delivery.OrderLimits{}) },
		"ref given back": func() {
			l := newLine(t, orderLimits())
			l.live(1)
			old := l.r
			l.s.End(l.r, new(delivery.Released))
			l.s.Next(old)
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			call()
		})
	}
}
