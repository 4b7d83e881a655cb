package handover

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// channel is one end of the pair of sockets between the old and the new process.
type channel struct {
	file *os.File
	raw  syscall.RawConn
	buf  []byte
	oob  []byte
}

// newChannel returns this process's end and the descriptor of the other one, both closed on exec.
func newChannel() (ours *channel, theirs int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, -1, os.NewSyscallError("socketpair", err)
	}
	ours, err = openChannel(pair[0])
	if err != nil {
		_ = unix.Close(pair[0])
		_ = unix.Close(pair[1])
		return nil, -1, err
	}
	return ours, pair[1], nil
}

// openChannel makes a channel of a descriptor, which it owns from then on.
func openChannel(fd int) (*channel, error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	domain, err2 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || err2 != nil || kind != unix.SOCK_SEQPACKET || domain != unix.AF_UNIX {
		return nil, fmt.Errorf("handover: file %d is no end of a hand-over", fd)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	c := &channel{file: os.NewFile(uintptr(fd), "handover"), buf: make([]byte, maxMessage), oob: make([]byte, unix.CmsgSpace(4))}
	if c.raw, err = c.file.SyscallConn(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *channel) close() { _ = c.file.Close() }

// send sends one message until at, with fd, if it is not negative, as a duplicate for the other process.
func (c *channel) send(at time.Time, kind messageKind, body string, fd int) error {
	if len(body)+2 > maxMessage {
		return fmt.Errorf("a message of %d bytes", len(body))
	}
	if err := c.file.SetWriteDeadline(at); err != nil {
		return err
	}
	var oob []byte
	if fd >= 0 {
		oob = unix.UnixRights(fd)
	}
	b := appendMessage(nil, kind, body)
	var err error
	e := c.raw.Write(func(s uintptr) bool {
		err = unix.Sendmsg(int(s), b, oob, nil, unix.MSG_NOSIGNAL)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	if e != nil {
		return e
	}
	return os.NewSyscallError("sendmsg", err)
}

// receive returns the next message, io.EOF when the other process has ended or closed its end, os.ErrDeadlineExceeded at at or
// when ctx ends.
func (c *channel) receive(ctx context.Context, at time.Time) (message, error) {
	if err := c.file.SetReadDeadline(at); err != nil {
		return message{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var n, oobn, flags int
	var err error
	e := c.raw.Read(func(s uintptr) bool {
		n, oobn, flags, _, err = unix.Recvmsg(int(s), c.buf, c.oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.ECONNRESET) {
			// The other process ended with something unread; what it had said before is still to be heard (unix_release_sock).
			n, oobn, flags, _, err = unix.Recvmsg(int(s), c.buf, c.oob, unix.MSG_CMSG_CLOEXEC)
		}
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	switch {
	case e != nil:
		return message{}, e
	case errors.Is(err, unix.ECONNRESET):
		return message{}, io.EOF
	case err != nil:
		return message{}, os.NewSyscallError("recvmsg", err)
	}
	fd := onlyFile(c.oob[:oobn])
	m, err := parseMessage(c.buf[:n])
	if n == 0 {
		err = io.EOF // an empty message is never sent
	} else if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errors.New("a message that is cut off")
	}
	if err != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return message{}, err
	}
	m.fd = fd
	return m, nil
}

// onlyFile returns the one descriptor that came with a message, -1 if there is none; of several, the others are closed.
func onlyFile(oob []byte) int {
	got := -1
	for _, fd := range receivedFiles(nil, oob) {
		if got < 0 {
			got = fd
		} else {
			_ = unix.Close(fd)
		}
	}
	return got
}

// receivedFiles appends the descriptors that came with a message. It does not allocate, as unix.ParseSocketControlMessage would: a
// keeper's garbage would be more than what it keeps.
func receivedFiles(fds []int, oob []byte) []int {
	for len(oob) >= unix.SizeofCmsghdr {
		head := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
		if head.Len < unix.SizeofCmsghdr || uint64(head.Len) > uint64(len(oob)) {
			break
		}
		n := int(head.Len)
		if head.Level == unix.SOL_SOCKET && head.Type == unix.SCM_RIGHTS {
			for data := oob[unix.CmsgLen(0):n]; len(data) >= 4; data = data[4:] {
				fds = append(fds, int(int32(binary.NativeEndian.Uint32(data))))
			}
		}
		oob = oob[min(unix.CmsgSpace(n-unix.CmsgLen(0)), len(oob)):]
	}
	return fds
}
