package h2

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// attempt writes to a socket what it takes at once. It lends itself to net's lock of the descriptor as one function made
// beforehand, so that a write allocates nothing.
type attempt struct {
	write func(fd uintptr) bool
	p     []byte
	n     int
	err   error
}

func (a *attempt) prepare() { a.write = a.once }

func (a *attempt) once(fd uintptr) bool {
	for {
		a.n, a.err = unix.Write(int(fd), a.p)
		if a.err != unix.EINTR {
			return true // done, or not to be waited for
		}
	}
}

// on returns how many bytes the socket took. None is no error if it is full.
func (a *attempt) on(raw syscall.RawConn, p []byte) (int, error) {
	a.p = p
	err := raw.Write(a.write)
	a.p = nil
	switch {
	case err != nil:
		return 0, err
	case a.err == unix.EAGAIN:
		return 0, nil
	}
	return max(a.n, 0), a.err
}

// setUserTimeout bounds how long the kernel waits for an acknowledgement (TCP_USER_TIMEOUT, milliseconds). A socket that
// is not TCP has no such thing.
func setUserTimeout(conn net.Conn, raw syscall.RawConn, d time.Duration) error {
	if _, ok := conn.(*net.TCPConn); !ok || d <= 0 {
		return nil
	}
	var err error
	if e := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	}); e != nil {
		return e
	}
	return err
}
