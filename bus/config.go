package bus

import (
	"errors"
	"fmt"
)

// Config is the [bus] section: what a Publisher holds while Redis is slower than its callers.
type Config struct {
	QueueBatches int `toml:"queue_batches"`
	QueueBytes   int `toml:"queue_bytes"` // of batches; one at least fits, whatever its size
}

// Default returns the settings of a process whose file says nothing.
func Default() Config { return Config{QueueBatches: 8192, QueueBytes: 32 << 20} }

// Validate reports every setting that cannot be meant, each with its key.
func (c Config) Validate() error {
	var errs []error
	between := func(key string, n, low, high int) {
		if n < low || n > high {
			errs = append(errs, fmt.Errorf("%s: %d is not between %d and %d", key, n, low, high))
		}
	}
	between("queue_batches", c.QueueBatches, 1, 1<<20)
	between("queue_bytes", c.QueueBytes, 1, 1<<30)
	return errors.Join(errs...)
}
