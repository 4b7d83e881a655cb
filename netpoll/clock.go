package netpoll

import "time"

// clock reads CLOCK_MONOTONIC without a system call: a reading of it at the start and what the runtime says has passed
// since. A successor process on the same machine reads the same clock, so deadlines stay valid.
type clock struct {
	start time.Time
	base  time.Duration
}

func (c *clock) now() time.Duration { return c.base + time.Since(c.start) }
