//go:build edgedfault

package main

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"time"
)

// fault goes wrong at a step as EDGED_FAULT says, "restore=crash". The tests of upgrades and of keepers build such a binary.
func fault(step string) error {
	at, how, _ := strings.Cut(os.Getenv("EDGED_FAULT"), "=")
	if at != step {
		return nil
	}
	switch how {
	case "crash":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "hang":
		time.Sleep(time.Hour)
	case "panic":
		panic("as it was told to")
	}
	return errors.New("it does not like this " + step)
}
