package swarm

import (
	"strconv"

	"edged/linkpool"
	"edged/netpoll"
)

// link is what is known of one simulated client: flat and without pointers, in one array for each loop. Owned by the loop.
type link struct {
	conn      netpoll.Conn    // 0: none
	sent      uint32          // number of the last message
	flying    uint32          // messages that may still be answered
	manager   uint32          // the Manager's number of its last answer
	wrote     linkpool.Millis // when something was sent last
	heard     linkpool.Millis // when something was received last
	act       linkpool.Millis // see state
	heartbeat uint32          // ms, from WELCOME
	idle      uint32          // ms, from WELCOME
	dense     uint32          // place in loop.ups while up
	target    uint32          // in loop.targets, of the last try
	state     state
	flags     flags
	tries     uint8           // failures in a row
	ended     linkpool.Millis // when it was up last, if it is away
}

// state is where a link stands, and says what act means:
//
//	idle       not begun with
//	asking     the dispatch service is asked where to go
//	connecting connect is under way; act: since when
//	login      connected, WELCOME has not come; act: since when the connect
//	up         act: thinking: when to send; else: when the oldest message that waits for an answer may have been sent
//	waiting    for the next try; act: when
//	gone       for good
//
//	idle > asking > connecting > login > up
//	          ^  |   ^  |          |     |
//	          |  `---|--`----------`-----`---> gone
//	          `-- waiting <--------------'     (Config.Reconnect, or another address of a list's round)
//
// Without a dispatch service there is no asking: links go on to connecting at once, as do those whose list is fresh.
type state uint8

const (
	idle state = iota
	asking
	connecting
	login
	up
	waiting
	gone
)

type flags uint8

const (
	thinking  flags = 1 << iota // closed loop: the next message has its time
	asked                       // a heartbeat was sent since something was heard last
	resolved                    // the first try has come to its end, good or bad
	finishing                   // the Manager's account is awaited
	finished                    // and came
	away                        // it was up, and has not come back
)

// number is the link's number in the whole swarm.
func (r *loop) number(place uint32) uint32 { return place*r.stride + uint32(r.net.Number()) }

// name is the link's user.
func (r *loop) name(place uint32) string {
	return r.cfg.UserPrefix + strconv.FormatUint(uint64(r.number(place)), 10)
}
