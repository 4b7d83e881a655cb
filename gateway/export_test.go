package gateway

import (
	"context"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"edged/handover"
)

// RaceEnabled says that the race detector slows everything down.
const RaceEnabled = raceEnabled

// Abandon ends what of a gateway that was handed over would end with its process: the streams to Managers, and who speaks with
// Redis. Its reactors stand still for ever.
func (g *Gateway) Abandon() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = g.relay.Stop(ctx)
	if g.desk.stop != nil {
		g.pulls.close()
		g.desk.stop()
		g.desk.wg.Wait()
	}
}

// Moment is a point of a shard's turn.
type Moment int

// The moments at which Crash can strike.
const (
	AmidTurn     Moment = iota // links were read, and what came from Managers was not carried out
	BeforeCommit               // what was written to links has been sent
	AfterCommit                // and nothing has gone to Managers
)

// dying is a port whose shard does not outlive its turn.
type dying struct {
	port
	at  Moment
	die func()
}

func (d *dying) Carried(each func(stream int, seq uint64, index uint32)) {
	if d.at == BeforeCommit {
		d.die()
	}
	d.port.Carried(each)
}

func (d *dying) Commit() { d.die() }

// Crash ends what of a gateway would end with its process, which is killed: its reactors at some moment of a turn. It returns
// what a keeper would have of its links. between happens when the first shard is dead, and the others are not.
func (g *Gateway) Crash(at Moment, between ...func()) map[uint64]int {
	g.group.StopAccepting()
	kept, own := map[uint64]int{}, []int{}
	var mu sync.Mutex
	var dead sync.WaitGroup
	for i, s := range g.shards {
		for _, f := range between {
			if i == 1 {
				dead.Wait()
				f()
			}
		}
		dead.Add(1)
		die := func() {
			defer dead.Done()
			mu.Lock()
			defer mu.Unlock()
			own = s.die(kept, own)
			runtime.Goexit()
		}
		s.loop.Post(func() {
			if at == AmidTurn {
				die()
			}
			s.port = &dying{s.port, at, die}
		})
	}
	dead.Wait()
	g.Abandon()
	for _, fd := range own {
		_ = unix.Close(fd)
	}
	return kept
}

// die notes what the keeper has of a shard, and which descriptors would be closed.
func (s *shard) die(kept map[uint64]int, own []int) []int {
	for c := range s.loop.Connections() {
		own = append(own, s.loop.FD(c))
	}
	s.links.Each(0, s.links.Cap(), func(place, uniq uint32, l *link) {
		if s.keep != nil && s.keep.marks[place]&markDeposit != 0 {
			fd, err := unix.FcntlInt(uintptr(s.loop.FD(l.conn)), unix.F_DUPFD_CLOEXEC, 3)
			if err != nil {
				panic(err)
			}
			kept[s.keyOf(place, uniq)] = fd
		}
	})
	return own
}

// Memory returns what the gateway writes down.
func (g *Gateway) Memory() *handover.Memory { return g.kept.Memory }

// watched is a port whose shard is looked at after each turn.
type watched struct {
	port
	look func()
}

func (w *watched) Commit() {
	w.port.Commit()
	w.look()
}

// WatchKept has fail called when what is written down is not what the gateway has. It comes before Start.
func (g *Gateway) WatchKept(fail func(format string, args ...any)) {
	for _, s := range g.shards {
		s.port = &watched{s.port, func() { s.keep.check(fail) }}
	}
}
