package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
)

// socketMode lets root and the daemon's group in: whoever may write to the
// socket may drain the box.
const socketMode = 0o660

// probeTimeout bounds the question whether somebody lives behind a socket file.
const probeTimeout = time.Second

// ownFile is a file that this process made. It is removed only while the path
// still leads to it.
type ownFile struct {
	path string
	info os.FileInfo
}

// own remembers the file at path as made by us.
func own(path string) (*ownFile, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	return &ownFile{path: path, info: info}, nil
}

// remove takes the file away unless somebody else's stands there by now. For a
// socket it must be called before the listener is closed: the open socket keeps
// its inode number from being given to a successor's file.
func (f *ownFile) remove() error {
	now, err := os.Lstat(f.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(now, f.info) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(f.path)
}

// socket is one bound address.
type socket struct {
	endpoint endpoint
	listener net.Listener
	file     *ownFile // of a Unix socket, else nil
}

// bind opens e and lets at most conns connections through at a time. A further
// one waits in the kernel's backlog, so that a flood on one address holds
// neither memory nor the other addresses.
func bind(e endpoint, conns int) (*socket, error) {
	s := &socket{endpoint: e}
	var err error
	if e.network == "unix" {
		s.listener, s.file, err = bindUnix(e.address)
	} else {
		s.listener, err = net.Listen("tcp", e.address)
	}
	if err != nil {
		return nil, err
	}
	s.listener = netutil.LimitListener(s.listener, conns)
	return s, nil
}

// String is the address as a client dials it, the port included that the kernel
// chose for port 0.
func (s *socket) String() string {
	if s.endpoint.network == "unix" {
		return s.endpoint.String()
	}
	return s.listener.Addr().String()
}

func (s *socket) close() error {
	var err error
	if s.file != nil {
		err = s.file.remove()
	}
	if e := s.listener.Close(); !errors.Is(e, net.ErrClosed) {
		err = errors.Join(err, e)
	}
	return err
}

func bindUnix(path string) (net.Listener, *ownFile, error) {
	if err := removeStale(path); err != nil {
		return nil, nil, err
	}
	// systemd makes the directory of a packaged daemon; started by hand, the
	// last element (/run/edged) may be missing. Anything above it is not ours.
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	l.SetUnlinkOnClose(false) // by name, whoever's it is: remove looks first
	file, err := own(path)
	if err == nil {
		err = os.Chmod(path, socketMode)
	}
	if err != nil {
		_ = os.Remove(path)
		_ = l.Close()
		return nil, nil, err
	}
	return l, file, nil
}

// removeStale takes away the socket file that a dead process left at path. Of
// two daemons that start at once, the second could find the dead file, lose the
// processor, and remove what the first has bound meanwhile; so the file is moved
// aside and asked once more before it goes.
func removeStale(path string) error {
	if gone, err := dead(path); !gone {
		return err
	}
	aside := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.Rename(path, aside); err != nil {
		return ignoreMissing(err)
	}
	gone, err := dead(aside)
	if err != nil {
		// Not dead after all. Link, unlike Rename, spares what a third one has bound.
		return errors.Join(err, os.Link(aside, path), os.Remove(aside))
	}
	if gone {
		return ignoreMissing(os.Remove(aside))
	}
	return nil
}

// dead says whether path is a socket that nobody listens on. Without an error
// there may also be nothing at all.
func dead(path string) (bool, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return false, ignoreMissing(err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return false, fmt.Errorf("%s is there and is not a socket", path)
	}
	c, err := net.DialTimeout("unix", path, probeTimeout)
	switch {
	case err == nil:
		_ = c.Close()
		return false, fmt.Errorf("another edged serves %s", path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return true, nil
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, os.ErrDeadlineExceeded):
		return false, fmt.Errorf("another edged serves %s and is too busy to answer", path)
	}
	return false, ignoreMissing(err)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
