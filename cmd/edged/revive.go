package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"edged/admin"
	"edged/config"
	"edged/gateway"
	"edged/handover"
)

// revive finds what a process before this one has left with the keeper, when it died or was told to leave.
func (i *instance) revive() *inherited {
	got := &inherited{}
	i.keeping = openKeeping(i.cfg.Keeper, i.log)
	k := i.keeping
	if k == nil || k.found.memory == nil {
		return got
	}
	if err := fault("restore"); err != nil {
		k.forget(err)
		return got
	}
	if now, was := advertised(i.cfg), k.found.own.Listener; now != was && i.cfg.Gateway.Advertise == "" {
		k.forget(fmt.Errorf("[[listener]] address is %q and was %q: Managers know the links by it", now, was))
		return got
	}
	revived, err := gateway.Revive(k.found.memory, k.found.links)
	if err != nil {
		k.forget(err)
		return got
	}
	got.gateway, got.own, got.revived, k.goesOn = revived, *k.found.own, true, true
	return got
}

// advertised is the listener whose address a gateway advertises to which no other is told.
func advertised(cfg *config.Config) string {
	for _, l := range cfg.Listeners {
		if !strings.HasPrefix(l.Address, "unix:") {
			return l.Address
		}
	}
	return ""
}

// newGateway makes the gateway. What a process that died has left is given up where it does not fit; one that lives goes on instead.
func (i *instance) newGateway(o gateway.Options, got *inherited) error {
	k := i.keeping
	why := i.keptGateway(o)
	switch {
	case !got.revived:
		return why
	case why == nil:
		i.takeBack(got)
		return nil
	}
	o.Inherit = nil
	if i.keptGateway(o) != nil {
		return why // what was found waits for another try
	}
	k.forget(why)
	*got = inherited{}
	return nil
}

// keptGateway makes a gateway that is kept, if it is to be and can be.
func (i *instance) keptGateway(o gateway.Options) (err error) {
	if k := i.keeping; k != nil {
		g, err := gateway.KeepGeometry(o)
		if err != nil {
			return err
		}
		if err := k.prepare(g); err != nil {
			i.log.Warn("nothing is kept: a crash would cost the links", "err", err)
			k.giveUp()
			i.keeping = nil
		} else {
			o.Keep = k.lend(i.carried, i.settled)
		}
	}
	i.gateway, err = gateway.New(o)
	return err
}

// takeBack goes on as a process that died or left.
func (i *instance) takeBack(got *inherited) {
	i.goOn(&got.own)
	r := &admin.Recovery{At: time.Now(), Crash: !got.own.Left}
	if i.recovered.Store(r); r.Crash {
		i.crashes++
	}
	i.revived = true
}

// settled says what became of the links that were taken back: those that are torn have been found out by now.
func (i *instance) settled() {
	if !i.revived {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerIn)
	defer cancel()
	st, _ := i.gateway.Stats(ctx) // a reactor that does not answer is left out
	r := *i.recovered.Load()
	for n := range st.Shards {
		r.Links += int(st.Shards[n].Restored)
		r.Torn += int(st.Shards[n].Ended[gateway.EndTorn])
	}
	r.Links -= r.Torn
	i.recovered.Store(&r)
	i.log.Info("took the links back", "links", r.Links, "torn", r.Torn, "crashed", r.Crash)
}

// keep lets the keeper have what another process would need.
func (i *instance) keep() {
	if i.keeping != nil {
		i.keeping.start(i.carried)
	}
}

// leaveLimit bounds the end of a process that leaves its links with the keeper.
const leaveLimit = 3 * time.Second

// leaveToKeeper ends a process and leaves its links to the next one. No link is told anything.
func (i *instance) leaveToKeeper(s *handover.Systemd, signals <-chan os.Signal) error {
	if s != nil {
		_ = s.Notify("STOPPING=1", "STATUS=leaving the links with the keeper")
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveLimit)
	defer cancel()
	go hurry(signals, cancel, i.log)
	links := i.gateway.Links()
	i.admin.Pause()
	p := i.gateway.Product()
	err := p.Pause(ctx)
	if err == nil {
		err = p.Freeze(ctx)
	}
	if err != nil { // as after a crash: links that are in use right now are lost
		i.log.Warn("the links do not stand still", "err", err)
	}
	i.keeping.halt(ctx)
	i.detachRedis(ctx)
	own := i.carried()
	own.Left = true
	if err := i.keeping.leave(own); err != nil {
		return fmt.Errorf("the links are lost: %w", err)
	}
	i.log.Info("left the links with the keeper", "links", links)
	_ = i.admin.Close(ctx)
	return nil
}
