package tuning_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"edged/tuning"
)

// confirming begins an Apply that waits a minute to be confirmed, in the bubble of a synctest.
func (m *machine) confirming(t *testing.T, ctx context.Context) (done <-chan error, res *tuning.Result) {
	t.Helper()
	_, plan := m.plan(t)
	ended := make(chan error, 1)
	res = new(tuning.Result)
	go func() {
		var err error
		*res, err = m.Apply(ctx, plan, tuning.Options{Confirm: time.Minute})
		ended <- err
	}()
	synctest.Wait()
	return ended, res
}

func TestUnconfirmedIsPutBack(t *testing.T) {
	m := open(t, "virtio4")
	before := m.picture(t)
	synctest.Test(t, func(t *testing.T) {
		done, res := m.confirming(t, t.Context())
		if m.get(t, "proc/sys/net/core/somaxconn") != "65535" {
			t.Error("not applied")
		}
		time.Sleep(59 * time.Second)
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatal("before its time:", err)
		default:
		}
		if err := <-done; err != nil || !res.RolledBack {
			t.Error(res.Summary(), err)
		}
	})
	if d := differences(before, m.picture(t)); d != nil {
		t.Error(d)
	}
	if err := m.Confirm(t.Context()); !errors.Is(err, tuning.ErrNotWaiting) {
		t.Error("confirmed too late:", err)
	}
}

func TestConfirmedStays(t *testing.T) {
	m := open(t, "virtio4")
	before := m.picture(t)
	synctest.Test(t, func(t *testing.T) {
		done, res := m.confirming(t, t.Context())
		time.Sleep(30 * time.Second)
		if err := m.Confirm(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil || res.RolledBack {
			t.Error(res.Summary(), err)
		}
	})
	if m.get(t, "proc/sys/net/core/somaxconn") != "65535" {
		t.Error("confirmed, and put back")
	}
	if err := m.Confirm(t.Context()); !errors.Is(err, tuning.ErrNotWaiting) {
		t.Error("confirmed twice:", err)
	}
	if res := m.recover(t); res.RolledBack {
		t.Error("confirmed, and put back at the next start")
	}
	m.revert(t)
	if d := differences(before, m.picture(t)); d != nil {
		t.Error(d)
	}
}

// While somebody waits nobody else changes anything: what is put back would not be what was there.
func TestWhoWaitsHoldsTheLock(t *testing.T) {
	m := open(t, "virtio4")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		_, plan := m.plan(t)
		done, res := m.confirming(t, ctx)
		if _, err := m.Apply(ctx, plan, tuning.Options{}); !errors.Is(err, tuning.ErrBusy) {
			t.Error("apply:", err)
		}
		if _, err := m.Revert(ctx, tuning.Options{}); !errors.Is(err, tuning.ErrBusy) {
			t.Error("revert:", err)
		}
		if res, err := m.Recover(ctx, tuning.Options{}); err != nil || res.RolledBack {
			t.Error("recover:", res.Summary(), err)
		}
		cancel() // as Ctrl-C does
		if err := <-done; !errors.Is(err, context.Canceled) || !res.RolledBack {
			t.Error(res.Summary(), err)
		}
	})
	if m.get(t, "proc/sys/net/core/somaxconn") != "4096" {
		t.Error("not put back")
	}
}

// A second Apply that is not confirmed goes back to the first, not to the beginning.
func TestUnconfirmedGoesBackToTheFirst(t *testing.T) {
	m := open(t, "virtio4")
	before := m.picture(t)
	m.Goal.Links = 300_000
	m.apply(t, tuning.Options{})
	first := m.picture(t)
	m.Goal.Links = 1_500_000
	synctest.Test(t, func(t *testing.T) {
		done, res := m.confirming(t, t.Context())
		if err := <-done; err != nil || !res.RolledBack {
			t.Error(res.Summary(), err)
		}
	})
	if d := differences(first, m.picture(t)); d != nil {
		t.Error(d)
	}
	if drift := m.drift(t); len(drift) > 0 && drift[0].Applied {
		t.Errorf("%+v", drift)
	}
	m.revert(t)
	if d := differences(before, m.picture(t)); d != nil {
		t.Error(d)
	}
}

// left makes a state file as of a process that was killed while it waited.
func (m *machine) left(t *testing.T) {
	t.Helper()
	file := filepath.Join(m.Root, "run/edged-tune/tuning.json")
	var waiting []byte
	synctest.Test(t, func(t *testing.T) {
		done, _ := m.confirming(t, t.Context())
		var err error
		if waiting, err = os.ReadFile(file); err != nil {
			t.Error(err)
		}
		if err := m.Confirm(t.Context()); err != nil {
			t.Error(err)
		}
		<-done
	})
	if err := os.WriteFile(file, waiting, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWhoWaitedDied(t *testing.T) {
	m := open(t, "virtio4")
	before := m.picture(t)
	m.left(t)
	if res := m.recover(t); !res.RolledBack {
		t.Error(res)
	}
	if d := differences(before, m.picture(t)); d != nil {
		t.Error(d)
	}
	m.left(t)
	if err := m.Confirm(t.Context()); err != nil {
		t.Error("confirmed after the death:", err)
	}
	if res := m.recover(t); res.RolledBack || m.get(t, "proc/sys/net/core/somaxconn") != "65535" {
		t.Error("confirmed, and put back:", res.Summary())
	}
}

// It was confirmed, and who waited died before it saw that.
func TestDiedWithConfirmation(t *testing.T) {
	m := open(t, "virtio4")
	m.left(t)
	marker := filepath.Join(m.Root, "run/edged-tune/tuning.json.confirmed")
	if err := os.WriteFile(marker, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if res := m.recover(t); res.RolledBack || m.get(t, "proc/sys/net/core/somaxconn") != "65535" {
		t.Error("confirmed, and put back:", res.Summary())
	}
	if _, err := os.Stat(marker); !errors.Is(err, os.ErrNotExist) {
		t.Error("the confirmation is still there:", err)
	}
}

// A confirmation of an earlier Apply does not count for this one.
func TestOldConfirmation(t *testing.T) {
	m := open(t, "virtio4")
	before := m.picture(t)
	m.left(t)
	marker := filepath.Join(m.Root, "run/edged-tune/tuning.json.confirmed")
	if err := os.WriteFile(marker, []byte("7"), 0o600); err != nil {
		t.Fatal(err)
	}
	if res := m.recover(t); !res.RolledBack {
		t.Error(res.Summary())
	}
	if d := differences(before, m.picture(t)); d != nil {
		t.Error(d)
	}
}

func TestNothingToConfirm(t *testing.T) {
	m := open(t, "virtio4")
	m.apply(t, tuning.Options{})
	_, plan := m.plan(t)
	res, err := m.Apply(t.Context(), plan, tuning.Options{Confirm: time.Hour}) // returns at once
	if err != nil || res.RolledBack || m.get(t, "proc/sys/net/core/somaxconn") != "65535" {
		t.Error(res.Summary(), err)
	}
}
