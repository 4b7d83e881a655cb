package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// clockSynchronized says whether somebody keeps this box's clock right: the kernel forgets it after some hours without a
// correction (man 2 adjtimex, STA_UNSYNC). It changes nothing.
func clockSynchronized() (bool, error) {
	var now unix.Timex
	state, err := unix.Adjtimex(&now)
	if err != nil {
		return false, os.NewSyscallError("adjtimex", err)
	}
	return state != unix.TIME_ERROR && now.Status&unix.STA_UNSYNC == 0, nil
}
