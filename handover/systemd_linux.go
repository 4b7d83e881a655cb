package handover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// firstPassed is where the sockets that systemd passes begin (SD_LISTEN_FDS_START, sd_listen_fds(3)).
const firstPassed = 3

// Socket is a listening socket that was passed to this process.
type Socket struct {
	Name string // FileDescriptorName of the socket unit; several sockets may have one name
	FD   int
}

// ListenFDs returns the sockets that systemd passed to this process, in its order, and forgets them in the environment, so that
// no child takes them for its own. They stay open over an exec: a successor inherits them. Passed to another process, or none,
// there are none.
func ListenFDs() ([]Socket, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(v)
	}
	if count == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > 1<<16 {
		return nil, fmt.Errorf("handover: LISTEN_FDS=%q", count)
	}
	var named []string
	if names != "" {
		named = strings.Split(names, ":")
	}
	sockets := make([]Socket, n)
	for i := range sockets {
		fd := firstPassed + i
		// What this process has opened itself is closed on exec.
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
			return nil, fmt.Errorf("handover: LISTEN_FDS=%q, but file %d was not passed", count, fd)
		}
		sockets[i] = Socket{Name: "unknown", FD: fd} // what systemd calls one without a name
		if i < len(named) && named[i] != "" {
			sockets[i].Name = named[i]
		}
	}
	return sockets, nil
}

// Systemd is the Supervisor of a unit with Type=notify. It speaks as sd_notify(3) says.
type Systemd struct {
	socket string
}

// NewSystemd returns the supervisor that NOTIFY_SOCKET names, nil if there is none.
func NewSystemd() *Systemd {
	s := os.Getenv("NOTIFY_SOCKET")
	if s == "" {
		return nil
	}
	return &Systemd{s}
}

// Notify sends lines of assignments, as "STATUS=...".
func (s *Systemd) Notify(lines ...string) error { return s.send(strings.Join(lines, "\n"), -1) }

// Reloading tells systemd of a reload. A unit of Type=notify-reload wants to know since when (systemd 253).
func (s *Systemd) Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return os.NewSyscallError("clock_gettime", err)
	}
	return s.Notify("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}

// Ready tells systemd that the service serves. It is a sign of life as well: the watchdog's time runs on over a reload, and the
// next one's turn may come after it (seen with systemd 252 when reloads follow each other faster than such signs).
func (s *Systemd) Ready(status string) error {
	return s.Notify("READY=1", "WATCHDOG=1", "STATUS="+oneLine(status))
}

// MainPID tells systemd which process is the service's. With NotifyAccess=main only that one is heard from then on, and the end
// of the present one means nothing any more; so this waits until systemd has read it (BARRIER, systemd 246; an older one closes
// the descriptor that comes along just as well).
func (s *Systemd) MainPID(ctx context.Context, pid int) error {
	if err := s.Notify("MAINPID=" + strconv.Itoa(pid)); err != nil {
		return err
	}
	return s.barrier(ctx)
}

func (s *Systemd) barrier(ctx context.Context) error {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	r := os.NewFile(uintptr(pipe[0]), "barrier")
	defer func() { _ = r.Close() }()
	err := s.send("BARRIER=1", pipe[1])
	_ = unix.Close(pipe[1])
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := r.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("systemd did not read its messages in time: %w", context.Cause(ctx))
	}
	return nil
}

func (s *Systemd) send(text string, fd int) error {
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(sock) }()
	var oob []byte
	if fd >= 0 {
		oob = unix.UnixRights(fd)
	}
	limit := unix.NsecToTimeval(int64(time.Second)) // systemd may be busy; it is not waited for
	_ = unix.SetsockoptTimeval(sock, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	// A name that begins with @ is an abstract one: x/sys turns the @ into a zero byte.
	for err = unix.EINTR; errors.Is(err, unix.EINTR); { // a signal of the runtime's while it waits
		err = unix.Sendmsg(sock, []byte(text), oob, &unix.SockaddrUnix{Name: s.socket}, unix.MSG_NOSIGNAL)
	}
	if err != nil {
		return fmt.Errorf("notify %s: %w", s.socket, os.NewSyscallError("sendmsg", err))
	}
	return nil
}
