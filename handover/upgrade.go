package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Limits that nobody would set: they end a hand-over that hangs where nothing stands still, or where it has been decided.
const (
	startedLimit = 5 * time.Second // from go to running
	ownLimit     = 2 * time.Second // for the supervisor to take note
	deathLimit   = time.Second     // for a killed process to be gone
)

// Upgrader replaces the process by a new one.
type Upgrader struct {
	// Static after NewUpgrader.
	o       Options
	product Product
	cpus    *cpuSet
	// runningLimit is from go to running; a test shortens it.
	runningLimit time.Duration

	busy atomic.Bool
	gone atomic.Bool // another process has taken over
}

// NewUpgrader prepares upgrades of product. It should be called before any thread is pinned: the new process runs where the
// caller may run now.
func NewUpgrader(o Options, product Product) (*Upgrader, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	if o.Path == "" {
		path, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("handover: %w", err)
		}
		// What the path names may be another file by then: that is the upgrade.
		o.Path = strings.TrimSuffix(path, " (deleted)")
	}
	if len(o.Args) == 0 {
		o.Args = os.Args
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Supervisor == nil {
		o.Supervisor = nobody{}
	}
	return &Upgrader{o: o, product: product, cpus: ownCPUs(), runningLimit: startedLimit}, nil
}

// Upgrade replaces this process. After nil another process serves: the caller has only to answer who asked, and to leave
// without touching what was handed over (os.Exit). With an error, which is one sentence, this process serves as before and
// nothing was lost. In exec mode it does not return when it succeeds. Ending ctx calls off what is not yet decided.
func (u *Upgrader) Upgrade(ctx context.Context) (Report, error) {
	if u.gone.Load() {
		return Report{}, ErrHandedOver
	}
	if !u.busy.CompareAndSwap(false, true) {
		return Report{}, ErrBusy
	}
	defer u.busy.Store(false)
	if err := u.o.Supervisor.Reloading(); err != nil {
		u.o.Log.Warn("the supervisor was not told of the reload", "error", err)
	}
	a := &attempt{u: u, exec: u.o.Config.Mode == ModeExec || os.Getpid() == 1}
	err := a.run(ctx)
	if err == nil {
		u.gone.Store(true)
		return a.report, nil
	}
	_ = u.o.Supervisor.Ready("reload failed: " + err.Error())
	return a.report, err
}

// attempt is one Upgrade under way.
type attempt struct {
	u      *Upgrader
	exec   bool
	report Report

	state   *stateFile
	files   []File
	peer    *channel
	child   *child
	paused  time.Time // zero: not paused
	frozen  time.Time // zero: not frozen
	let     bool      // go was said
	running bool      // the new process has answered it
}

func (a *attempt) run(ctx context.Context) (err error) {
	a.files = a.u.product.Files()
	parts := append(a.u.product.Parts(), a.ownPart())
	if err := checkParts(parts); err != nil {
		return err
	}
	began := time.Now()
	err = a.u.preflight(ctx, writes(parts))
	a.report.Check = time.Since(began)
	if err != nil {
		return err
	}
	defer a.end()
	if a.state, err = newStateFile(parts); err != nil {
		return err
	}
	if err = a.prepare(ctx); err != nil {
		return a.callOff(err)
	}
	if err = a.handOver(ctx); err != nil {
		return a.callOff(err)
	}
	return a.finish(ctx)
}

// prepare pauses and brings the new process to where it waits for the state.
func (a *attempt) prepare(ctx context.Context) error {
	a.paused = time.Now()
	if err := a.u.within(ctx, a.pauseEnd(), a.u.product.Pause); err != nil {
		return fmt.Errorf("accepting cannot pause: %w", err)
	}
	ours, theirs, err := newChannel()
	if err != nil {
		return err
	}
	a.peer = ours
	pass := []int{theirs}
	for _, f := range a.files {
		pass = append(pass, f.FD)
	}
	// The trial of exec mode is a child of this process: it ends before the exec.
	a.child, err = spawn(a.u.o.Path, a.u.o.Args, successorEnv(fmt.Sprintf("%s=fork:%d", variable, theirs)), !a.exec, pass, a.u.cpus)
	closeFile(theirs)
	if errors.Is(err, syscall.EINVAL) && !a.exec {
		return fmt.Errorf("%w: here a process cannot have siblings; set handover.mode to %q", err, ModeExec)
	}
	if err != nil {
		return err
	}
	a.report.PID = a.child.pid
	return a.say(msgStart, a.start().text(), -1)
}

func (a *attempt) start() start {
	return start{trial: a.exec, freeze: a.u.o.Config.Freeze, files: a.files}
}

// ownPart tells a successor by exec what another one hears at the start, and both since when the links stand still.
func (a *attempt) ownPart() Part {
	told := func() string { return start{freeze: a.u.o.Config.Freeze, files: a.files, since: monotonic()}.text() }
	return Part{Name: ownKind, Oldest: ownVersion, Version: ownVersion, Expect: len(told()), Append: func(b []byte, _ uint16) ([]byte, error) {
		return append(b, told()...), nil
	}}
}

func (a *attempt) pauseEnd() time.Time { return a.paused.Add(a.u.o.Config.AcceptPause) }

