package offline

import (
	"strconv"
	"sync/atomic"
	"time"

	"edged/redisconn"
)

// Log is the stored messages of all users. All methods may be called from every goroutine.
type Log struct {
	// Static after New.
	client                      *redisconn.Client
	count, age, seen, seenCount string // as the scripts want them: age in ms, seen in s

	stored, duplicates, refused, failed atomic.Uint64
	removed, pulled, garbage            atomic.Uint64
}

// New returns a Log over the client, which stays the caller's. The settings must be valid.
func New(client *redisconn.Client, c Config) *Log {
	return &Log{
		client:    client,
		count:     strconv.Itoa(c.Count),
		age:       strconv.FormatInt(c.Age.Milliseconds(), 10),
		seen:      strconv.FormatInt(int64((c.Seen+time.Second-1)/time.Second), 10),
		seenCount: strconv.Itoa(c.SeenCount),
	}
}

// Stats are counters since New, in messages.
type Stats struct {
	Stored     uint64
	Duplicates uint64 // stored before, by their msg_id
	Refused    uint64 // not stored: they can never be, or a key clashed
	Failed     uint64 // perhaps not stored: Redis did not answer, or with an error
	Removed    uint64 // by the caps; those that Redis dropped with a whole log that was too old are not among them
	Pulled     uint64
	Garbage    uint64 // entries of logs that are none, left out of a Pull
}

// Stats returns the counters.
func (l *Log) Stats() Stats {
	return Stats{
		Stored: l.stored.Load(), Duplicates: l.duplicates.Load(), Refused: l.refused.Load(), Failed: l.failed.Load(),
		Removed: l.removed.Load(), Pulled: l.pulled.Load(), Garbage: l.garbage.Load(),
	}
}
