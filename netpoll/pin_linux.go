package netpoll

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// pinning is on which CPUs a loop's thread may run.
type pinning struct {
	want    int          // CPU asked for, -1 for none; of the owner until the thread runs, then of the thread
	allowed unix.CPUSet  // what the thread was given when it began: the process's affinity, cut to its cpuset
	held    bool         // the thread is pinned; owned by it
	cpu     atomic.Int64 // that it is, or is to be, pinned to; -1 for none
}

func (p *pinning) plan(cpu int) {
	p.want = max(cpu, -1)
	p.cpu.Store(int64(p.want))
}

// begin learns what the calling thread, a loop's, may use, and pins it.
func (p *pinning) begin() error {
	if err := unix.SchedGetaffinity(0, &p.allowed); err != nil {
		p.cpu.Store(-1)
		return err
	}
	return p.pin(p.want)
}

// pin moves the calling thread, a loop's, to a CPU; -1 sets it free. Where it cannot be pinned it is free: an administrator's
// taskset, CPUAffinity= or cpuset is never widened.
func (p *pinning) pin(cpu int) error {
	p.want = max(cpu, -1)
	if p.want >= 0 {
		var set unix.CPUSet
		set.Set(p.want)
		err := error(unix.EINVAL)
		if p.allowed.IsSet(p.want) {
			err = unix.SchedSetaffinity(0, &set)
		}
		if err == nil {
			p.held = true
			p.cpu.Store(int64(p.want))
			return nil
		}
		return errors.Join(err, p.free())
	}
	return p.free()
}

func (p *pinning) free() error {
	p.cpu.Store(-1)
	if !p.held {
		return nil
	}
	p.held = false
	return unix.SchedSetaffinity(0, &p.allowed)
}

// pinned returns the CPU of each loop, -1 for those that have none.
func (g *Group) pinned() []int {
	cpus := make([]int, len(g.loops))
	for i, l := range g.loops {
		cpus[i] = int(l.pinning.cpu.Load())
	}
	return cpus
}

// repin moves the loops' threads and waits for it; it returns what it could not pin.
func (g *Group) repin(cpus []int) error {
	errs := make([]error, len(g.loops))
	done := make(chan struct{}, len(g.loops))
	for i, l := range g.loops {
		cpu := -1
		if len(cpus) != 0 {
			cpu = cpus[i]
		}
		if !g.started.Load() {
			l.pinning.plan(cpu)
			done <- struct{}{}
		} else if !l.Post(func() { errs[i] = pinError(i, cpu, l.pinning.pin(cpu)); done <- struct{}{} }) {
			errs[i] = ErrStopped
			done <- struct{}{}
		}
	}
	for range g.loops {
		<-done
	}
	return errors.Join(errs...)
}

func pinError(loop, cpu int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("netpoll: pin loop %d to CPU %d: %w", loop, cpu, err)
}
