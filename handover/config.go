package handover

import (
	"errors"
	"fmt"
	"time"
)

// The two ways of replacing a process.
const (
	ModeFork = "fork" // a new process beside the old one, which goes on if the new one fails at any step
	ModeExec = "exec" // the same process with a new program: the PID stays, and a successor that fails at its very start is lost
)

// Config is the [handover] section.
type Config struct {
	Mode         string        `toml:"mode"`          // "fork" or "exec"
	CheckTimeout time.Duration `toml:"check_timeout"` // for the new binary to prove itself and the file; everything goes on meanwhile
	AcceptPause  time.Duration `toml:"accept_pause"`  // longest time without accepting, from the fork to the new process's first turn
	Freeze       time.Duration `toml:"freeze"`        // longest time in which the links stand still
}

// Default returns the settings of a file that says nothing.
func Default() Config {
	return Config{
		Mode:         ModeFork,
		CheckTimeout: 10 * time.Second,
		AcceptPause:  time.Second,
		Freeze:       300 * time.Millisecond,
	}
}

// Validate reports every setting that cannot be meant, each with its key.
func (c Config) Validate() error {
	var errs []error
	if c.Mode != ModeFork && c.Mode != ModeExec {
		errs = append(errs, fmt.Errorf("mode: %q is neither %q nor %q", c.Mode, ModeFork, ModeExec))
	}
	inRange := func(key string, d, least, most time.Duration) {
		if d < least || d > most {
			errs = append(errs, fmt.Errorf("%s: %v is not between %v and %v", key, d, least, most))
		}
	}
	inRange("check_timeout", c.CheckTimeout, 100*time.Millisecond, 5*time.Minute)
	inRange("accept_pause", c.AcceptPause, 100*time.Millisecond, time.Minute)
	inRange("freeze", c.Freeze, 10*time.Millisecond, 30*time.Second)
	if c.Freeze > c.AcceptPause {
		errs = append(errs, fmt.Errorf("freeze: %v is longer than accept_pause (%v), of which it is a part", c.Freeze, c.AcceptPause))
	}
	return errors.Join(errs...)
}

// KeeperConfig is the [keeper] section.
type KeeperConfig struct {
	Enabled bool          `toml:"enabled"`
	Socket  string        `toml:"socket"`
	Hold    time.Duration `toml:"hold"`    // how long the keeper waits for the next gateway before it lets the links go
	Crashes int           `toml:"crashes"` // so many within a minute cost the links
	OnStop  string        `toml:"on_stop"` // what a gateway does with its links that is told to leave: OnStopKeep or OnStopDrain
}

// What becomes of the links of a gateway with a keeper that is told to leave.
const (
	OnStopKeep  = "keep"  // they wait with the keeper for the next gateway
	OnStopDrain = "drain" // they are sent elsewhere, as without a keeper
)

// DefaultKeeper returns the settings of a file that says nothing.
func DefaultKeeper() KeeperConfig {
	return KeeperConfig{Socket: "/run/edged-keeper/keeper.sock", Hold: time.Minute, Crashes: 3, OnStop: OnStopKeep}
}

// Validate reports every setting that cannot be meant, each with its key.
func (c KeeperConfig) Validate() error {
	var errs []error
	if len(c.Socket) == 0 || c.Socket[0] != '/' || len(c.Socket) > maxPath {
		errs = append(errs, fmt.Errorf("socket: %q is not an absolute path of at most %d bytes", c.Socket, maxPath))
	}
	if c.Hold < time.Second || c.Hold > time.Hour {
		errs = append(errs, fmt.Errorf("hold: %v is not between %v and %v", c.Hold, time.Second, time.Hour))
	}
	if c.Crashes < 2 || c.Crashes > mostCrashes {
		errs = append(errs, fmt.Errorf("crashes: %d is not between 2 and %d", c.Crashes, mostCrashes))
	}
	if c.OnStop != OnStopKeep && c.OnStop != OnStopDrain {
		errs = append(errs, fmt.Errorf("on_stop: %q is neither %q nor %q", c.OnStop, OnStopKeep, OnStopDrain))
	}
	return errors.Join(errs...)
}

// mostCrashes bounds what a keeper remembers of crashes.
const mostCrashes = 1000

// maxPath is what fits into a unix socket's address (unix(7)).
const maxPath = 107