// handOver freezes, hands the state over and lets the new process go.
func (a *attempt) handOver(ctx context.Context) error {
	hello, err := a.hear(ctx, a.pauseEnd(), msgHello, "say hello")
	if err != nil {
		return err
	}
	reads, err := parseFormats(hello.body)
	if err != nil {
		return err
	}
	versions, err := choose(a.state.parts, reads)
	if err != nil {
		return err
	}
	if s, ok := a.u.product.(Settler); ok {
		if err := a.u.within(ctx, a.pauseEnd(), s.Settle); err != nil {
			return fmt.Errorf("the links cannot stand still yet: %w", err)
		}
	}
	a.frozen = time.Now()
	end := a.frozen.Add(a.u.o.Config.Freeze)
	if err := a.u.within(ctx, end, a.u.product.Freeze); err != nil {
		return fmt.Errorf("the links cannot stand still: %w", err)
	}
	if err := a.state.write(versions); err != nil {
		return fmt.Errorf("the state cannot be written: %w", err)
	}
	a.report.Bytes = int(a.state.size)
	if err := a.state.seal(); err != nil {
		return err
	}
	if err := a.say(msgState, "", a.state.fd); err != nil {
		return err
	}
	if _, err := a.hear(ctx, end, msgReady, "load the state"); err != nil {
		return err
	}
	if a.exec {
		return a.become()
	}
	a.let = true
	if err := a.say(msgGo, "", -1); err != nil {
		a.let = false
		return err
	}
	_, err = a.hear(context.Background(), time.Now().Add(a.u.runningLimit), msgRunning, "start")
	a.running = err == nil
	return err
}

// become ends the trial and replaces this program. It returns only with an error.
func (a *attempt) become() error {
	a.child.kill()
	if !a.child.ended(deathLimit) {
		return errors.New("the trial process does not end")
	}
	pass := []int{a.state.fd}
	for _, f := range a.files {
		pass = append(pass, f.FD)
	}
	env := successorEnv(fmt.Sprintf("%s=exec:%d", variable, a.state.fd))
	return become(a.u.o.Path, a.u.o.Args, env, pass, a.u.cpus)
}

// finish tells those who must know; the new process serves.
func (a *attempt) finish(ctx context.Context) error {
	a.report.Frozen, a.report.Paused = time.Since(a.frozen), time.Since(a.paused)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ownLimit)
	defer cancel()
	if err := a.u.o.Supervisor.MainPID(ctx, a.child.pid); err != nil {
		a.u.o.Log.Warn("the supervisor was not told of the new process", "pid", a.child.pid, "error", err)
	}
	_ = a.say(msgOwn, "", -1) // if it has ended by now, its supervisor knows
	return nil
}

// callOff ends the new process and lets everything go on here.
func (a *attempt) callOff(why error) error {
	if a.child != nil {
		a.child.kill()
		if a.let {
			a.child.ended(deathLimit) // two processes must not use the links at once
		}
	}
	a.u.product.Thaw(a.let)
	if !a.frozen.IsZero() {
		a.report.Frozen = time.Since(a.frozen)
	}
	a.report.Paused = time.Since(a.paused)
	a.report.PID = os.Getpid()
	return why
}

func (a *attempt) end() {
	if a.peer != nil {
		a.peer.close()
	}
	if a.child != nil {
		if !a.running {
			a.child.ended(deathLimit)
		}
		a.child.close()
	}
	if a.state != nil {
		a.state.close()
	}
}

func (a *attempt) say(kind messageKind, body string, fd int) error {
	if err := a.peer.send(time.Now().Add(deathLimit), kind, body, fd); err != nil {
		if a.let && kind == msgGo {
			return fmt.Errorf("the new process has ended before it was let go: %w", err)
		}
		return fmt.Errorf("the new process does not listen: %w", err)
	}
	return nil
}

// hear waits for one message. what is what the new process is to do.
func (a *attempt) hear(ctx context.Context, at time.Time, kind messageKind, what string) (message, error) {
	began := time.Now()
	m, err := a.peer.receive(ctx, at)
	if err == nil && m.fd >= 0 {
		closeFile(m.fd)
	}
	switch {
	case ctx.Err() != nil:
		return m, fmt.Errorf("called off: %w", context.Cause(ctx))
	case errors.Is(err, io.EOF):
		return m, fmt.Errorf("the new process ended before it could %s", what)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return m, fmt.Errorf("the new process did not %s within %v", what, time.Since(began).Round(time.Millisecond))
	case err != nil:
		return m, fmt.Errorf("the new process did not %s: %w", what, err)
	case m.kind == msgRefused:
		a.let = false // it has touched nothing
		return m, fmt.Errorf("the new process refuses: %s", m.body)
	case m.kind != kind:
		return m, fmt.Errorf("the new process was to %s and sent message %d", what, m.kind)
	}
	return m, nil
}

// within calls f with a context that ends at at.
func (u *Upgrader) within(ctx context.Context, at time.Time, f func(context.Context) error) error {
	ctx, cancel := context.WithDeadline(ctx, at)
	defer cancel()
	return f(ctx)
}

// nobody is the Supervisor of a process without one.
type nobody struct{}

func (nobody) Reloading() error                   { return nil }
func (nobody) Ready(string) error                 { return nil }
func (nobody) MainPID(context.Context, int) error { return nil }
