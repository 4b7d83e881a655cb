package handover

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// keeperConn is a connection between gateway and keeper, with room for one message.
type keeperConn struct {
	*net.UnixConn
	buf, oob []byte
	fds      []int
}

func newKeeperConn(c *net.UnixConn) *keeperConn {
	return &keeperConn{UnixConn: c, buf: make([]byte, keeperMessage), oob: make([]byte, unix.CmsgSpace(4*mostFiles))}
}

// read returns the next message until at. Its descriptors are the caller's, its slices lent until the next read.
func (c *keeperConn) read(at time.Time) (keeperMsg, error) {
	if err := c.SetReadDeadline(at); err != nil {
		return keeperMsg{}, err
	}
	n, oobn, flags, _, err := c.ReadMsgUnix(c.buf, c.oob)
	if errors.Is(err, unix.ECONNRESET) {
		// The other side ended with something unread; what it had sent before is still to be had (unix_release_sock).
		n, oobn, flags, _, err = c.ReadMsgUnix(c.buf, c.oob)
	}
	if err != nil {
		return keeperMsg{}, err
	}
	c.fds = receivedFiles(c.fds[:0], c.oob[:oobn]) // some are missing (MSG_CTRUNC) when the table of descriptors is full
	m, err := parseKeeperMessage(c.buf[:n])
	if err == nil && flags&unix.MSG_TRUNC != 0 {
		err = errors.New("a message that is cut off")
	}
	if err != nil {
		closeFiles(c.fds)
		return keeperMsg{}, err
	}
	m.fds = c.fds
	return m, nil
}

// write sends one message until at.
func (c *keeperConn) write(at time.Time, b []byte, fds ...int) error {
	if err := c.SetWriteDeadline(at); err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for {
		_, _, err := c.WriteMsgUnix(b, oob, nil)
		// The descriptors of this user that are on their way are as many as one process may have open: the other side is slow.
		if !errors.Is(err, unix.ETOOMANYREFS) || time.Now().After(at) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

func closeFiles(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// peerUser returns the user of the other side's process.
func peerUser(c syscall.Conn) (uid uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil {
		return 0, e
	}
	if err != nil {
		return 0, os.NewSyscallError("getsockopt", err)
	}
	return cred.Uid, nil
}

// Harden takes from this process what a keeper has no use for: capabilities, new privileges by exec, and being looked into by
// others of its user. What the kernel does not know it goes without.
func Harden() error {
	var errs []error
	check := func(what string, e syscall.Errno) {
		// ENOTSUP: a binary with cgo, as one of the race detector, cannot do it for all threads.
		if e != 0 && e != unix.EINVAL && e != unix.ENOTSUP {
			errs = append(errs, os.NewSyscallError(what, e))
		}
	}
	_, _, e := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0)
	check("prctl no_new_privs", e)
	check("capset", dropCapabilities())
	_, _, e = syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0)
	check("prctl dumpable", e)
	return errors.Join(errs...)
}

// dropCapabilities empties the three sets of every thread (capset(2), version 3: two words each).
func dropCapabilities() syscall.Errno {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, e := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&none[0])), 0)
	return e
}
