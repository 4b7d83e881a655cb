package h2

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is the connection of a call.
type socket interface {
	// Read waits for input, but on a polled socket, where it returns errEmpty when there is none.
	Read(p []byte) (int, error)
	// Write waits until all is written.
	Write(p []byte) (int, error)
	// try writes what the socket takes at once. None is no error if it is full.
	try(p []byte) (int, error)
	Close() error
}

// errEmpty is why a polled socket returns nothing.
var errEmpty = errors.New("h2: nothing to read")

// pooled is a socket as the net package has it, in the runtime's netpoller. Its system calls never block, and so are raw: sysmon, which
// wakes every 20 µs to take their processor from threads that stay in a system call, has nothing to do. They lend themselves to net's
// lock of the descriptor as functions made beforehand, so that nothing is allocated.
type pooled struct {
	net.Conn
	raw syscall.RawConn

	in, out                             transfer
	read, readOnce, writeAll, writeOnce func(fd uintptr) bool
}

// transfer is what one direction is about.
type transfer struct {
	p   []byte
	n   int
	err error
}

func newPooled(conn net.Conn) (*pooled, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil, errors.New("h2: the connection has no descriptor")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &pooled{Conn: conn, raw: raw}
	s.read = func(fd uintptr) bool { return s.in.step(unix.SYS_READ, fd) }
	s.readOnce = func(fd uintptr) bool {
		if !s.in.step(unix.SYS_READ, fd) {
			s.in.err = errEmpty
		}
		return true
	}
	s.writeAll = func(fd uintptr) bool {
		for s.out.step(unix.SYS_WRITE, fd) {
			if s.out.err != nil || s.out.n == len(s.out.p) {
				return true
			}
		}
		return false
	}
	s.writeOnce = func(fd uintptr) bool {
		s.out.step(unix.SYS_WRITE, fd)
		return true
	}
	return s, nil
}

// step makes one system call for what is left. It returns false if the socket is not ready for it.
func (t *transfer) step(number, fd uintptr) bool {
	rest := t.p[t.n:]
	if len(rest) == 0 {
		return true
	}
	for {
		n, _, e := unix.RawSyscall(number, fd, uintptr(unsafe.Pointer(&rest[0])), uintptr(len(rest)))
		switch e {
		case 0:
			t.n += int(n)
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			t.err = e
			return true
		}
	}
}

// do carries p through how, which is made of step.
func (s *pooled) do(t *transfer, p []byte, via func(func(uintptr) bool) error, how func(uintptr) bool, name string) (int, error) {
	*t = transfer{p: p}
	err := via(how)
	t.p = nil
	if err == nil && t.err != nil {
		err = named(name, t.err)
	}
	return t.n, err
}

func (s *pooled) Read(p []byte) (int, error) { return s.input(p, s.read) }

// tryRead is Read that returns errEmpty instead of waiting.
func (s *pooled) tryRead(p []byte) (int, error) { return s.input(p, s.readOnce) }

func (s *pooled) input(p []byte, how func(uintptr) bool) (int, error) {
	n, err := s.do(&s.in, p, s.raw.Read, how, "read")
	if n == 0 && err == nil && len(p) > 0 {
		err = io.EOF
	}
	return n, err
}

func (s *pooled) Write(p []byte) (int, error) {
	return s.do(&s.out, p, s.raw.Write, s.writeAll, "write")
}

func (s *pooled) try(p []byte) (int, error) {
	return s.do(&s.out, p, s.raw.Write, s.writeOnce, "write")
}

// polled is a socket that the runtime's netpoller does not know, which otherwise would wake a thread for all that comes. Its system
// calls but poll never block, and so are raw. The descriptor is closed when nobody is in one of them, and nobody holds it, any more.
type polled struct {
	fd   int
	word atomic.Int64 // how many use the descriptor; and polledClosed
}

const polledClosed = 1 << 62

// newPolled takes a connection over from net.
func newPolled(s *pooled) (*polled, error) {
	fd, err := -1, error(nil)
	if e := s.raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
		return nil, e
	}
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	_ = s.Close() // the duplicate lives on
	return &polled{fd: fd}, nil
}

// use keeps the descriptor open until leave. It returns false once it is closed.
func (s *polled) use() bool {
	for {
		w := s.word.Load()
		if w&polledClosed != 0 {
			return false
		}
		if s.word.CompareAndSwap(w, w+1) {
			return true
		}
	}
}

func (s *polled) leave() {
	if s.word.Add(-1) == polledClosed {
		_ = unix.Close(s.fd) // nothing can be done about an error
	}
}

// Close ends the connection: who waits for it, and who watches it, finds the end.
func (s *polled) Close() error {
	for {
		w := s.word.Load()
		if w&polledClosed != 0 {
			return net.ErrClosed
		}
		if s.word.CompareAndSwap(w, (w+1)|polledClosed) {
			break
		}
	}
	_ = unix.Shutdown(s.fd, unix.SHUT_RDWR) // the peer may be gone
	s.leave()
	return nil
}

// call reads or writes once.
func (s *polled) call(number uintptr, p []byte) (int, error) {
	if !s.use() {
		return 0, net.ErrClosed
	}
	defer s.leave()
	for {
		n, _, e := unix.RawSyscall(number, uintptr(s.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		if e == 0 {
			return int(n), nil
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

func (s *polled) Read(p []byte) (int, error) {
	n, err := s.call(unix.SYS_READ, p)
	switch {
	case err == unix.EAGAIN:
		return 0, errEmpty
	case err != nil:
		return 0, named("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (s *polled) try(p []byte) (int, error) {
	n, err := s.call(unix.SYS_WRITE, p)
	switch {
	case err == unix.EAGAIN:
		return 0, nil
	case err != nil:
		return 0, named("write", err)
	}
	return n, nil
}

func (s *polled) Write(p []byte) (int, error) {
	for done := 0; ; {
		n, err := s.try(p[done:])
		if done += n; err != nil || done == len(p) {
			return done, err
		}
		if err := s.await(unix.POLLOUT); err != nil {
			return done, err
		}
	}
}

func (s *polled) awaitInput() error { return s.await(unix.POLLIN) }

// await waits for the socket, with a thread of its own. It returns when the socket is closed, too.
func (s *polled) await(events int16) error {
	if !s.use() {
		return net.ErrClosed
	}
	defer s.leave()
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: events}}, -1)
		if err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
	}
}

// named says which system call failed.
func named(call string, err error) error {
	if errno, ok := err.(syscall.Errno); ok {
		return os.NewSyscallError(call, errno)
	}
	return err
}

// setUserTimeout bounds how long the kernel waits for an acknowledgement (TCP_USER_TIMEOUT, milliseconds). A socket that
// is not TCP has no such thing.
func setUserTimeout(s *pooled, d time.Duration) error {
	if _, ok := s.Conn.(*net.TCPConn); !ok || d <= 0 {
		return nil
	}
	var err error
	if e := s.raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	}); e != nil {
		return e
	}
	return err
}
