package netpoll

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// spareFiles are descriptors beside the connections: listeners, epolls, and what the rest of the process opens.
const spareFiles = 1024

// Group is a set of loops that listen together.
type Group struct {
	cfg      Config
	loops    []*Loop
	steer    steering
	sources  int // listeners so far
	started  atomic.Bool
	stopping atomic.Bool
	ready    sync.WaitGroup // loops whose thread is not yet prepared
	done     sync.WaitGroup
	next     atomic.Uint32 // round robin of oneOf
	paused   atomic.Bool   // between Pause and Thaw
	frozen   *freeze       // from Freeze to Thaw
	still    bool          // all loops stand still
	legacy   *legacy       // what was inherited; nil for nothing
	revived  *revived      // what was restored; nil for nothing

	mu  sync.Mutex
	err error // what Err returns; guarded by mu
}

// New makes the loops; handler is called once for each.
func New(cfg Config, handler func(l *Loop) Handler) (*Group, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	g := &Group{cfg: cfg}
	g.steer.settle, g.steer.queues = settleTime, cfg.Queues
	if cfg.Inherit != nil {
		var err error
		if g.legacy, err = newLegacy(cfg.Inherit, &cfg); err != nil {
			return nil, err
		}
		g.cfg.Inherit = nil
	}
	if cfg.Restore != nil {
		if err := g.prepareRevival(); err != nil {
			return nil, err
		}
	}
	for i := range cfg.Loops {
		l, err := g.newLoop(i)
		if err != nil {
			g.revived.undo(g.loops)
			g.Stop()
			return nil, err
		}
		l.handler = handler(l)
		if len(cfg.CPUs) != 0 {
			l.pinning.plan(cfg.CPUs[i])
		}
		g.loops = append(g.loops, l)
	}
	g.route(0)
	if g.legacy == nil {
		g.busyPoll()
		g.endDoomed()
	} else {
		g.inheritListeners()
		if g.legacy.first != nil {
			g.report(g.legacy.first)
		}
	}
	return g, nil
}

// newLoop makes the loop of that number, or goes on with it.
func (g *Group) newLoop(number int) (*Loop, error) {
	if g.legacy != nil {
		return g.inheritLoop(number)
	}
	l, err := newLoop(g, number)
	if err == nil && g.revived != nil {
		l.restore(g.revived)
	}
	return l, err
}

// Loops returns the loops, in the order of their numbers.
func (g *Group) Loops() []*Loop { return g.loops }

// Start lets the loops run and returns when their threads are prepared. Listen, Adopt, Start, StopAccepting and Stop are for
// one goroutine at a time, and never for a loop's thread.
func (g *Group) Start() {
	if g.started.Swap(true) {
		return
	}
	GrowFiles(g.cfg.MaxConns * g.cfg.Loops)
	if g.legacy != nil {
		g.resume()
	}
	for _, l := range g.loops {
		g.ready.Add(1)
		g.done.Add(1)
		go func() {
			defer g.done.Done()
			l.run()
		}()
	}
	g.ready.Wait()
	if g.steer.outdated(g.pinned()) {
		g.route(0)
	}
}

// Stop ends the loops and with them every connection, without telling the handlers, and waits for it. What a group inherited that
// was not started is left alone, and what it restored stays open with who held it open before.
func (g *Group) Stop() {
	g.stopping.Store(true)
	if !g.started.Swap(true) {
		for _, l := range g.loops {
			if g.legacy != nil {
				l.renounce()
			} else {
				if g.revived != nil {
					l.setAside(true)
				}
				l.shut()
			}
		}
		return
	}
	g.Thaw()
	for _, l := range g.loops {
		l.Wake()
	}
	g.done.Wait()
}

// StopAccepting closes the listeners and waits for it. The file of a unix socket stays.
func (g *Group) StopAccepting() {
	if !g.started.Load() {
		for _, l := range g.loops {
			l.accepts.close(l)
		}
		return
	}
	var wg sync.WaitGroup
	for _, l := range g.loops {
		wg.Add(1)
		if !l.Post(func() { l.accepts.close(l); wg.Done() }) {
			wg.Done()
		}
	}
	wg.Wait()
}

// Threads returns the kernel's number of each loop's thread, by loop: what /proc/self/task and perf call it. Before Start there are none.
func (g *Group) Threads() []int {
	if !g.started.Load() {
		return nil
	}
	g.ready.Wait()
	threads := make([]int, len(g.loops))
	for i, l := range g.loops {
		threads[i] = l.thread
	}
	return threads
}

// Err returns what a loop could not do to its thread (pinning, SCHED_BATCH, resting), and the listeners that broke; the loop runs all
// the same.
func (g *Group) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

func (g *Group) report(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = errors.Join(g.err, err)
}

// prepareThread makes the calling thread, a loop's, what it is to be, as far as it can.
func (g *Group) prepareThread(number int) {
	p := &g.loops[number].pinning
	if err := pinError(number, p.want, p.begin()); err != nil {
		g.report(err)
	}
	if g.cfg.SchedBatch {
		if err := setBatch(); err != nil {
			g.report(fmt.Errorf("netpoll: SCHED_BATCH for loop %d: %w", number, err))
		}
	}
	if err := g.loops[number].coalescing.begin(g.cfg.Coalesce); err != nil {
		g.report(fmt.Errorf("netpoll: rests of loop %d: %w", number, err))
	}
}

// GrowFiles has the kernel make the table of file descriptors as large as it will be needed for so many connections: it doubles
// it otherwise, and each doubling stalls every thread that opens a file for 7 to 20 ms. Start does so; who is to inherit
// connections that stand still meanwhile does it before.
func GrowFiles(conns int) {
	var limit unix.Rlimit
	var box unix.Sysinfo_t
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || unix.Sysinfo(&box) != nil {
		return
	}
	last := lastFile(conns, limit.Cur, uint64(box.Totalram)*uint64(box.Unit))
	if fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, last); err == nil {
		closeFD(int32(fd), false)
	}
}

// connBytes is what the kernel needs for a connection at the least, with its file and its place in an epoll.
const connBytes = 3840

// lastFile is the highest descriptor that is prepared for: with so many connections, below the limit, and not beyond what the
// memory holds connections for. Where the limit is as good as none, a table for all of it would take 8 GiB.
func lastFile(conns int, limit, memory uint64) int {
	return int(min(uint64(conns)+spareFiles, limit-1, memory/connBytes+spareFiles))
}
