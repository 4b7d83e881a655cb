package tuning

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// stateVersion is that of the state file's form. A file of another one is not touched: an older edged may be asked to
// revert what a newer one did.
const stateVersion = 1

// phase is how far the last Apply came.
//
//	applying > applied            all was written
//	applying > waiting > applied  and confirmed
//
// A file that says applying or waiting while nobody holds the lock was left by a process that died: what that Apply
// changed is put back.
type phase string

const (
	applying phase = "applying"
	waiting  phase = "waiting"
	applied  phase = "applied"
)

// state is the state file: what edged changed, and what it was before. It lies on a tmpfs, which is gone after a reboot as the
// values are; BootID says so where it is not.
type state struct {
	Version int       `json:"version"`
	BootID  string    `json:"boot_id"`
	NetNS   uint64    `json:"netns"` // inode of the network namespace that the values belong to; 0: not known
	Phase   phase     `json:"phase"`
	Apply   int       `json:"apply"` // number of the last Apply, from 1
	Time    time.Time `json:"time"`
	Records []*record `json:"entries"` // in the order in which they were first written
}

// record is one setting that edged changed.
type record struct {
	Kind   Kind      `json:"kind"`
	Key    string    `json:"key"` // as in Entry; of a device with the name that it had
	Device *identity `json:"device,omitempty"`
	Before string    `json:"before"`          // before edged touched it: what Revert writes
	Was    string    `json:"was"`             // before the last Apply touched it: what its rollback writes
	Wanted string    `json:"wanted"`          // what was written
	After  string    `json:"after"`           // what the kernel made of it; means nothing while Pending
	Apply  int       `json:"apply"`           // which one wrote last
	State  string    `json:"state"`           // pending: about to be written, or just written
	Saved  []saved   `json:"saved,omitempty"` // what the kernel forgets when a device's channels change
}

// saved is a file's value that comes back after the device's channels did.
type saved struct {
	Kind  Kind   `json:"kind"`
	Key   string `json:"key"`
	Value string `json:"value"`
}

const (
	pending = "pending"
	done    = "done"
)

// identity is how a device is found again: names change, and numbers of interrupts.
type identity struct {
	Name  string `json:"name"`
	Index int    `json:"ifindex"`
	Bus   string `json:"bus,omitempty"`
}

// record returns the one of a setting; nil where edged did not change it.
func (s *state) record(kind Kind, key string) *record {
	for _, r := range s.Records {
		if r.Kind == kind && r.Key == key {
			return r
		}
	}
	return nil
}

// touched says whether the last Apply changed anything.
func (s *state) touched() bool {
	return slices.ContainsFunc(s.Records, func(r *record) bool { return r.Apply == s.Apply })
}

func (s *state) drop(r *record) {
	s.Records = slices.DeleteFunc(s.Records, func(other *record) bool { return other == r })
}

// ErrUnsafe says that the state file could have been written by somebody else.
var ErrUnsafe = errors.New("state file is not to be trusted")

// statePath is where the state file lies.
func (b *Box) statePath() string {
	if b.State != "" {
		return b.State
	}
	return b.path("run/edged-tune/tuning.json")
}

// load returns the state file; nil where there is none, or one of another boot, which is removed.
func (b *Box) load() (*state, error) {
	s, err := b.peek()
	if s != nil && s.BootID != b.bootID() {
		return nil, os.Remove(b.statePath())
	}
	return s, err
}

// peek returns the state file, whichever boot it is of; nil where there is none.
func (b *Box) peek() (*state, error) {
	file := b.statePath()
	content, err := readTrusted(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the state file: %w", err)
	}
	var s state
	if err := json.Unmarshal(content, &s); err != nil {
		return nil, fmt.Errorf("state file %s: %w", file, err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("state file %s: version %d is not known to this edged", file, s.Version)
	}
	if slices.Contains(s.Records, nil) {
		return nil, fmt.Errorf("state file %s: an entry is null", file)
	}
	return &s, nil
}

func (b *Box) bootID() string { return b.read("proc/sys/kernel/random/boot_id") }

// save replaces the state file, which everybody may read: it is whole at every moment, and on the disk when save returns.
func (b *Box) save(s *state) error {
	content, err := json.MarshalIndent(s, "", " ")
	if err == nil {
		err = replaceFile(b.statePath(), append(content, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the state file: %w", err)
	}
	return nil
}

// replaceFile writes a file beside, has it on the disk, and gives it the name. What one that died has left beside is replaced,
// and what somebody else may have put there is not followed.
func replaceFile(file string, content []byte, mode fs.FileMode) error {
	name := file + ".next"
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	next, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = next.Write(content)
	if err == nil {
		err = next.Chmod(mode) // whatever the umask is
	}
	if err == nil {
		err = next.Sync()
	}
	if err = errors.Join(err, next.Close()); err == nil {
		err = os.Rename(name, file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return syncDir(filepath.Dir(file))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
