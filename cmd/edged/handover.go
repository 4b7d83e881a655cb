package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"edged/admin"
	"edged/handover"
)

// estate is an instance as a handover.Upgrader drives it: the gateway, and what the command adds to it.
type estate struct {
	i       *instance
	gateway handover.Product

	// Of the hand-over that is under way.
	began    time.Time
	paused   bool
	detached chan struct{}  // closed when nothing is told to Redis any more, and own is written; nil: it was not begun
	own      []byte         // the section of a carried; static when detached is closed
	before   []admin.Metric // what was counted then
}

// detachLimit bounds how long Redis may take to hear the last of a process. It comes while the next one starts.
const detachLimit = 200 * time.Millisecond

// Parts returns the gateway's and the command's own. It is the first that is asked for.
func (e *estate) Parts() []handover.Part {
	e.began = time.Now()
	return append(e.gateway.Parts(),
		handover.Part{Name: "edged", Oldest: ownOldest, Version: ownVersion, Expect: 64 << 10,
			Append: func(b []byte, _ uint16) ([]byte, error) { return append(b, e.own...), nil }},
		handover.Part{Name: "routes", Oldest: ownOldest, Version: ownVersion, Expect: 64 << 10, Optional: true,
			Append: func(b []byte, _ uint16) ([]byte, error) { return e.i.people.appendChanges(b), nil }})
}

// Files returns what others connect to, beside the gateway's listeners.
func (e *estate) Files() []handover.File {
	files := e.gateway.Files()
	for n, s := range e.i.sockets {
		files = append(files, handover.File{Name: socketFile(n), FD: s.FD})
	}
	for _, f := range e.i.admin.Files() {
		files = append(files, handover.File{Name: adminFile(f.Listen), FD: f.FD})
	}
	if k := e.i.keeping; k != nil {
		connection, _ := k.keeper.Descriptors()
		files = append(files, handover.File{Name: keeperFile, FD: connection})
	}
	return files
}

// Pause stops accepting, and begins to take leave of Redis.
func (e *estate) Pause(ctx context.Context) error {
	e.paused = true
	if err := e.gateway.Pause(ctx); err != nil {
		return err
	}
	e.i.admin.Pause()
	e.detached = make(chan struct{})
	go func() {
		defer close(e.detached)
		e.detach(time.Now())
	}()
	return nil
}

// detach ends what two processes must not do at once.
func (e *estate) detach(paused time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), detachLimit)
	defer cancel()
	i := e.i
	if i.keeping != nil {
		i.keeping.halt(ctx)
	}
	i.detachRedis(ctx)
	e.before = i.ownMetrics()
	c := i.carried()
	c.Reloads++
	c.Began, c.Paused, c.Counters = e.began, paused, i.counters.sums(i.ownMetrics())
	if i.keeping != nil {
		c.Keeper = i.keeping.cfg.Socket
	}
	for _, s := range i.sockets {
		c.Sockets = append(c.Sockets, s.Name)
	}
	for _, f := range i.admin.Files() {
		c.Admin = append(c.Admin, f.Listen)
	}
	e.own = mustEncode(c)
}

// detachRedis leaves what Redis has of this gateway standing, for a process that goes on in its place.
func (i *instance) detachRedis(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, detachLimit)
	defer cancel()
	i.people.detach(ctx)
	i.reports.detach(ctx)
}

// carried is what this process would hand on now, but for what goes by a reload alone.
func (i *instance) carried() *carried {
	last := i.reports.monitor.Latest()
	return &carried{
		Started: i.started, Reloads: i.reloads, Exit: i.exits.Load(), Health: &last, Crashes: i.crashes, Recovered: i.recovered.Load(),
		Listener: advertised(i.cfg),
	}
}

// Settle waits until Redis has heard the last of this process, or is not waited for any more.
func (e *estate) Settle(ctx context.Context) error {
	select {
	case <-e.detached:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Freeze has the gateway stand still.
func (e *estate) Freeze(ctx context.Context) error { return e.gateway.Freeze(ctx) }

// Thaw lets everything go on, the links first.
func (e *estate) Thaw(touched bool) {
	e.gateway.Thaw(touched)
	if !e.paused {
		return
	}
	e.paused = false
	i := e.i
	if e.detached != nil {
		<-e.detached
		e.detached = nil
		i.people.rejoin()
		i.reports.rejoin(i)
		i.counters.mend(e.before, i.ownMetrics())
		i.keep()
	}
	i.admin.Resume()
}

// programPath is the path by which this program was called, which may lead to another file by the next time.
func programPath() string {
	path := os.Args[0]
	if filepath.Base(path) == path {
		return "" // found in PATH: the Upgrader asks the kernel
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}
