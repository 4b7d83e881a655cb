package tuning

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"
)

// ErrNotWaiting says that no Apply waits to be confirmed.
var ErrNotWaiting = errors.New("nothing waits to be confirmed")

// confirmEvery is how often who waits looks whether it was confirmed, and who confirms whether that was seen.
const (
	confirmEvery = 100 * time.Millisecond
	confirmSeen  = 10 * time.Second
)

// confirmPath is the file that says that an Apply is confirmed: it contains its number.
func (b *Box) confirmPath() string { return b.statePath() + ".confirmed" }

// confirmed says whether somebody has confirmed the state's last Apply.
func (b *Box) confirmed(s *state) bool {
	content, err := readTrusted(b.confirmPath())
	return err == nil && string(content) == strconv.Itoa(s.Apply)
}

func (b *Box) forgetConfirmation() error {
	if err := os.Remove(b.confirmPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// await waits, with the lock held, until the Apply is confirmed, and puts it back when that does not happen in time.
func (a *application) await() error {
	if err := a.forgetConfirmation(); err != nil {
		return err
	}
	a.state.Phase = waiting
	if err := a.save(a.state); err != nil {
		return err
	}
	tick := time.NewTicker(confirmEvery)
	defer tick.Stop()
	end := time.NewTimer(a.opts.Confirm)
	defer end.Stop()
	for {
		if a.confirmed(a.state) {
			return a.settle(a.state)
		}
		select {
		case <-tick.C:
		case <-end.C:
			a.res.RolledBack = true
			return a.rollback(a.state, a.opts, &a.res)
		case <-a.ctx.Done():
			return a.giveUp(a.ctx.Err())
		}
	}
}

// settle makes a confirmed Apply one that stays.
func (b *Box) settle(s *state) error {
	s.Phase = applied
	if err := b.save(s); err != nil {
		return err
	}
	return b.forgetConfirmation()
}

// Confirm keeps what an Apply with Options.Confirm has changed. It returns when that Apply has seen it, or has died and
// left it to be kept; ErrNotWaiting says that there is none, or that it has put everything back already.
func (b *Box) Confirm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, confirmSeen)
	defer cancel()
	s, err := b.load()
	if err != nil {
		return err
	}
	if s == nil || s.Phase != waiting {
		return ErrNotWaiting
	}
	number := s.Apply
	if err := replaceFile(b.confirmPath(), []byte(strconv.Itoa(number)), 0o600); err != nil {
		return fmt.Errorf("confirm: %w", err)
	}
	for {
		unlock, err := b.lock()
		if err == nil {
			defer unlock()
			return b.confirmLeft(number)
		}
		if !errors.Is(err, ErrBusy) {
			return err
		}
		select {
		case <-time.After(confirmEvery):
		case <-ctx.Done():
			return fmt.Errorf("confirm: who waits for it does not answer: %w", ctx.Err())
		}
	}
}

// confirmLeft looks, under the lock, at what became of the Apply of that number.
func (b *Box) confirmLeft(number int) error {
	s, err := b.load()
	switch {
	case err != nil:
		return err
	case s == nil || s.Apply != number: // put back, or put back and applied anew
		return errors.Join(ErrNotWaiting, b.forgetConfirmation())
	case s.Phase == waiting: // who waited died between the two
		return b.settle(s)
	}
	if s.touched() {
		return nil
	}
	return errors.Join(ErrNotWaiting, b.forgetConfirmation())
}

// Recover puts the box in order after processes that died and boots: what an Apply left that did not come to its end, or to its
// confirmation, is put back, and a state file of another boot is removed. It does nothing, and that is no error, where
// all is in order, another process is at work, or the caller may not: then it is left to who may. Only Serving and Progress of
// opts count.
func (b *Box) Recover(ctx context.Context, opts Options) (Result, error) {
	if _, err := os.Stat(b.statePath()); errors.Is(err, fs.ErrNotExist) {
		return Result{}, nil // no directory is made for a lock that nobody needs
	}
	unlock, err := b.lock()
	if errors.Is(err, ErrBusy) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return Result{}, nil
	}
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	s, err := b.load()
	if err != nil {
		return Result{}, err
	}
	if s == nil {
		return Result{Discarded: true}, nil
	}
	return b.finish(ctx, s, opts)
}

// Unfinished says whether an Apply has not come to its end, or to its confirmation: it is at work, or has died. It changes nothing
// and needs no privilege.
func (b *Box) Unfinished() (bool, error) {
	s, err := b.peek()
	return s != nil && s.Phase != applied && s.BootID == b.bootID(), err
}

// finish ends what a process that died has left.
func (b *Box) finish(ctx context.Context, s *state, opts Options) (Result, error) {
	var res Result
	if s.Phase == applied {
		return res, nil
	}
	if err := b.sameSpace(s); err != nil {
		return res, err
	}
	if s.Phase == waiting && b.confirmed(s) {
		return res, b.settle(s)
	}
	res.RolledBack = true
	return res, b.work(ctx).rollback(s, opts, &res)
}
