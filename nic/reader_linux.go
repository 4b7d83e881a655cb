package nic

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Ways of a Reader, best first. It goes to the next where the kernel refuses one, and never back.
const (
	viaStats = iota // RTM_GETSTATS: the counters and nothing else
	viaLink         // RTM_GETLINK: counters among all else that is known about an interface
	viaFiles        // sysfs
)

const (
	replySize   = 32 << 10        // RTM_GETLINK answers with some 2 KiB; a longer one is cut by the kernel and has no counters
	replyWait   = 1 * time.Second // the answer is there when the request has been sent
	staleAnswer = 16              // answers to requests that were given up, read away before the wanted one
)

// Reader reads counters. It is of one goroutine. Its netlink socket belongs to the network namespace of the thread that
// made it, whoever calls Read.
type Reader struct {
	via   int
	sock  socket // nil: netlink is denied
	seq   uint32
	req   []byte // reused
	reply []byte // reused
	files *files
}

// socket is a netlink socket; tests replace it.
type socket interface {
	Send(p []byte) error
	Receive(p []byte) (int, error)
	Port() uint32
	Close() error
}

// NewReader returns a Reader, which the caller must close. Where netlink is denied it reads sysfs; where that is not there
// either, it returns why.
func (h Host) NewReader() (*Reader, error) {
	r := &Reader{files: newFiles(h.sys())}
	sock, err := openRoute()
	if err == nil {
		r.sock, r.req, r.reply = sock, make([]byte, 0, 64), make([]byte, replySize)
		return r, nil
	}
	if _, statErr := os.Stat(h.sys().path("", "")); statErr != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	r.via = viaFiles
	return r, nil
}

// Read returns the counters of the interface of that index; name is used where sysfs is read. ErrGone says that there is no
// such interface; another error concerns this one read. It does not allocate where it succeeds.
func (r *Reader) Read(index int, name string) (Counters, error) {
	if index <= 0 {
		return Counters{}, ErrGone
	}
	for {
		c, err := r.read(index, name)
		switch {
		case err == nil:
			return c, nil
		case errors.Is(err, unix.ENODEV), errors.Is(err, os.ErrNotExist):
			return Counters{}, ErrGone
		case r.via != viaFiles && refused(err):
			r.via++
		default:
			return Counters{}, fmt.Errorf("read counters of %s from %s: %w", name, r.Source(), err)
		}
	}
}

// refused says whether another way may do better, as with a kernel before 4.7 or one that is not Linux.
func refused(err error) bool {
	switch {
	case errors.Is(err, errNoCounters), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL),
		errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOSYS):
		return true
	}
	return false
}

func (r *Reader) read(index int, name string) (Counters, error) {
	switch r.via {
	case viaStats:
		r.seq++
		r.req = appendStatsRequest(r.req[:0], index, r.seq)
		return r.ask(index)
	case viaLink:
		r.seq++
		r.req = appendLinkRequest(r.req[:0], index, r.seq)
		return r.ask(index)
	default:
		return r.files.read(index, name)
	}
}

// ask sends r.req and awaits its answer.
func (r *Reader) ask(index int) (Counters, error) {
	if err := r.sock.Send(r.req); err != nil {
		return Counters{}, err
	}
	for range staleAnswer {
		n, err := r.sock.Receive(r.reply)
		if err != nil {
			return Counters{}, err
		}
		if c, ours, err := parseReply(r.reply[:n], r.seq, r.sock.Port(), index); ours {
			return c, err
		}
	}
	return Counters{}, errors.New("no answer among others")
}

// Source names the way that Read goes: "RTM_GETSTATS", "RTM_GETLINK" or "sysfs".
func (r *Reader) Source() string { return [...]string{"RTM_GETSTATS", "RTM_GETLINK", "sysfs"}[r.via] }

// Close gives back what the Reader holds.
func (r *Reader) Close() error {
	r.files.close()
	if r.sock == nil {
		return nil
	}
	return r.sock.Close()
}

// routeSocket is a blocking socket of NETLINK_ROUTE. The kernel works on a request and queues its answer while it is being
// sent, and may wait for the rtnl lock there: hence ordinary system calls, which tell the Go scheduler.
type routeSocket struct {
	fd   int
	port uint32
}

func openRoute() (*routeSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &routeSocket{fd: fd}
	if err := s.bind(); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// bind gets the socket its port and makes the kernel its peer.
func (s *routeSocket) bind() error {
	wait := unix.NsecToTimeval(int64(replyWait))
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	own, err := unix.Getsockname(s.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	s.port = own.(*unix.SockaddrNetlink).Pid
	return os.NewSyscallError("connect", unix.Connect(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
}

func (s *routeSocket) Port() uint32 { return s.port }

func (s *routeSocket) Send(p []byte) error {
	for {
		if _, err := unix.Write(s.fd, p); err != unix.EINTR {
			return syscallError("write", err)
		}
	}
}

func (s *routeSocket) Receive(p []byte) (int, error) {
	for {
		n, err := unix.Read(s.fd, p)
		if err != unix.EINTR {
			return n, syscallError("read", err)
		}
	}
}

func (s *routeSocket) Close() error { return os.NewSyscallError("close", unix.Close(s.fd)) }

// syscallError says that the wait ran out where the kernel says EAGAIN.
func syscallError(call string, err error) error {
	if err == syscall.EAGAIN {
		return fmt.Errorf("%s: no answer within %v", call, replyWait)
	}
	return os.NewSyscallError(call, err)
}
