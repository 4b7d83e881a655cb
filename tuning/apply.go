package tuning

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// Options say how Apply and Revert go about it.
type Options struct {
	// Confirm rolls everything back unless Confirm is called within so long: for who tunes over the network. 0: no need.
	Confirm time.Duration
	// Force overrides what administrators' files set.
	Force bool
	// Serving says that a gateway serves on this box: what resets a device, its channels and rings, is left alone.
	Serving bool
	// Progress is told of each setting when its fate is known; nil: nobody is.
	Progress func(Outcome)
}

// application is one Apply at work, under the lock.
type application struct {
	*work
	state *state
	opts  Options
	res   Result
	remap bool // channels were changed, and what is after them in the plan is of queues that are no more
}

// Apply changes what plan says is to be changed, in its order. Before a setting is touched its value is in the state file,
// on the disk; after it was written it is read back, because the kernel cuts values and takes parts of vectors. A
// setting that cannot be written is an Outcome with its reason, and the others go on.
//
// With Options.Confirm it returns when Confirm was called, or when it has put everything back since that did not happen in
// time. When ctx ends before that, it puts everything back as well and returns ctx's error.
//
// An error, beside ctx's, says that the state file could not be written, so that nothing more was touched: ErrBusy
// where another process is at work. Where there is nothing that the caller may change, no state file is needed.
func (b *Box) Apply(ctx context.Context, plan Plan, opts Options) (Result, error) {
	a := &application{work: b.work(ctx), opts: opts}
	if _, err := os.Lstat(b.statePath()); !plan.touches(opts) && errors.Is(err, fs.ErrNotExist) {
		for _, e := range plan.Entries {
			if _, err := a.entry(e); err != nil {
				return a.res, err
			}
		}
		return a.res, nil
	}
	unlock, err := b.lock()
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	put, err := b.begin(a)
	if err != nil {
		return a.res, err
	}
	if put { // the plan was made when what that Apply left was in force
		if plan, err = a.again(plan.Goal); err != nil {
			return a.res, err
		}
	}
	if err := a.run(plan); err != nil {
		if ctx.Err() == nil {
			return a.res, err
		}
		return a.res, a.giveUp(err)
	}
	if len(a.state.Records) == 0 {
		return a.res, b.forget()
	}
	if opts.Confirm > 0 && a.state.touched() {
		return a.res, a.await()
	}
	a.state.Phase = applied
	return a.res, b.save(a.state)
}

// touches says whether there is anything to write.
func (p Plan) touches(opts Options) bool {
	return slices.ContainsFunc(p.Entries, func(e Entry) bool { return e.Status == Change || e.Status == AdminOwned && opts.Force })
}

// begin gives a the state of a new Apply; it says whether it has put back what one that died left.
func (b *Box) begin(a *application) (put bool, err error) {
	s, err := b.load()
	if err != nil {
		return false, err
	}
	if s != nil && s.Phase != applied {
		left, err := b.finish(a.ctx, s, Options{Serving: a.opts.Serving})
		if err != nil {
			return false, err
		}
		put = left.RolledBack
		if s, err = b.load(); err != nil {
			return put, err
		}
	}
	if s == nil {
		s = &state{Version: stateVersion, BootID: b.bootID(), NetNS: b.netNS()}
	}
	if err := b.sameSpace(s); err != nil {
		return put, err
	}
	s.Apply++
	s.Phase = applying
	s.Time = time.Now().UTC().Truncate(time.Second)
	a.state = s
	return put, nil
}

// again makes the plan anew.
func (a *application) again(g Goal) (Plan, error) {
	m, err := a.Inspect(a.ctx, g.Interfaces)
	if err != nil {
		return Plan{}, err
	}
	return Compute(m, g), nil
}

// run goes through the entries. When queues have changed, the interrupts and files of queues are others, and the rest of the
// plan is computed anew.
func (a *application) run(plan Plan) error {
	entries := plan.Entries
	for i := 0; i < len(entries); i++ {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		e := entries[i]
		fate, err := a.entry(e)
		if err != nil {
			return err
		}
		last := e.Kind == KindChannels && (i+1 == len(entries) || entries[i+1].Kind != KindChannels)
		if fate == Changed && e.Kind == KindChannels {
			a.remap = true
		}
		if last && a.remap {
			fresh, err := a.again(plan.Goal)
			if err != nil {
				return err
			}
			entries = append(entries[:i+1:i+1], fresh.after(e.stage())...)
		}
	}
	return nil
}

// after returns the entries that come after a stage.
func (p Plan) after(stage int) []Entry {
	for i := range p.Entries {
		if p.Entries[i].stage() > stage {
			return p.Entries[i:]
		}
	}
	return nil
}

func (a *application) tell(e Entry, old, now string, fate Fate, note string) {
	o := Outcome{Kind: e.Kind, Key: e.Key, Old: old, New: now, Fate: fate, Note: note}
	a.res.Outcomes = append(a.res.Outcomes, o)
	if a.opts.Progress != nil {
		a.opts.Progress(o)
	}
}

