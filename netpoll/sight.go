package netpoll

import "time"

// sight is up to when a loop has seen all that came. A wait that brings fewer events than there is room for has brought all there
// were when it began, also one that ends at once for a signal: the kernel looks for events before it looks for signals. After one
// that is full more may be left. The kernel hands out events first in, first out, and puts those of descriptors that it will tell
// again behind all others (ep_send_events and ep_done_scan in fs/eventpoll.c), so what was there is told after as many full waits as
// all descriptors need.
type sight struct {
	until time.Duration
	begun time.Duration // when the first of several full waits began
	left  int           // full waits until all that was there then is told; 0: none was full
}

// spareFDs is more than there are descriptors in a loop's epoll beside its connections: listeners, what it watches, its bell.
const spareFDs = 1024

// looked takes note of a wait that began after a time and brought some of at most so many events, for so many connections.
func (s *sight) looked(began time.Duration, events, most, conns int) {
	switch {
	case events < most:
		s.until, s.left = began, 0
		return
	case s.left == 0:
		s.begun, s.left = began, (conns+spareFDs)/most+1
	}
	if s.left--; s.left == 0 {
		s.until = s.begun
	}
}
