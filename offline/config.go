package offline

import (
	"errors"
	"fmt"
	"time"
)

// Limits of this implementation.
const (
	maxCount     = 1_000_000
	maxSeenCount = 1 << 20 // versions of msg_ids are told apart by their lower 21 bits
	maxAge       = 10 * 365 * 24 * time.Hour
)

// Config is the [offline] section.
type Config struct {
	Count     int           `toml:"count"`      // messages of one user that are kept
	Age       time.Duration `toml:"age"`        // how long a message is kept
	Seen      time.Duration `toml:"seen"`       // how long a msg_id is remembered, so that it is not stored twice
	SeenCount int           `toml:"seen_count"` // msg_ids of one user that are remembered
}

// Default returns the settings of a process whose file says nothing.
func Default() Config {
	return Config{Count: 10_000, Age: 7 * 24 * time.Hour, Seen: 24 * time.Hour, SeenCount: 100_000}
}

// Validate reports every setting that cannot be meant, each with its key.
func (c Config) Validate() error {
	var errs []error
	number := func(key string, v, most int) {
		if v < 1 || v > most {
			errs = append(errs, fmt.Errorf("%s: %d is not between 1 and %d", key, v, most))
		}
	}
	span := func(key string, d time.Duration) {
		if d < time.Second || d > maxAge {
			errs = append(errs, fmt.Errorf("%s: %v is not between %v and %v", key, d, time.Second, maxAge))
		}
	}
	number("count", c.Count, maxCount)
	span("age", c.Age)
	span("seen", c.Seen)
	number("seen_count", c.SeenCount, maxSeenCount)
	return errors.Join(errs...)
}
