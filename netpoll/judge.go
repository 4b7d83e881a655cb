package netpoll

import (
	"fmt"
	"math"
)

// judge counts what a program does with connections.
type judge struct {
	looked, missed float64
	shifted        float64 // of the missed, those that another base explains
}

const (
	missShare   = 0.05  // of the connections may come to a loop that is not theirs
	missSigmas  = 3.3   // so far beyond that share is no chance
	judgeFrom   = 32    // connections, before which nothing is said
	judgeWindow = 16384 // connections after which the old ones count for half
	provedAfter = 512   // connections after which one in lookEvery is looked at
	lookEvery   = 8
)

// failed says that more than missShare are missed, and not by chance.
func (j *judge) failed() bool {
	chance := missSigmas * math.Sqrt(missShare*(1-missShare)*j.looked)
	return j.looked >= judgeFrom && j.missed > missShare*j.looked+chance
}

// look counts a connection.
func (j *judge) look(missed, shifted bool) {
	if j.looked >= judgeWindow {
		j.looked, j.missed, j.shifted = j.looked/2, j.missed/2, j.shifted/2
	}
	j.looked++
	if missed {
		j.missed++
		if shifted {
			j.shifted++
		}
	}
}

func (j *judge) verdict(s Steer) string {
	return fmt.Sprintf("%v: %.0f of %.0f connections came to a loop that is not theirs", s, j.missed, j.looked)
}

// rung is a way to steer a listener's connections.
type rung struct {
	mode     Steer
	base     int
	flipped  bool // the base is not that of the map
	handOver bool // who accepts looks where a connection belongs
}

// below returns what to try after r, which failed as j says. What was found out at the sockets that the group has not opened
// itself is that they are in another order than it was told, which no program can know.
func (r rung) below(j *judge, passed bool) rung {
	switch {
	case r.mode == SteerQueue && !r.flipped && j.shifted > j.missed/2:
		return rung{mode: SteerQueue, base: 1 - r.base, flipped: true}
	case r.mode == SteerQueue:
		return rung{mode: SteerCPU}
	default:
		return rung{mode: SteerHash, handOver: passed}
	}
}

// impossible says why a rung makes no sense with what is known; empty if it does.
func (r rung) impossible(routes *routes) string {
	switch {
	case r.mode == SteerQueue && r.handOver && len(routes.napi) == 0 && len(routes.cpu) == 0:
		return "queue: of no queue the NAPI or the CPU is known"
	case r.mode == SteerQueue && len(routes.queue) == 0:
		if routes.busy() > 0 {
			return "queue: their numbers are those of several devices"
		}
		return "queue: no queue is known"
	case r.mode == SteerQueue && routes.busy() < len(routes.own):
		return fmt.Sprintf("queue: they are for %d of %d loops", routes.busy(), len(routes.own))
	case r.mode == SteerCPU && len(routes.cpu) == 0:
		return "cpu: no loop is pinned and no queue's CPU is known"
	}
	return ""
}
