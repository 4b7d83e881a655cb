package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"edged/offline"
)

// FakeLog is an OfflineLog in memory that does what a test says.
type FakeLog struct {
	OnSync func(offline.Point) // called with every point before it is stored; may be nil; static

	mu     sync.Mutex // guards what follows
	users  map[string]*fakeUser
	gate   chan struct{} // not nil: calls wait until it is closed, or their time is over
	err    error         // what calls end with
	errIn  error         // what calls of Sync end with
	pulls  []FakePull
	synced int // calls of Sync
}

// FakePull is a question that was asked.
type FakePull struct {
	User, Device string
	After        uint64
}

type fakeUser struct {
	last    uint64
	entries []offline.Entry
	synced  map[string]uint64
}

// ErrFake is what calls end with after Fail(ErrFake).
var ErrFake = errors.New("no answer")

func (f *FakeLog) user(name string) *fakeUser {
	if f.users == nil {
		f.users = map[string]*fakeUser{}
	}
	if f.users[name] == nil {
		f.users[name] = &fakeUser{synced: map[string]uint64{}}
	}
	return f.users[name]
}

// Store adds a message and returns it with its version.
func (f *FakeLog) Store(user string, e offline.Entry) offline.Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.user(user)
	u.last++
	e.Version, e.Stored = u.last, time.Now()
	u.entries = append(u.entries, e)
	return e
}

// Entries are what is stored of a user.
func (f *FakeLog) Entries(user string) []offline.Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.user(user).entries)
}

// Change changes entries of a user.
func (f *FakeLog) Change(user string, change func(*offline.Entry)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.user(user)
	u.entries = slices.Clone(u.entries)
	for i := range u.entries {
		change(&u.entries[i])
	}
}

// Forget drops the messages of a user that drop says, as caps do.
func (f *FakeLog) Forget(user string, drop func(offline.Entry) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.user(user)
	u.entries = slices.DeleteFunc(slices.Clone(u.entries), drop)
}

// Flush forgets everything, counters too.
func (f *FakeLog) Flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users = nil
}

// Hold has all calls wait until the returned function is called.
func (f *FakeLog) Hold() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	gate := make(chan struct{})
	f.gate = gate
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.gate == gate {
			f.gate = nil
		}
		close(gate)
	})
}

// Fail has all calls end with err, until it is nil.
func (f *FakeLog) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// FailSync has all calls of Sync end with err, until it is nil.
func (f *FakeLog) FailSync(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errIn = err
}

// Synced is the version stored for a device.
func (f *FakeLog) Synced(user, device string) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.user(user).synced[device]
}

// SetSynced stores one.
func (f *FakeLog) SetSynced(user, device string, v uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.user(user).synced[device] = v
}

// Pulls are the questions so far.
func (f *FakeLog) Pulls() []FakePull {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.pulls)
}

// Syncs is how often Sync was called.
func (f *FakeLog) Syncs() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.synced
}

// wait passes the gate and says how the call ends.
func (f *FakeLog) wait(ctx context.Context) error {
	f.mu.Lock()
	gate := f.gate
	f.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Pull is offline.Log's. What it answers is what there was when it was asked.
func (f *FakeLog) Pull(ctx context.Context, user, device string, after uint64, limit int) (offline.Pulled, error) {
	f.mu.Lock()
	f.pulls = append(f.pulls, FakePull{user, device, after})
	u := f.user(user)
	p := offline.Pulled{After: after, Last: u.last, Synced: u.synced[device]}
	if p.Synced > u.last {
		p.Synced = 0
	}
	if after == 0 {
		p.After = p.Synced
	} else if after > u.last {
		p.After = 0
	}
	for _, e := range u.entries {
		if p.Oldest == 0 {
			p.Oldest = e.Version
		}
		if e.Version <= p.After {
			continue
		}
		if len(p.Entries) == limit {
			p.More = true
			break
		}
		p.Entries = append(p.Entries, e)
	}
	f.mu.Unlock()
	if err := f.wait(ctx); err != nil {
		return offline.Pulled{}, err
	}
	return p, nil
}

// Sync is offline.Log's.
func (f *FakeLog) Sync(ctx context.Context, points []offline.Point) []error {
	errs := make([]error, len(points))
	err := f.wait(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.synced++
	if err == nil {
		err = f.errIn
	}
	for i, p := range points {
		u := f.user(p.User)
		switch {
		case err != nil:
			errs[i] = err
			continue
		case p.Version > u.last:
			errs[i] = &offline.AheadError{Point: p, Last: u.last}
			continue
		}
		if f.OnSync != nil {
			f.OnSync(p)
		}
		u.synced[p.Device] = max(u.synced[p.Device], p.Version)
	}
	return errs
}
