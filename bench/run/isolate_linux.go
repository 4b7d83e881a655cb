package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// congestionFile is per network namespace, and shows that of the thread that opens it.
const congestionFile = "/proc/sys/net/ipv4/tcp_congestion_control"

// isolate moves the calling thread, and what it starts from now on, into a new network namespace whose TCP does not pace:
// BBR, the default of some machines, spreads what goes over loopback and adds its timers to every message.
func isolate() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	return os.WriteFile(congestionFile, []byte("reno"), 0)
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

func congestionControl() string {
	b, err := os.ReadFile(congestionFile)
	if err != nil {
		return "unknown congestion control"
	}
	return strings.TrimSpace(string(b))
}

// onCPU calls f with the calling thread bound to one CPU. What f starts stays bound to it; the thread does not.
func onCPU(cpu int, f func() error) error {
	var old, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return os.NewSyscallError("sched_setaffinity", err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &old) }()
	return f()
}

// firstCPUs returns the first n CPUs that this process may run on; fewer if there are fewer.
func firstCPUs(n int) []int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	var cpus []int
	for cpu := 0; len(cpus) < min(n, set.Count()); cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}
