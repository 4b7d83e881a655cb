package netpoll

import (
	"fmt"
	"time"
)

// Steer says how a new connection finds its loop, from the least to the most. Each one is tried, and gives way to the next
// lower one where it cannot be had or does not hold; Steering tells what is in force and why.
type Steer uint8

const (
	SteerOff   Steer = iota // the kernel spreads by a hash of the addresses, and nobody looks
	SteerHash               // the same, but a loop that is too full gives connections to emptier ones
	SteerCPU                // to the loop on the CPU that works on the connection's packets
	SteerQueue              // to the loop of the receive queue that its packets come by; where there is none, as SteerCPU
)

var steerNames = [...]string{"off", "hash", "cpu", "queue"}

// String returns "off", "hash", "cpu" or "queue".
func (s Steer) String() string {
	if int(s) < len(steerNames) {
		return steerNames[s]
	}
	return fmt.Sprintf("Steer(%d)", uint8(s))
}

// MarshalText returns the name, for a configuration file.
func (s Steer) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes a name; the error tells which ones there are.
func (s *Steer) UnmarshalText(text []byte) error {
	for i, name := range steerNames {
		if name == string(text) {
			*s = Steer(i)
			return nil
		}
	}
	return fmt.Errorf("%q is none of %q", text, steerNames)
}

// SteerMap says what the receive queues are that clients come by. The zero SteerMap knows none.
type SteerMap struct {
	Queues []Queue

	// Base is what the drivers add to the number of a queue where they note it on a packet: hardware drivers 1
	// (skb_record_rx_queue in include/linux/skbuff.h), veth 0. It is a first guess; the connections show whether it is right.
	Base int
}

// Queue is one receive queue. Of several devices those of one number are told apart by their CPU alone.
type Queue struct {
	Index int    // its number on its device
	NAPI  uint32 // what SO_INCOMING_NAPI_ID says of its connections; 0: not known
	CPU   int    // that works on it; below 0: not known
}

const mostQueues = 1 << 16 // a packet notes its queue in 16 bits

func (m SteerMap) check() error {
	if m.Base != 0 && m.Base != 1 {
		return fmt.Errorf("netpoll: %d is no base of queue numbers", m.Base)
	}
	for _, q := range m.Queues {
		if q.Index < 0 || q.Index >= mostQueues {
			return fmt.Errorf("netpoll: queue %d is not between 0 and %d", q.Index, mostQueues-1)
		}
	}
	return nil
}

// Steering is what becomes of new connections.
type Steering struct {
	Asked Steer
	Mode  Steer  // in force: the lowest of the listeners'
	Why   string // in one sentence, where Mode is below Asked; else empty

	Listeners []ListenerSteering // those that are open, by their source
	Loops     []LoopSteering     // by number

	// Imbalance is how many more connections than the mean the fullest loop has: 0.2 is a fifth more.
	Imbalance float64
	// BusyPoll says that the loops' epolls poll their queues as Config.BusyPoll asks for.
	BusyPoll bool
}

// ListenerSteering is what becomes of one listener's connections.
type ListenerSteering struct {
	Source    int
	Mode      Steer
	Base      int    // with SteerQueue: what the drivers turned out to add to a queue's number
	HandsOver bool   // the kernel does not choose the loop: who accepts looks where the packets came and hands the connection over
	Why       string // why it is not as asked

	// Looked counts the connections that the mode was judged by, Missed those of them that the kernel brought to a loop which is
	// not theirs. They begin anew with each mode, and from 16,384 on the old ones fade.
	Looked, Missed uint64
}

// LoopSteering is one loop's part.
type LoopSteering struct {
	CPU    int   // that it is pinned to; -1: none
	Queues []int // those that are its own, by number
	Conns  int   // open connections, lingering ones included

	// Looked counts the accepted connections that were looked at, one in eight once a mode has proved itself, and Own those of
	// them that stayed with the loop of their queue or CPU. Given counts those that went to another loop than the one that
	// accepted them: their own, or an emptier one.
	Looked, Own, Given uint64
}

// OwnShare returns which share of the connections that were looked at is on the loop of its queue or CPU; 0 before there are
// any.
func (s Steering) OwnShare() float64 {
	var looked, own uint64
	for _, l := range s.Loops {
		looked += l.Looked
		own += l.Own
	}
	if looked == 0 {
		return 0
	}
	return float64(own) / float64(looked)
}

// BusyPoll has a loop's epoll ask the network card for packets for a while before it sleeps (EPIOCSPARAMS, Linux 6.9). It
// costs a CPU for each loop; the zero BusyPoll is off.
type BusyPoll struct {
	Time   time.Duration // how long, in whole µs
	Budget int           // packets asked for at once; 0: the kernel's 8; over 64 needs CAP_NET_ADMIN
	Prefer bool          // keep interrupts off meanwhile (SO_PREFER_BUSY_POLL)
}

func (b BusyPoll) check() error {
	if b.Time < 0 || b.Time > time.Second || b.Budget < 0 || b.Budget >= 1<<16 {
		return fmt.Errorf("netpoll: busy polling for %v with a budget of %d", b.Time, b.Budget)
	}
	return nil
}
