package netpoll

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// source is a listener of the group: one socket for each loop, which are a SO_REUSEPORT group, or fewer.
type source struct {
	// Static after construction.
	number int
	passed bool // somebody else has opened the sockets
	single bool // fewer sockets than loops: who accepts hands over
	tcp    bool

	plan atomic.Pointer[plan] // in force

	mu      sync.Mutex // also held while a socket is closed, so that no other file is taken for it
	members []member   // in the order of the kernel's group; guarded by mu
	judge   judge      // of the plan in force; guarded by mu
	program program    // that is attached, nil for none, empty where a predecessor may have left one; guarded by mu
}

// member is a socket of a source.
type member struct {
	fd, loop int
}

// plan is how a source's connections find their loops. Immutable.
type plan struct {
	rung
	routes *routes
	why    string        // it is not what was asked for
	since  time.Duration // connections accepted earlier may have been chosen by the plan before
	proved atomic.Bool   // enough connections were looked at: one in lookEvery is from now on
}

// steer takes the best way from a rung on downwards that can be had.
func (s *source) steer(r *routes, from rung, why string, since time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steerLocked(r, from, why, since)
}

func (s *source) steerLocked(r *routes, from rung, why string, since time.Duration) {
	for ; from.mode > SteerHash; from = (rung{mode: from.mode - 1, handOver: s.single}) {
		no := from.impossible(r)
		if no == "" {
			no = s.attachLocked(from, r)
		}
		if no == "" {
			break
		}
		why = also(why, no)
	}
	if from.mode <= SteerHash {
		s.detachLocked()
	}
	if from.mode != SteerQueue || from.handOver {
		from.base = 0
	}
	p := &plan{rung: from, routes: r, why: why, since: since}
	p.proved.Store(from.mode <= SteerHash)
	s.judge = judge{}
	s.plan.Store(p)
}

func also(why, more string) string {
	if why == "" {
		return more
	}
	return why + "; " + more
}

// indexLocked returns the place of each loop's socket in the kernel's group.
func (s *source) indexLocked(loops int) []int {
	index := slices.Repeat([]int{-1}, loops)
	for i, m := range s.members {
		if index[m.loop] < 0 {
			index[m.loop] = i
		}
	}
	return index
}

// attachLocked gives the kernel the program of a rung, or says why not.
func (s *source) attachLocked(by rung, r *routes) (no string) {
	if s.single || len(s.members) == 0 {
		return "" // there is nothing for the kernel to choose from
	}
	p := newProgram(by.mode, by.base, r, s.indexLocked(len(r.own)))
	if slices.Equal(p, s.program) {
		return ""
	}
	if err := p.attach(s.members[0].fd); err != nil {
		return fmt.Sprintf("%v: attach a program of %d steps: %v", by.mode, len(p), err)
	}
	s.program = p
	return ""
}

func (s *source) detachLocked() {
	if s.program == nil || len(s.members) == 0 {
		return
	}
	if detach(s.members[0].fd) == nil {
		s.program = nil
	}
}

// close closes one loop's socket; the last one of a group takes its place there.
func (s *source) close(fd int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(fd)
	closeFD(int32(fd), false)
}

func (s *source) removeLocked(fd int) {
	i := slices.IndexFunc(s.members, func(m member) bool { return m.fd == fd })
	if i < 0 {
		return
	}
	last := len(s.members) - 1
	s.members[i] = s.members[last]
	s.members = s.members[:last]
}

// lose gives up a socket that will never accept again, and has the others keep their loops.
func (s *source) lose(fd int, since time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(fd)
	closeFD(int32(fd), false)
	if p := s.plan.Load(); p != nil && len(s.members) != 0 {
		s.steerLocked(p.routes, p.rung, p.why, since)
	}
}

// look counts a connection that came to a loop by the plan p, and tells whether that plan was given up for another one.
func (s *source) look(p *plan, missed, shifted bool, since time.Duration) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plan.Load() != p {
		return false
	}
	s.judge.look(missed, shifted)
	if s.judge.failed() {
		next, why := p.below(&s.judge, s.passed), p.why
		if next.mode != p.mode {
			why = also(why, s.judge.verdict(p.mode))
		}
		s.steerLocked(p.routes, next, why, since)
		return true
	}
	if s.judge.looked >= provedAfter {
		p.proved.Store(true)
	}
	return false
}

// placeOf returns where a socket stands in the kernel's group, and what a state says of its origin; false for one that is closed.
func (s *source) placeOf(fd int) (place int, origin uint32, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.passed {
		origin = adopted
	}
	place = slices.IndexFunc(s.members, func(m member) bool { return m.fd == fd })
	return place, origin, fd >= 0 && place >= 0
}

// address is where it listens; nil if that cannot be found out.
func (s *source) address() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.members) == 0 {
		return nil
	}
	at, err := unix.Getsockname(s.members[0].fd)
	if err != nil {
		return nil
	}
	switch at := at.(type) {
	case *unix.SockaddrInet4:
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port)))
	case *unix.SockaddrInet6:
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom16(at.Addr), uint16(at.Port)))
	case *unix.SockaddrUnix:
		return &net.UnixAddr{Name: at.Name, Net: "unix"}
	}
	return nil
}

func (s *source) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.members) != 0
}

// state returns what Steering tells; false for a listener that is closed.
func (s *source) state() (ListenerSteering, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.members) == 0 {
		return ListenerSteering{}, false
	}
	l := ListenerSteering{Source: s.number, Looked: uint64(s.judge.looked), Missed: uint64(s.judge.missed)}
	if p := s.plan.Load(); p != nil {
		l.Mode, l.Base, l.Why, l.HandsOver = p.mode, p.base, p.why, p.handOver
	}
	return l, true
}

// leave has the kernel spread by its hash, and nobody look.
func (s *source) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.detachLocked()
}
