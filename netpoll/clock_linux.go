package netpoll

import (
	"time"

	"golang.org/x/sys/unix"
)

func newClock() clock {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("netpoll: CLOCK_MONOTONIC: " + err.Error())
	}
	return clock{start: time.Now(), base: time.Duration(ts.Nano())}
}
