package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"edged/gateway"
	"edged/handover"
)

// keeping is what an instance leaves with a keeper, so that another process finds its links after its death. A nil one is that of an
// instance without a keeper.
//
// A memory is written by one process in its life, and is retired until every reactor has written all that it has: nobody goes on
// from a half. Of these steps each comes once:
//
//	openKeeping or resumeKeeping > prepare > lend > [gateway: begin > whole] > start > halt > leave or end
type keeping struct {
	// Static after prepare.
	cfg     handover.KeeperConfig
	log     *slog.Logger
	passed  int               // connection of the process before this one; -1: none
	keeper  *handover.Keeping // nil before prepare where no keeper is there
	memory  *handover.Memory  // that this gateway writes
	dropped uint64            // links that the keeper had let go of before this process came

	found  left          // until share
	goesOn bool          // there are links from the beginning: what was deposited stays
	shared chan struct{} // closed when the memory is whole, and the keeper has it, or gets it as soon as it is there

	cancel context.CancelFunc // ends the workers; nil while there are none
	ended  chan struct{}      // closed when those that were begun last have; nil: none were
}

// left is what another process had left with the keeper.
type left struct {
	memory *handover.Memory
	links  map[uint64]int // descriptors, of this process from now on
	own    *carried
}

const (
	busyLimit  = 2 * time.Second // for a process before this one to be gone
	busyPause  = 10 * time.Millisecond
	wholeLimit = time.Second // for every reactor to have written all that it has
	willEvery  = time.Second
)

// keeperFile is the name of the connection when it is passed on.
const keeperFile = "keeper"

func newKeeping(cfg handover.KeeperConfig, log *slog.Logger) *keeping {
	return &keeping{cfg: cfg, log: log, passed: -1, shared: make(chan struct{})}
}

// openKeeping asks the keeper what there is. Where there is no keeper the gateway serves all the same.
func openKeeping(cfg handover.KeeperConfig, log *slog.Logger) *keeping {
	if !cfg.Enabled {
		return nil
	}
	k := newKeeping(cfg, log)
	keeper, w, err := handover.OpenKeeping(cfg.Socket, log)
	for end := time.Now().Add(busyLimit); errors.Is(err, handover.ErrKeeperBusy) && time.Now().Before(end); time.Sleep(busyPause) {
		keeper, w, err = handover.OpenKeeping(cfg.Socket, log)
	}
	if err != nil {
		log.Warn("the keeper is not there: a crash would cost the links", "err", err)
		return k
	}
	k.keeper, k.dropped = keeper, uint64(w.Dropped)
	if w.Dropped > 0 {
		log.Warn("the keeper has let go of links", "links", w.Dropped, "why", w.Why.String(), "crashes", w.Crashes)
	}
	if w.Memory < 0 {
		return k
	}
	if err := k.take(w.Memory); err != nil {
		k.forget(err)
	}
	return k
}

// resumeKeeping goes on with the connection of the process before this one, if that had one to the same socket.
func resumeKeeping(cfg handover.KeeperConfig, before *handover.Predecessor, own *carried, log *slog.Logger) *keeping {
	if !cfg.Enabled {
		return nil
	}
	k := newKeeping(cfg, log)
	k.goesOn = true
	if fd, ok := before.File(keeperFile); ok && own.Keeper == cfg.Socket {
		k.passed = fd
	}
	return k
}

// abandonKeeper has a keeper let go of everything that the file names no more.
func (i *instance) abandonKeeper(got *inherited) {
	fd, ok := got.before.File(keeperFile)
	if !ok || i.keeping != nil && i.keeping.passed == fd {
		return
	}
	k := handover.ResumeKeeping(got.own.Keeper, fd, -1, i.log)
	_ = k.Leave(false) // it may have ended
	k.Close()
}

// take fetches what the keeper has.
func (k *keeping) take(memory int) (err error) {
	f := &k.found
	if f.memory, err = handover.OpenMemory(memory); err != nil {
		f.memory = nil
		return err
	}
	f.links = map[uint64]int{}
	if err = k.keeper.Take(func(key uint64, fd int) { f.links[key] = fd }); err != nil {
		return err
	}
	if f.memory.Retired() {
		return errRetired
	}
	f.own, err = readWill(f.memory)
	return err
}

var errNotWhole = errors.New("it does not have all of them yet")

// errRetired is why a memory is of no use.
var errRetired = errors.New("a process died while it took them over")

// forget lets go of what was found, because of err.
func (k *keeping) forget(err error) {
	f := &k.found
	k.log.Warn("the links of before are lost", "links", len(f.links), "err", err)
	for _, fd := range f.links {
		_ = syscall.Close(fd)
	}
	if f.memory != nil {
		_ = f.memory.Close()
	}
	k.found, k.goesOn = left{}, false
}

