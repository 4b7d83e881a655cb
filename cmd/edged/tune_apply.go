package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"edged/config"
	"edged/tuning"
)

// applyFlags is what the command line of apply says.
type applyFlags struct {
	confirm, measure       time.Duration
	force, persist, asJSON bool
}

// Lengths of time of apply.
const (
	leastConfirm  = time.Second
	usualMeasure  = "10s"
	countdownStep = 10 * time.Second
)

func (t *tune) applyCommand() *cobra.Command {
	var f applyFlags
	c := &cobra.Command{
		Use:   "apply",
		Short: "Carry the plan out; `edged tune revert` puts it back",
		Long: `Carry the plan out; "edged tune revert" puts it back.

Every value is written down before it is changed, and read back after. With --confirm all of it is put back unless
"edged tune confirm" is called in time, from another shell, which proves that the box can still be reached; so it is when this
command is interrupted. What an administrator's file sets is left alone without --force, a network device only touched
with allow_nic in [tuning], and its queues and rings never while a gateway serves.

Exit status 1: the kernel refused a value, nothing may be changed without root, or all was put back.`,
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case c.Flags().Changed("confirm") && f.confirm < leastConfirm:
				return fmt.Errorf("--confirm: %v is shorter than %v", f.confirm, leastConfirm)
			case c.Flags().Changed("measure") && f.measure < time.Second:
				return fmt.Errorf("--measure: %v is shorter than 1s", f.measure)
			}
			return cobra.NoArgs(c, args)
		},
		RunE: func(c *cobra.Command, _ []string) error {
			if err := t.prepare(c); err != nil {
				return err
			}
			return (&application{tune: t, flags: f, out: c.OutOrStdout(), say: c.ErrOrStderr()}).run(c.Context())
		},
	}
	l := c.Flags()
	l.DurationVar(&f.confirm, "confirm", 0, "put all back unless confirmed within this `time`")
	l.DurationVar(&f.measure, "measure", 0, "watch the load for this `time` before and after, and say what has changed")
	l.Lookup("measure").NoOptDefVal = usualMeasure
	l.BoolVar(&f.persist, "persist", false, "keep the kernel's settings over a reboot, in /etc/sysctl.d/60-edged.conf")
	l.BoolVar(&f.force, "force", false, "change also what an administrator's file sets")
	l.BoolVar(&f.asJSON, "json", false, "print the outcome as JSON")
	return c
}

// application is one apply: its progress goes to out, or to say where out is for programs.
type application struct {
	*tune
	flags    applyFlags
	user     int // effective
	plan     tuning.Plan
	out, say io.Writer
}

// applied is the outcome for programs.
type applied struct {
	tuning.Result
	Persisted string          `json:"persisted,omitempty"` // file
	Before    *tuning.Effects `json:"before,omitempty"`
	After     *tuning.Effects `json:"after,omitempty"`
}

func (a *application) run(ctx context.Context) error {
	// A terminal that hangs up, or a pipe whose reader has gone, must not keep the values from being put back.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if a.flags.asJSON {
		a.out, a.say = a.say, a.out // progress is for people
	}
	if err := a.begin(ctx); err != nil {
		return err
	}
	var done applied
	var err error
	if done.Before, err = a.measure(ctx, "before"); err != nil {
		return err
	}
	count := &countdown{w: a.out, length: a.flags.confirm}
	done.Result, err = a.box.Apply(ctx, a.plan, tuning.Options{
		Confirm: a.flags.confirm, Force: a.flags.force, Serving: a.serving != nil, Progress: count.outcome,
	})
	count.stop()
	if err != nil {
		return a.failed(done, err)
	}
	fmt.Fprintln(a.out, done.Summary())
	if (a.flags.persist || a.cfg.Tuning.Persist) && !done.RolledBack {
		if done.Persisted, err = a.box.Persist(a.plan); err != nil {
			return needsRoot(err)
		}
		fmt.Fprintln(a.out, "kept over a reboot:", done.Persisted)
	}
	if !done.RolledBack {
		if done.After, err = a.measure(ctx, "after"); err != nil {
			return err
		}
	}
	return a.report(done)
}

// begin puts back what an apply that was killed has left, and only then makes the plan, which depends on it.
func (a *application) begin(ctx context.Context) error {
	left, err := a.box.Recover(ctx, tuning.Options{Serving: a.serving != nil})
	if err != nil {
		return needsRoot(err)
	}
	if left.RolledBack {
		fmt.Fprintf(a.out, "an apply that did not come to its end is put back: %s\n", left.Summary())
	}
	m, p, err := a.compute(ctx)
	if err != nil {
		return err
	}
	a.user, a.plan = m.Process.UID, p
	return nil
}

// failed is an apply that did not come to its end.
func (a *application) failed(done applied, err error) error {
	if errors.Is(err, context.Canceled) && done.RolledBack {
		return errors.New("interrupted: all is put back")
	}
	return needsRoot(err)
}

