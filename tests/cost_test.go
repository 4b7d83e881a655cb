//go:build e2e

package tests

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"edged/wire"
)

// The tests of cost*_test.go count what a message costs: system calls, events, allocations, threads. No time enters into them,
// so a slow or busy machine changes nothing. Every count is of the real binary under a load in lockstep: each link sends a
// volley of frames in one write and reads all of their answers before the next one.
//
// A bound is raised only by the commit that makes a message dearer, which says what that buys and what is measured now; never
// because a machine went over it, for none of these numbers belongs to a machine. A change that makes a message cheaper lowers
// its bound.

// talkers is clients that are loaded together.
type talkers []*client

// upTo logs more links in until there are n, fewer if the gateway has not the room.
func (ts talkers) upTo(t *testing.T, g *gateway, n int) talkers {
	t.Helper()
	for len(ts) < min(n, g.capacity) {
		ts = append(ts, dialIn(t, g.address(), fmt.Sprintf("user-%d/phone", len(ts))))
	}
	return ts
}

// volleys has every link send the frames and read the same bytes back, so many times, all links at once.
func (ts talkers) volleys(times int, frames []byte) error {
	results := make(chan error, len(ts))
	for _, c := range ts {
		go func() { results <- c.volleys(times, frames) }()
	}
	var errs []error
	for range ts {
		errs = append(errs, <-results)
	}
	return errors.Join(errs...)
}

func (c *client) volleys(times int, frames []byte) error {
	answer := make([]byte, len(frames))
	for range times {
		if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := c.conn.Write(frames); err != nil {
			return err
		}
		if _, err := io.ReadFull(c.r, answer); err != nil {
			return err
		}
		if !bytes.Equal(answer, frames) {
			return errors.New("what came back is not what was sent")
		}
	}
	return nil
}

// dataFrames is a volley of DATA frames of 64 bytes each.
func dataFrames(depth int) []byte {
	var b []byte
	for range depth {
		b = wire.Append(b, wire.KindData, make([]byte, 64-1-wire.HeadLen))
	}
	return b
}

// spent is two looks at /metrics.
type spent struct{ before, after scrape }

// measure looks before and after f.
func (g *gateway) measure(f func() error) (s spent) {
	g.t.Helper()
	s.before = g.scrape()
	check(g.t, f())
	s.after = g.scrape()
	return s
}

// of is by how much a number grew.
func (s spent) of(name string, labels ...string) float64 {
	return s.after.sum(name, labels...) - s.before.sum(name, labels...)
}

// load is a way to load a gateway, with the bounds of what a message of it may cost.
type load struct {
	name   string
	times  int // volleys of each link; enough for what happens once in many KiB to find its rate
	depth  int // messages in a volley
	frames []byte
	calls  float64 // recv and send together, per message
	events float64 // of epoll, per message
}

// loadLinks is how many links carry a load.
const loadLinks = 100

func (l load) messages() float64 { return float64(loadLinks * l.times * l.depth) }

// loads, with what go1.26 on Linux 6.18 measured, the same on an idle machine and on one with six endless loops on two CPUs:
//
//	depth 1    2.000 calls, one recv and one send. 1.01 to 2.00 events: that of the link, and the wake-up for its answer, which
//	           it shares with those of the same batch; a lone link shares it with nobody
//	depth 8    0.251 calls: a volley is one recv, and one send unless the end of a batch parts its answers. 0.127 events,
//	           0.250 for a lone link
//	heartbeat  2.000 calls, and the one event of the link
//
// What is above that is room for the two looks at the metrics, each of which wakes the reactor, and for volleys that come
// apart, in which case the counts still cannot reach those of a frame by itself.
func loads() []load {
	return []load{
		{"depth 1", 100, 1, dataFrames(1), 2.1, 2.01},
		{"depth 8", 100, 8, dataFrames(8), 0.6, 0.5},
		{"heartbeat", 100, 1, wire.AppendHeartbeat(nil), 2.1, 1.01},
	}
}

