package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"edged/admin"
	"edged/gateway"
	"edged/handover"
	"edged/registry"
)

// succession is how an instance came to its links, and how it hands them on.
type succession struct {
	// Static once the instance runs.
	reloads  uint64          // since the cold start
	crashes  uint64          // likewise
	last     *admin.Reloaded // the one by which this process got its links; nil: it started without any
	upgrader *handover.Upgrader
	ctx      context.Context    // ends when this process is told to leave
	callOff  context.CancelFunc // ends ctx; nil without an upgrader

	keeping *keeping // nil: without a keeper
	revived bool     // the links came from the keeper

	recovered atomic.Pointer[admin.Recovery] // the last time that they did; nil: they never have

	succeeded chan struct{} // closed when another process serves
	stays     atomic.Bool   // told to leave: what succeeds it is to leave as well
	exits     atomic.Bool   // leaves once it is empty
}

// inherited is what an instance got of a process before it; without one it is empty.
type inherited struct {
	own     carried
	gateway *gateway.Inheritance
	names   []registry.Name // whose routes are still to be written
	bytes   int

	before  *handover.Predecessor
	revived bool // of one that died, or left its links with the keeper
}

// resumed says that there are links of a process before this one.
func (got *inherited) resumed() bool { return got.before != nil || got.revived }

// leave is for a process that does not serve: it tells who wanted it to take over why it does not.
func (s *starting) leave(err error) error {
	switch {
	case s.before == nil || err == nil:
		return err
	case errors.Is(err, handover.ErrTrial), errors.Is(err, handover.ErrCalledOff):
		return nil
	}
	s.before.Refuse(err)
	return err
}

// inherit waits for the state of the process before this one. From here on the links stand still.
func (i *instance) inherit(before *handover.Predecessor) (*inherited, error) {
	got := &inherited{before: before}
	if before == nil {
		return got, nil
	}
	sections, err := before.State(formats(gateway.Formats()))
	if err != nil {
		return nil, err
	}
	if err := fault("restore"); err != nil {
		return nil, err
	}
	got.gateway = &gateway.Inheritance{Claim: before.Claim}
	for _, s := range sections {
		got.bytes += len(s.Bytes)
		switch s.Kind() {
		case "edged":
			c, err := parseCarried(s.Bytes)
			if err != nil {
				return nil, err
			}
			got.own = *c
		case "routes":
			got.names = parseNames(s.Bytes)
		default:
			got.gateway.Sections = append(got.gateway.Sections, s)
		}
	}
	if got.own.Started.IsZero() {
		return nil, errCarried
	}
	return got, i.adopt(&got.own, before)
}

// adopt goes on as the process before this one.
func (i *instance) adopt(own *carried, before *handover.Predecessor) error {
	i.goOn(own)
	i.keeping = resumeKeeping(i.cfg.Keeper, before, own, i.log)
	for n, name := range own.Sockets {
		fd, ok := before.File(socketFile(n))
		if !ok {
			return fmt.Errorf("socket %q was not passed on", name)
		}
		i.sockets = append(i.sockets, handover.Socket{Name: name, FD: fd})
	}
	return nil
}

// goOn makes this instance the one that it was in another process.
func (i *instance) goOn(own *carried) {
	i.started, i.reloads, i.crashes = own.Started, own.Reloads, own.Crashes
	i.recovered.Store(own.Recovered)
	i.counters.load(own.Counters)
}

// adminSocket is the control socket of an address, if there was one.
func (got *inherited) adminSocket(listen string) (fd int, ok bool) {
	return got.before.File(adminFile(listen))
}

// prepareReloads lets another process succeed this one.
func (i *instance) prepareReloads(s starting) (err error) {
	i.succeeded = make(chan struct{})
	i.ctx, i.callOff = context.WithCancel(context.Background())
	o := handover.Options{
		Config: s.cfg.Handover, Path: programPath(), Args: os.Args, Check: []string{os.Args[0], "check", s.path}, Log: s.log,
	}
	if s.supervisor != nil {
		o.Supervisor = s.supervisor
	}
	i.upgrader, err = handover.NewUpgrader(o, &estate{i: i, gateway: i.gateway.Product()})
	return err
}

// runningLimit bounds how long the supervisor may take to know of this process.
const runningLimit = 5 * time.Second

// takenOver ends the hand-over to this process, which serves by now.
func (i *instance) takenOver(before *handover.Predecessor, got *inherited) {
	frozen := before.Frozen()
	i.last = &admin.Reloaded{
		PID: os.Getpid(), Bytes: got.bytes, Check: got.own.Paused.Sub(got.own.Began), Paused: time.Since(got.own.Paused), Frozen: frozen,
	}
	orphaned := before.Orphaned()
	ctx, cancel := context.WithTimeout(context.Background(), runningLimit)
	defer cancel()
	closed := before.Running(ctx)
	i.abandon(got)
	i.abandonKeeper(got)
	i.log.Info("took over", "links", i.gateway.Links(), "frozen", frozen, "paused", i.last.Paused, "state_bytes", got.bytes, "closed_files", closed)
	if orphaned {
		i.log.Warn("the process before this one died while it handed over")
	}
}

// abandon gives up the control sockets that the file names no more.
func (i *instance) abandon(got *inherited) {
	for _, listen := range got.own.Admin {
		fd, ok := got.adminSocket(listen)
		if !ok || slices.Contains(i.cfg.Admin.Listen, listen) {
			continue
		}
		_ = syscall.Close(fd)
		if path, unix := strings.CutPrefix(listen, "unix:"); unix {
			_ = os.Remove(path)
		}
	}
}

// errNotReplaceable is what an instance says that is not a process of its own.
var errNotReplaceable = errors.New("this process cannot be replaced: it is no edged serve")

// Reload replaces this process by a fresh one.
func (s source) Reload(context.Context) (admin.Reloaded, error) { return s.reload() }

func (i *instance) reload() (admin.Reloaded, error) {
	if i.upgrader == nil {
		return admin.Reloaded{}, errNotReplaceable
	}
	began := time.Now()
	report, err := i.upgrader.Upgrade(i.ctx)
	if err != nil {
		return admin.Reloaded{}, err
	}
	done := admin.Reloaded{PID: report.PID, Bytes: report.Bytes, Check: report.Check, Paused: report.Paused, Frozen: report.Frozen}
	i.log.Info("handed over", "pid", done.PID, "took", time.Since(began), "check", done.Check, "paused", done.Paused, "frozen", done.Frozen, "state_bytes", done.Bytes)
	if i.stays.Load() {
		_ = syscall.Kill(done.PID, syscall.SIGTERM) // the order to leave came to the one that has left
		os.Exit(exitDone)
	}
	close(i.succeeded)
	return done, nil
}

// reloadBySignal has nobody to answer but the log.
func (i *instance) reloadBySignal() {
	if _, err := i.reload(); err != nil {
		i.log.Error("reload failed: nothing has changed", "err", err)
	}
}

// answerLimit bounds how long those may take who still wait for an answer of this process.
const answerLimit = 5 * time.Second

// leaveToSuccessor ends a process whose links are another one's: it touches nothing of them.
func (i *instance) leaveToSuccessor() error {
	ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
	defer cancel()
	_ = i.admin.Detach(ctx)
	return nil
}
