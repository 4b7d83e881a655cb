package handover

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Product is what is handed over, as its owner lets the Upgrader drive it. The calls come one after the other, from one
// goroutine; each must be back when its ctx ends. The order is
//
//	Parts > Files > Pause > Freeze > (Append of every Part) > the process ends
//	                   `-------`--------`-------------------> Thaw
type Product interface {
	// Parts returns what Append will write. Nothing stands still yet.
	Parts() []Part
	// Files returns the descriptors that are to cross although they are closed on exec, as listeners of net. Those that are
	// not closed on exec cross in any case.
	Files() []File
	// Pause stops accepting: what connects waits in the kernel. Until Thaw no descriptor may be opened that a Part names:
	// the successor has those of now, under the same numbers. Others, and closing, are free.
	Pause(ctx context.Context) error
	// Freeze stops everything that the Parts describe, between two batches of work: no link is read, written, opened or
	// closed, nothing is taken from or sent to anybody else.
	Freeze(ctx context.Context) error
	// Thaw lets everything go on as it was, whether it was frozen, only paused, or the one of the two failed. With touched a
	// successor may have used the links before it ended: those whose byte counters do not agree (CheckFlow) are torn.
	Thaw(touched bool)
}

// Settler is a Product with something to end between Pause and Freeze, while the successor gets ready and the links go on.
type Settler interface {
	// Settle is back when that has ended.
	Settle(ctx context.Context) error
}

// File is a descriptor with a name for the successor.
type File struct {
	Name string
	FD   int
}

// Supervisor is who watches over the process and must be told when another one takes its place.
type Supervisor interface {
	// Reloading says that a reload has begun; Ready will follow, from this process or another.
	Reloading() error
	// Ready says that the process serves, with one line on how it does.
	Ready(status string) error
	// MainPID says that pid is the process to watch from now on, and returns when the supervisor knows it or ctx ends.
	MainPID(ctx context.Context, pid int) error
}

// Options is what an Upgrader is made of.
type Options struct {
	Config     Config
	Path       string       // the binary to start; empty: this process's own, as it now lies on the disk
	Args       []string     // of the new process, its name first; empty: this process's own
	Check      []string     // the same for the preflight child, as "edged check FILE"; empty: it is not checked beforehand
	Supervisor Supervisor   // nil: there is none
	Log        *slog.Logger // nil: nothing is logged
}

// Report is what an upgrade did, as far as it came.
type Report struct {
	PID    int           // of the process that serves now
	Bytes  int           // of the state
	Check  time.Duration // the preflight child took
	Paused time.Duration // from Pause to the successor's first turn, or to Thaw
	Frozen time.Duration // of this, from Freeze on
}

var (
	// ErrBusy is what a second Upgrade is told while one is under way.
	ErrBusy = errors.New("a reload is under way")
	// ErrHandedOver is what an Upgrade is told when another process has taken the place of this one.
	ErrHandedOver = errors.New("another process has taken over")
)
