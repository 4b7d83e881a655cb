package netpoll

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Coalescing: where the CPUs are full, a loop that found little to do rests a moment before it waits. A loop that is woken for
// each message costs its CPU, and its peers theirs, several times what the message does in a batch, and what they lack of CPUs
// they wait for in the kernel's slices of milliseconds. So some tens of microseconds more for each message are less for the
// slowest, as with a network card that moderates its interrupts.
//
// A rest is a timer, and where a virtual machine's host has to set it, it took 16 to 28 µs of a CPU: then rests of some tens of
// microseconds take more than they save, and there are none. So some rests are measured.
//
// In a storm of new connections, after an outage say, a loop is woken for each of them and for the first thing that each of them
// says. There it rests longer, whether CPUs are full or not: those who come wait for far longer anyway. What rests bring is counted,
// so that who connects one time after the other does not wait for each.
//
// Whether CPUs are full is known by how long the loop's thread had to wait for one: the second figure of
// /proc/self/task/N/schedstat (sched_info.run_delay). It counts what each wake-up takes on a CPU that is free too, 1 to 3 µs, which
// is no waiting.
const (
	coalesceEvery = 50 * time.Millisecond
	coalesceWake  = 3 * time.Microsecond // of each turn are no waiting
	coalesceFrom  = 0.02                 // share of the time that the thread waited for a CPU: below, it does not rest
	coalesceFull  = 0.10                 // from which on it rests as long as it may
	coalesceLeast = 10 * time.Microsecond

	// A loop with fewer turns in a second does not rest, and does not look whether it should.
	coalesceTurns = 1000
	// A turn with so many events was a batch already.
	coalesceBatch = 64

	// What a rest takes of the CPU is measured in one of so many, and judged by so many of those.
	coalesceSample  = 8
	coalesceSamples = 8
	coalesceDear    = 3   // rests are dear if this many times what one takes is more than the longest
	coalesceAgain   = 100 // looks until rests that were dear are tried again: 5 s or more

	// So many connections accepted in a second are a storm. Rests of that length after each turn that accepts take 18 % of the CPU off
	// a connection, of 400 µs 21 %, of 1 ms 29 %, of 100 µs 10 %, of 30 µs nothing (docs/PERFORMANCE.md).
	stormFrom  = 1000
	stormRest  = 200 * time.Microsecond
	stormLeast = 2 // connections that a rest must bring
	stormRests = 8 // in a look, for that to be judged
)

// coalescing is how long a loop rests. Owned by the loop's thread.
type coalescing struct {
	longest time.Duration // zero: it never rests
	rest    time.Duration // now
	looked  time.Duration // when it was looked at last
	waited  time.Duration // how long the thread had waited for a CPU then; negative: that was not read
	turns   uint64        // of the loop, then
	price   price
	storm   storm
	file    int32 // the thread's schedstat; -1 for none
}

// storm is whether connections come in one.
type storm struct {
	on       bool
	accepted uint64 // by the loop, when it was looked at last
	rested   uint64 // when it rested last
	rests    uint64
	before   uint64 // rests, when it was looked at last
	off      int    // looks for which it does not rest; 0: it may
}

// look judges, once in each look, how many connections came.
func (s *storm) look(took time.Duration, accepted uint64) {
	came := accepted - s.accepted
	rests := s.rests - s.before
	vain := rests >= stormRests && came < stormLeast*rests
	s.accepted, s.before = accepted, s.rests
	switch {
	case vain:
		s.on, s.off = false, coalesceAgain
	case s.off > 0:
		s.off--
	default:
		s.on = float64(came) >= stormFrom*took.Seconds()
	}
}

// due says whether to rest, some having been accepted since it did so last.
func (s *storm) due(accepted uint64) bool {
	if !s.on || accepted == s.rested {
		return false
	}
	s.rested = accepted
	s.rests++
	return true
}

// price is what rests take of the CPU.
type price struct {
	rests, samples int           // since it was judged last, and how many of them were measured
	spent          time.Duration // CPU time of those
	dear           int           // looks for which there are no rests; 0: there are
}

// due says whether to measure the next rest.
func (p *price) due() bool {
	p.rests++
	return p.rests%coalesceSample == 0
}

