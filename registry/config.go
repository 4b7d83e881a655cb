package registry

import (
	"errors"
	"fmt"
	"time"
)

// Config is the [registry] section.
type Config struct {
	Lease      time.Duration `toml:"lease"`       // how long users stay online after their gateway's death; renewed three times in it
	Exclusive  bool          `toml:"exclusive"`   // one link for each user and device in the whole fleet
	Resync     time.Duration `toml:"resync"`      // in which every route is looked after once, while nothing is wrong
	ResyncRate int           `toml:"resync_rate"` // routes a second after Redis has lost them
	Events     int           `toml:"events"`      // about how many events edged:presence keeps
}

// Default returns the settings of a file that says nothing.
func Default() Config {
	return Config{Lease: 15 * time.Second, Resync: 10 * time.Minute, ResyncRate: 5000, Events: 100_000}
}

// Validate reports every setting that cannot be meant, each with its key.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	within := func(key string, d, least, most time.Duration) {
		if d < least || d > most {
			bad("%s: %v is not between %v and %v", key, d, least, most)
		}
	}
	within("lease", c.Lease, 3*time.Second, 5*time.Minute)
	within("resync", c.Resync, 10*time.Second, 6*time.Hour)
	if c.ResyncRate < 10 || c.ResyncRate > 1_000_000 {
		bad("resync_rate: %d is not between 10 and 1000000", c.ResyncRate)
	}
	if c.Events < 100 || c.Events > 100_000_000 {
		bad("events: %d is not between 100 and 100000000", c.Events)
	}
	return errors.Join(errs...)
}
