package handover_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"edged/handover"

	"golang.org/x/sys/unix"
)

// socketVariable is where a keeper of a test listens, filesVariable the limit of its open files.
const (
	socketVariable = "HANDOVER_TEST_SOCKET"
	filesVariable  = "HANDOVER_TEST_FILES"
)

// playKeeper is a keeper process that tells its figures when asked.
func playKeeper() int {
	if n, err := strconv.Atoi(os.Getenv(filesVariable)); err == nil {
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(n), Max: uint64(n)})
	}
	cfg := handover.DefaultKeeper()
	cfg.Socket = os.Getenv(socketVariable)
	k, err := handover.NewKeeper(cfg, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err == nil {
		err = handover.Harden()
	}
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Serve(ctx) }()
	fmt.Println("keeping")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "links":
			fmt.Println("links", k.Stats().Links)
		case "stat":
			s := k.Stats() // waits for a welcome under way, whose first line of log opens the zone's file for a moment
			fds, err := os.ReadDir("/proc/self/fd")
			fmt.Println("stat", s.Links, len(fds), s.Full, err)
		}
	}
	stop()
	if err := <-done; err != nil {
		fmt.Println("error", err)
		return 1
	}
	return 0
}

// playDepositor is a gateway that accepts on a port and keeps what it accepts; it does nothing else until it is killed.
func playDepositor() int {
	keeping, w, err := handover.OpenKeeping(os.Getenv(socketVariable), nil)
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	memory := w.Memory
	if memory < 0 {
		memory, err = unix.MemfdCreate("depositor", 0)
		if err == nil {
			err = keeping.Share(memory, true)
		}
	}
	d := keeping.Deposit()
	next := uint64(0)
	if err == nil {
		err = keeping.Take(func(key uint64, _ int) { next = max(next, key+1) })
	}
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	fmt.Println("depositing", l.Addr().(*net.TCPAddr).Port, w.Links, w.Crashes, w.Dropped, int(w.Why))
	for {
		_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute))
		c, err := l.Accept()
		if err != nil {
			return 0
		}
		f, err := c.(*net.TCPConn).File()
		if err != nil {
			return 0
		}
		d.Add(next, int(f.Fd()))
		d.Flush()
		next++
		_, _ = c.Write([]byte{1})
	}
}
