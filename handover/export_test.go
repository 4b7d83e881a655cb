package handover

import "time"

// SetRunningLimit shortens the time that a successor has to start.
func SetRunningLimit(u *Upgrader, d time.Duration) { u.runningLimit = d }