// TestCostCounters has the product's own counters say what a message costs. It needs no privilege and so runs everywhere.
func TestCostCounters(t *testing.T) {
	k := newKit(t, echoHandler())
	g := start(t, setup{managers: []string{k.address}})
	all := talkers{}.upTo(t, g, loadLinks)
	for _, l := range loads() {
		s := g.measure(func() error { return all.volleys(l.times, l.frames) })
		answers := s.of("edged_frames_sent_total", "kind", "data") + s.of("edged_heartbeats_total")
		if answers != l.messages() {
			t.Errorf("%s: %v messages by the counters, want %v", l.name, answers, l.messages())
		}
		reads, writes := s.of("edged_reactor_reads_total"), s.of("edged_reactor_writes_total")
		events := s.of("edged_reactor_events_total")
		t.Logf("%s: per message %.4f reads, %.4f writes, %.4f events", l.name, reads/answers, writes/answers, events/answers)
		if n := (reads + writes) / answers; !(n <= l.calls) {
			t.Errorf("%s: %.4f recv and send calls per message, at most %v are paid for", l.name, n, l.calls)
		}
		if n := events / answers; !(n <= l.events) {
			t.Errorf("%s: %.4f events per message, at most %v are paid for", l.name, n, l.events)
		}
	}
}

// What a relayed message may allocate, by two terms that hold at every size of batch: an allocation per message alone is ten
// times the first. Measured in 8 runs with 1,000 links at depth 8, 31 to 56 items in a batch: 0.034 to 0.057 allocations per message
// altogether, which is 0.9 to 1.3 per batch, one of either direction counting as one, and the 3,400 of a look at the metrics among
// them.
//
// The bytes are 47 to 104 per message: how many buffers of batches are in use at once is the scheduler's dice, and the garbage
// collector takes those that are not. To copy every batch once adds 220.
const (
	mallocsPerMessage = 0.05
	mallocsPerBatch   = 2
	mallocBytes       = 200 // per message
)

// TestCostAllocations counts the allocations of the whole process over 200,000 messages.
func TestCostAllocations(t *testing.T) {
	k := newKit(t, echoHandler())
	g := start(t, setup{managers: []string{k.address}})
	all := talkers{}.upTo(t, g, 1000)
	const depth, messages = 8, 200_000
	frames := dataFrames(depth)
	check(t, all.volleys(5, frames)) // buffers are lent for the first time
	s := g.measure(func() error { return all.volleys(messages/depth/len(all), frames) })
	n := s.of("edged_frames_sent_total", "kind", "data")
	if n < messages*9/10 {
		t.Fatalf("%v messages, want %d", n, messages)
	}
	sent, received := s.of("edged_manager_sent_batches_total"), s.of("edged_manager_received_batches_total")
	mallocs, size := s.of("go_memstats_mallocs_total"), s.of("go_memstats_alloc_bytes_total")
	t.Logf("%v messages in %v batches there and %v back: %v allocations of %v bytes; per message %.4f of %.1f bytes, per batch %.2f",
		n, sent, received, mallocs, size, mallocs/n, size/n, mallocs/(sent+received))
	if most := mallocsPerMessage*n + mallocsPerBatch*(sent+received); !(mallocs <= most) {
		t.Errorf("%v allocations, at most %v are paid for", mallocs, most)
	}
	if !(size <= mallocBytes*n) {
		t.Errorf("%v bytes allocated, at most %v are paid for", size, mallocBytes*n)
	}
}

// TestCostThreads looks at threads and goroutines while ten links talk, then a thousand: they are the same. Without load that is
// TestIdle. The runtime starts threads of its own when it likes, but not hundreds.
func TestCostThreads(t *testing.T) {
	k := newKit(t, echoHandler())
	g := start(t, setup{gateway: "reactors = 2", managers: []string{k.address}})
	few := talkers{}.upTo(t, g, 10)
	fewThreads, fewGoroutines := g.underLoad(few)
	all := few.upTo(t, g, 1000)
	threads, goroutines := g.underLoad(all)
	t.Logf("%d threads and %v goroutines with 10 links at work, %d and %v with %d", fewThreads, fewGoroutines, threads, goroutines, len(all))
	if threads > fewThreads+16 {
		t.Errorf("%d threads with %d links at work, %d with 10", threads, len(all), fewThreads)
	}
	if goroutines > fewGoroutines+4 {
		t.Errorf("%v goroutines with %d links at work, %v with 10", goroutines, len(all), fewGoroutines)
	}
}

// underLoad is the most threads and goroutines of some looks while links talk.
func (g *gateway) underLoad(ts talkers) (threads int, goroutines float64) {
	g.t.Helper()
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := ts.volleys(10, dataFrames(8)); err != nil {
				done <- err
				return
			}
		}
	}()
	before := g.metric("edged_frames_sent_total", "kind", "data")
	for range 5 {
		waitFor(g.t, "messages", func() bool {
			now := g.metric("edged_frames_sent_total", "kind", "data")
			moved := now > before
			before = now
			return moved
		})
		threads = max(threads, g.procStatus("Threads"))
		goroutines = max(goroutines, g.metric("go_goroutines"))
	}
	close(stop)
	check(g.t, <-done)
	return threads, goroutines
}