// add takes what a measured rest took.
func (p *price) add(spent time.Duration) {
	p.spent += spent
	p.samples++
}

// look judges, once in each look, rests of up to longest.
func (p *price) look(longest time.Duration) {
	if p.dear > 0 {
		p.dear--
		return
	}
	if p.samples < coalesceSamples {
		return
	}
	dear := coalesceDear*p.spent > time.Duration(p.samples)*longest
	*p = price{}
	if dear {
		p.dear = coalesceAgain
	}
}

// begin has the calling thread, a loop's, rest as long as it is told to: the kernel adds 50 µs to a sleep otherwise
// (timer_slack_ns). Without the figures of its thread it never rests.
func (c *coalescing) begin(longest time.Duration) error {
	*c = coalescing{file: -1, waited: -1}
	if longest <= 0 {
		return nil
	}
	fd, err := unix.Open("/proc/thread-self/schedstat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	c.file, c.longest = int32(fd), longest
	return unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
}

func (c *coalescing) end() {
	if c.file >= 0 {
		closeFD(c.file, false)
	}
	*c = coalescing{file: -1}
}

// look sees now and then how long the loop is to rest.
func (c *coalescing) look(now time.Duration, turns, accepted uint64) {
	took := now - c.looked
	if took < coalesceEvery || c.longest == 0 {
		return
	}
	wakes := time.Duration(turns-c.turns) * coalesceWake
	busy := float64(turns-c.turns) >= coalesceTurns*took.Seconds()
	c.looked, c.turns = now, turns
	c.price.look(c.longest)
	c.storm.look(took, accepted)
	before := c.waited
	c.waited = -1
	if busy {
		c.waited = c.read()
	}
	if !busy || c.waited < 0 {
		c.rest = 0
	} else if before >= 0 {
		// One look is short: half of it is what was known before.
		c.rest = (c.rest + restFor(float64(c.waited-before-wakes)/float64(took), c.longest)) / 2
	}
}

// restFor returns how long to rest where a thread waited for a CPU for a share of its time.
func restFor(share float64, longest time.Duration) time.Duration {
	part := (share - coalesceFrom) / (coalesceFull - coalesceFrom)
	return time.Duration(min(max(part, 0), 1) * float64(longest))
}

// read returns how long the thread has waited for a CPU, negative if that is not to be had.
func (c *coalescing) read() time.Duration {
	var b [80]byte
	n, _, e := unix.RawSyscall6(unix.SYS_PREAD64, uintptr(c.file), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, 0, 0)
	if e != 0 {
		return -1
	}
	return parseRunDelay(b[:n])
}

// parseRunDelay returns the second number of a schedstat, in nanoseconds there; negative if there is none.
func parseRunDelay(b []byte) time.Duration {
	i := 0
	for i < len(b) && b[i] != ' ' {
		i++
	}
	d, digits := time.Duration(0), 0
	for i++; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		d = d*10 + time.Duration(b[i]-'0')
		digits++
	}
	if digits == 0 || digits > 18 {
		return -1
	}
	return d
}

// threadCPU returns the CPU time of the calling thread (CLOCK_THREAD_CPUTIME_ID), a system call.
func threadCPU() time.Duration {
	var ts unix.Timespec
	_, _, _ = unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_THREAD_CPUTIME_ID, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano())
}

// coalesce rests, if that is wanted, so that more is there when the loop looks. What comes meanwhile, Wake and signals
// included, is seen after it.
func (l *Loop) coalesce() {
	c := &l.coalescing
	if l.found == 0 || l.found >= coalesceBatch || !l.raw {
		return
	}
	if c.storm.due(l.stats.Accepts) {
		l.stats.Rests++
		nanosleep(stormRest)
		return
	}
	if c.rest < coalesceLeast || c.price.dear > 0 {
		return
	}
	l.stats.Rests++
	if !c.price.due() {
		nanosleep(c.rest)
		return
	}
	before := threadCPU()
	nanosleep(c.rest)
	c.price.add(threadCPU() - before)
}

// nanosleep sleeps without telling the Go scheduler, for less if a signal comes.
func nanosleep(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}