// report says how it ended, and makes the exit status of it.
func (a *application) report(done applied) error {
	if a.flags.asJSON {
		if err := printJSON(a.say, done); err != nil {
			return err
		}
	} else if done.Before != nil && done.After != nil {
		fmt.Fprintln(a.out)
		if err := tuning.WriteEffects(a.out, *done.Before, *done.After); err != nil {
			return err
		}
	}
	switch {
	case done.RolledBack:
		return fmt.Errorf("not confirmed within %v: all is put back", a.flags.confirm)
	case refusedByKernel(done.Result):
		return errQuiet
	case done.Count(tuning.Changed)+done.Count(tuning.Clamped) == 0 && done.Count(tuning.Skipped) > 0 && a.denied():
		return errors.New("nothing was changed: this needs root")
	}
	return nil
}

// refusedByKernel says whether a value of the kernel was refused. What a driver does not do is no fault of this box.
func refusedByKernel(r tuning.Result) bool {
	return slices.ContainsFunc(r.Outcomes, func(o tuning.Outcome) bool {
		return o.Fate == tuning.Refused && (o.Kind == tuning.KindSysctl || o.Kind == tuning.KindSysfs)
	})
}

// denied says whether a change was wanted that root could make, and this process is not root's. What root may not do either, as
// in a container, is told and is no failure.
func (a *application) denied() bool {
	return a.user != 0 && slices.ContainsFunc(a.plan.Entries, func(e tuning.Entry) bool {
		return e.Status == tuning.NoPermission && e.Kind != tuning.KindLimit
	})
}

// needsRoot adds to a refused permission what would help.
func needsRoot(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; this needs root", err)
	}
	return err
}

// countdown tells each outcome as it comes, and then how long there still is to confirm.
type countdown struct {
	w      io.Writer
	length time.Duration // 0: nothing is to be confirmed

	mu    sync.Mutex // guards what follows, and w
	last  time.Time  // of the last outcome
	ended chan struct{}
	work  sync.WaitGroup
}

// outcome is tuning.Options.Progress.
func (c *countdown) outcome(o tuning.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintln(c.w, o)
	c.last = time.Now()
	if c.length == 0 || c.ended != nil || o.Fate != tuning.Changed && o.Fate != tuning.Clamped {
		return
	}
	c.ended = make(chan struct{})
	c.work.Go(func() { c.run(c.ended) })
}

// run says how long is left: at first once nothing has come for a moment, then every countdownStep.
func (c *countdown) run(ended <-chan struct{}) {
	step := 200 * time.Millisecond
	for next := time.NewTimer(step); ; next.Reset(step) {
		select {
		case <-ended:
			return
		case <-next.C:
		}
		c.mu.Lock()
		if quiet := time.Since(c.last); quiet >= 200*time.Millisecond {
			if left := c.length - quiet; left > 0 {
				fmt.Fprintf(c.w, "put back in %v unless confirmed: edged tune confirm\n", left.Round(time.Second))
			}
			step = countdownStep
		}
		c.mu.Unlock()
	}
}

func (c *countdown) stop() {
	c.mu.Lock()
	if c.ended != nil {
		close(c.ended)
	}
	c.mu.Unlock()
	c.work.Wait()
}

func (t *tune) confirmCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "confirm",
		Short: "Keep what an apply with --confirm has changed",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := t.box.Confirm(c.Context()); err != nil {
				return needsRoot(err)
			}
			fmt.Fprintln(c.OutOrStdout(), "confirmed: the values stay")
			return nil
		},
	}
}

func (t *tune) revertCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "revert",
		Short: "Put every value back that edged has changed",
		Long: `Put every value back that edged has changed, and keep none over a reboot.

What somebody else has changed since is reported and left as it is. Queues and rings of a network device wait until no gateway
serves. Exit status 1: something could not be put back.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := t.prepare(c); err != nil { // what was changed is put back whatever the configuration says
				fmt.Fprintln(c.ErrOrStderr(), "edged: the defaults count instead of the configuration:", err)
				t.cfg = config.Default()
				t.serving = t.look(c.Context())
			}
			opts := tuning.Options{Serving: t.serving != nil}
			if !asJSON {
				opts.Progress = func(o tuning.Outcome) { fmt.Fprintln(c.OutOrStdout(), o) }
			}
			res, err := t.box.Revert(c.Context(), opts)
			if err = errors.Join(err, t.box.Unpersist()); err != nil {
				return needsRoot(err)
			}
			if asJSON {
				err = printJSON(c.OutOrStdout(), res)
			} else {
				_, err = fmt.Fprintln(c.OutOrStdout(), res.Summary())
			}
			if err == nil && res.Count(tuning.Refused)+res.Count(tuning.Skipped) > 0 {
				err = errQuiet
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
