package delivery

import (
	"errors"
	"fmt"
	"time"
)

// Config is the [delivery] section.
type Config struct {
	Retry      time.Duration `toml:"retry"`       // first wait for an ACK
	Tries      int           `toml:"tries"`       // sends of one push, the first included
	Window     int           `toml:"window"`      // unacknowledged pushes of a link
	GzipMin    int           `toml:"gzip_min"`    // bytes of a payload from which compressing is tried
	PackageGap time.Duration `toml:"package_gap"` // wait for a missing message of a package
	Sample     float64       `toml:"sample"`      // share of links that are asked for a sampled ACK
}

// Limits of this implementation.
const (
	minRetry  = 100 * time.Millisecond
	minGap    = 10 * time.Millisecond
	maxTime   = 10 * time.Minute // of retry and package_gap
	maxTries  = 100
	maxWindow = 65535
)

// Default returns the settings of a gateway whose file says nothing.
func Default() Config {
	return Config{
		Retry:      5 * time.Second,
		Tries:      5,
		Window:     256,
		GzipMin:    1024,
		PackageGap: 2 * time.Second,
		Sample:     0.01,
	}
}

// Validate reports every setting that cannot be meant, each with its key.
func (c Config) Validate() error {
	var errs []error
	inRange := func(key string, v, lo, hi int) {
		if v < lo || v > hi {
			errs = append(errs, fmt.Errorf("%s: %d is not between %d and %d", key, v, lo, hi))
		}
	}
	lasts := func(key string, d, lo time.Duration) {
		if d < lo || d > maxTime {
			errs = append(errs, fmt.Errorf("%s: %v is not between %v and 10m", key, d, lo))
		}
	}
	lasts("retry", c.Retry, minRetry)
	inRange("tries", c.Tries, 1, maxTries)
	inRange("window", c.Window, 1, maxWindow)
	inRange("gzip_min", c.GzipMin, 1, 65535)
	lasts("package_gap", c.PackageGap, minGap)
	if !(c.Sample >= 0 && c.Sample <= 1) { // so written, "not a number" is refused too
		errs = append(errs, fmt.Errorf("sample: %v is not between 0 and 1", c.Sample))
	}
	return errors.Join(errs...)
}

// Limits returns what the section says about windows, and the defaults for what it does not speak
// of.
func (c Config) Limits() Limits {
	return Limits{Retry: c.Retry, Tries: c.Tries, Window: c.Window, Bytes: DefaultBytes}
}

// OrderLimits returns what the section says about orders, in the same way.
func (c Config) OrderLimits() OrderLimits {
	return OrderLimits{Gap: c.PackageGap, Messages: DefaultHeld, Bytes: DefaultBytes}
}