// entry carries out one entry. Its error is the state file's.
func (a *application) entry(e Entry) (Fate, error) {
	skip := func(why string) (Fate, error) {
		a.tell(e, e.Current, e.Current, Skipped, why)
		return Skipped, nil
	}
	switch {
	case e.Kind == KindLimit || e.Kind == KindOption:
		return "", nil
	case e.Status == AdminOwned && !a.opts.Force:
		return skip(e.Note)
	case e.Status == NoPermission:
		return skip(e.Note)
	case e.Status != Change && e.Status != AdminOwned:
		return "", nil
	case a.opts.Serving && (e.Kind == KindChannels || e.Kind == KindRings):
		return skip("a gateway serves, and the device would be reset")
	}
	t, err := a.target(e.Kind, e.Key)
	if err != nil {
		return skip(refusal(e.Kind, "", err))
	}
	now, err := t.read()
	if err != nil {
		return skip(refusal(e.Kind, "", err))
	}
	if !same(e.Kind, now, e.Current) {
		return skip("changed since the plan was made: it is " + show(now))
	}
	return a.change(e, t, now)
}

// change writes ahead, writes and reads back.
func (a *application) change(e Entry, t target, now string) (Fate, error) {
	r := a.state.record(e.Kind, e.Key)
	if r == nil {
		r = &record{Kind: e.Kind, Key: e.Key, Before: now}
		a.state.Records = append(a.state.Records, r)
	} else if !same(e.Kind, now, r.After) {
		r.Before = now // somebody has changed it since: that is what they want back
	}
	if e.Device != "" {
		r.Device = a.identify(e.Device)
	}
	if e.Kind == KindChannels {
		r.Saved = a.saveQueues(e.Device)
	}
	r.Was, r.Wanted, r.Apply, r.State = now, e.Wanted, a.state.Apply, pending
	if err := a.save(a.state); err != nil {
		return "", err
	}
	refused := t.write(e.Wanted)
	after, err := t.read()
	if err != nil {
		after = e.Wanted // it was there a moment ago; what is known is what was written
	}
	r.After, r.State = after, done
	fate, note := judge(e, now, after, refused)
	if same(e.Kind, after, r.Before) {
		a.state.drop(r)
	}
	if err := a.save(a.state); err != nil {
		return fate, err
	}
	a.tell(e, now, after, fate, note)
	return fate, nil
}

// judge says what the kernel made of a value that was written.
func judge(e Entry, was, after string, refused error) (Fate, string) {
	switch {
	case same(e.Kind, after, e.Wanted):
		return Changed, ""
	case refused != nil && same(e.Kind, after, was):
		return Refused, refusal(e.Kind, e.Wanted, refused)
	case refused != nil:
		return Clamped, refusal(e.Kind, e.Wanted, refused) + "; part of it is in force"
	case same(e.Kind, after, was):
		return Refused, "the kernel took " + e.Wanted + " and changed nothing"
	}
	return Clamped, fmt.Sprintf("the kernel made %s of %s", show(after), e.Wanted)
}

// saveQueues reads what the kernel forgets when a device's channels change.
func (a *application) saveQueues(device string) []saved {
	n, err := a.device(device)
	if err != nil {
		return nil
	}
	var all []saved
	keep := func(kind Kind, rest string) {
		t, err := a.target(kind, device+"/"+rest)
		if err != nil {
			return
		}
		if value, err := t.read(); err == nil {
			all = append(all, saved{Kind: kind, Key: rest, Value: value})
		}
	}
	for _, v := range n.Vectors {
		if v.Name != "" {
			keep(KindIRQ, "irq/"+v.Name)
		}
	}
	for i := range n.RX {
		keep(KindQueue, queueFile("rx", i, "rps_cpus"))
		keep(KindQueue, queueFile("rx", i, "rps_flow_cnt"))
	}
	for i := range n.TX {
		keep(KindQueue, queueFile("tx", i, "xps_cpus"))
	}
	return all
}

// giveUp puts back what an Apply did whose context has ended, and returns why it did.
func (a *application) giveUp(why error) error {
	a.work = a.Box.work(context.WithoutCancel(a.ctx))
	a.res.RolledBack = true
	err := a.rollback(a.state, a.opts, &a.res)
	if err != nil {
		return fmt.Errorf("%w; put back: %w", why, err)
	}
	return why
}

// sameSpace refuses to work on another network namespace than the state file's: half of the keys are others there.
func (b *Box) sameSpace(s *state) error {
	if now := b.netNS(); s.NetNS != 0 && now != 0 && s.NetNS != now {
		return ErrElsewhere
	}
	return nil
}

// deviceOf is the device of a key: "eth0/channels".
func deviceOf(key string) string {
	name, _, _ := strings.Cut(key, "/")
	return name
}