// prepare makes the memory that a gateway of this geometry writes; another one if it was called before.
func (k *keeping) prepare(g handover.Geometry) (err error) {
	if k.memory != nil {
		_ = k.memory.Close()
	}
	if k.memory, err = handover.NewMemory(withWill(g)); err != nil {
		return err
	}
	k.memory.Retire()
	switch {
	case k.keeper != nil:
	case k.passed >= 0:
		k.keeper = handover.ResumeKeeping(k.cfg.Socket, k.passed, k.memory.FD(), k.log)
	default:
		k.keeper, err = handover.AwaitKeeping(k.cfg.Socket, k.memory.FD(), k.log)
	}
	return err
}

// lend gives a gateway what it needs to be kept. own says what the command itself leaves; shared is called when another process would
// find everything.
func (k *keeping) lend(own func() *carried, shared func()) *gateway.Keep {
	return &gateway.Keep{
		Memory:  k.memory,
		Deposit: func(int) *handover.Deposit { return k.keeper.Deposit() },
		Began:   func() { k.begin(own()) },
		Whole: func() {
			k.share()
			shared()
			close(k.shared)
		},
	}
}

// begin comes before the first link is touched. From here on nobody else may go on with what was found.
func (k *keeping) begin(own *carried) {
	writeWill(k.memory, own)
	switch {
	case k.found.memory != nil:
		k.found.memory.Retire()
	case !k.goesOn && k.keeper.Stats().Up:
		if err := k.keeper.Share(k.memory.FD(), true); err != nil {
			k.log.Debug("the keeper does not listen", "err", err) // the next one gets it
		}
	}
}

// share has the keeper keep the memory, which is whole, in place of the one that was found.
func (k *keeping) share() {
	k.memory.Unretire()
	if err := k.keeper.Share(k.memory.FD(), false); err != nil {
		k.log.Debug("the keeper does not listen", "err", err) // the next one gets it
	}
	if k.found.memory != nil {
		_ = k.found.memory.Close()
		k.found = left{}
	}
}

// start keeps from now on, also again after halt; own says what the command itself leaves.
func (k *keeping) start(own func() *carried) {
	if k.ended != nil {
		<-k.ended
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	k.cancel, k.ended = cancel, ended
	go func() {
		defer close(ended)
		var work sync.WaitGroup
		work.Go(func() { k.keeper.Run(ctx) })
		work.Go(func() { k.renewWill(ctx, own) })
		work.Wait()
	}()
}

// renewWill goes on until ctx ends.
func (k *keeping) renewWill(ctx context.Context, own func() *carried) {
	tick := time.NewTicker(willEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			writeWill(k.memory, own())
		case <-ctx.Done():
			return
		}
	}
}

// halt ends what start began, and waits for that as long as ctx allows: a keeper that hangs may hold it up.
func (k *keeping) halt(ctx context.Context) {
	k.cancel()
	select {
	case <-k.ended:
	case <-ctx.Done():
	}
}

// giveUp is for a process that cannot keep anything.
func (k *keeping) giveUp() {
	if k.keeper != nil && k.passed < 0 {
		_ = k.keeper.Leave(false)
		k.keeper.Close()
	}
}

// leaves says whether the links are to be left to another process, and the keeper has all that it needs. A process that has just
// started waits until it has, and a keeper that may have ended a moment ago is asked.
func (k *keeping) leaves() bool {
	if k == nil || k.cfg.OnStop != handover.OnStopKeep {
		return false
	}
	err := errNotWhole
	select {
	case <-k.shared:
		err = k.keeper.Share(k.memory.FD(), false)
	case <-time.After(wholeLimit):
	}
	if err != nil {
		k.log.Warn("the links cannot be left with the keeper", "err", err)
	}
	return err == nil
}

func (k *keeping) isShared() bool {
	select {
	case <-k.shared:
		return true
	default:
		return false
	}
}

// leave leaves the links to the next process; the gateway stands still for ever, and halt has ended.
func (k *keeping) leave(own *carried) error {
	writeWill(k.memory, own)
	k.memory.Unretire() // what stands still is ready to be handed over, and a memory then as good as handed over
	return k.keeper.Leave(true)
}

// refuse is for a process that does not come to serve: what the keeper has waits for the next one.
func (k *keeping) refuse() {
	if k != nil && k.keeper != nil && k.passed < 0 {
		_ = k.keeper.Leave(true) // else it counts as a crash, which it is not much better than
	}
}

// end lets go of everything; the gateway has stopped.
func (k *keeping) end(ctx context.Context) {
	k.halt(ctx)
	_ = k.keeper.Leave(false) // there is nothing left to be kept
	k.keeper.Close()
}
