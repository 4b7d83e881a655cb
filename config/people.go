package config

import (
	"time"

	"edged/offline"
)

// Offline is the [offline] section of a gateway: of what the queue layer has there, the part that reading obeys too.
type Offline struct {
	Age time.Duration `toml:"age"` // how long a message is kept: who reads a log removes what is older
}

func defaultOffline() Offline { return Offline{Age: offline.Default().Age} }

// Log returns the settings of the log.
func (c Offline) Log() offline.Config {
	l := offline.Default()
	l.Age = c.Age
	return l
}

// Validate reports every setting that cannot be meant, each with its key.
func (c Offline) Validate() error { return c.Log().Validate() }
