package tuning

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
)

// ErrElsewhere says that the state file belongs to another network namespace than the caller's.
var ErrElsewhere = errors.New("the settings were changed from another network namespace; ask there")

// Revert puts back what edged changed, in reverse order: a setting that is still as edged left it gets the value from before,
// one that somebody else has changed since is reported and left. Only Serving and Progress of opts count. Without a state file
// there is nothing to do, and that is no error.
func (b *Box) Revert(ctx context.Context, opts Options) (Result, error) {
	var res Result
	unlock, err := b.lock()
	if err != nil {
		return res, err
	}
	defer unlock()
	s, err := b.load()
	if err != nil || s == nil {
		return res, err
	}
	if err := b.sameSpace(s); err != nil {
		return res, err
	}
	w := b.work(ctx)
	for _, r := range slices.Backward(slices.Clone(s.Records)) {
		if err := ctx.Err(); err != nil {
			return res, err
		}
		o := w.restore(r, r.Before, opts)
		if o.Fate != Refused && o.Fate != Skipped {
			s.drop(r)
			if err := b.save(s); err != nil {
				return res, err
			}
		}
		res.add(o, opts)
	}
	if len(s.Records) > 0 {
		s.Phase = applied
		return res, b.save(s)
	}
	return res, b.forget()
}

func (r *Result) add(o Outcome, opts Options) {
	r.Outcomes = append(r.Outcomes, o)
	if opts.Progress != nil {
		opts.Progress(o)
	}
}

// forget removes the state file.
func (b *Box) forget() error {
	if err := os.Remove(b.statePath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// rollback puts back what the state's last Apply did, to what was before that one, and leaves what earlier ones did.
func (w *work) rollback(s *state, opts Options, res *Result) error {
	for _, r := range slices.Backward(slices.Clone(s.Records)) {
		if r.Apply != s.Apply {
			continue
		}
		o := w.restore(r, r.Was, opts)
		switch {
		case o.Fate == Refused || o.Fate == Skipped:
			r.State, r.Apply = done, s.Apply-1
		case o.Fate == Restored && !same(r.Kind, r.Was, r.Before):
			r.After, r.State, r.Apply = r.Was, done, s.Apply-1
		default:
			s.drop(r)
		}
		if err := w.save(s); err != nil {
			return err
		}
		res.add(o, opts)
	}
	s.Phase = applied
	if len(s.Records) > 0 {
		return w.save(s)
	}
	return w.forget()
}

// restore gives one setting an old value, where it is as edged left it.
func (w *work) restore(r *record, old string, opts Options) Outcome {
	o := Outcome{Kind: r.Kind, Key: r.Key, Old: r.After, New: r.After}
	end := func(f Fate, note string) Outcome {
		o.Fate, o.Note = f, note
		return o
	}
	if opts.Serving && (r.Kind == KindChannels || r.Kind == KindRings) {
		return end(Skipped, "a gateway serves, and the device would be reset")
	}
	key := w.key(r)
	if key == "" {
		return end(Gone, "the device is gone")
	}
	o.Key = key
	t, err := w.target(r.Kind, key)
	if err != nil {
		return end(Gone, refusal(r.Kind, "", err))
	}
	now, err := t.read()
	if err != nil {
		return end(Gone, refusal(r.Kind, "", err))
	}
	o.Old, o.New = now, now
	switch {
	case same(r.Kind, now, old):
		return end(Restored, "")
	case !r.ours(now):
		return end(Drifted, "somebody else has changed it since")
	}
	refused := t.write(old)
	if o.New, err = t.read(); err != nil {
		return end(Gone, refusal(r.Kind, "", err))
	}
	if !same(r.Kind, o.New, old) {
		if refused != nil {
			return end(Refused, refusal(r.Kind, old, refused))
		}
		return end(Clamped, "the kernel made "+show(o.New)+" of "+old)
	}
	w.restoreQueues(r, deviceOf(key))
	return end(Restored, "")
}

// ours says whether a value is what edged made of it. Where an Apply died between its note and the next, it is not known
// whether it had written: what it wanted, or what the kernel may have made of that, is taken for its work.
func (r *record) ours(now string) bool {
	if r.State == pending {
		return same(r.Kind, now, r.Wanted) || betweenValues(now, r.Was, r.Wanted)
	}
	return same(r.Kind, now, r.After)
}

// restoreQueues gives interrupts and queues what they had before the device's channels were changed: the kernel has given them
// its own defaults when the channels came back. What cannot be written stays so.
func (w *work) restoreQueues(r *record, device string) {
	for _, was := range r.Saved {
		t, err := w.target(was.Kind, device+"/"+was.Key)
		if err != nil {
			continue
		}
		if now, err := t.read(); err == nil && !same(was.Kind, now, was.Value) {
			_ = t.write(was.Value)
		}
	}
}
