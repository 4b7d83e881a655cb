package admin

import (
	"crypto/rand"
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

// besideLen is how much longer than a path the name is that beside makes of it.
const besideLen = 8

// ownFile is a file that this process made, or the one before. It is removed only while the path
// still leads to it.
type ownFile struct {
	path      string
	info      os.FileInfo
	inherited bool
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
	endpoint  endpoint
	still     *still
	listener  net.Listener // still, with a bound
	file      *ownFile     // of a Unix socket, else nil
	inherited bool
}

// bind opens e and lets at most conns connections through at a time. A further
// one waits in the kernel's backlog, so that a flood on one address holds
// neither memory nor the other addresses.
func bind(e endpoint, conns int, inherited func(listen string) (fd int, ok bool)) (*socket, error) {
	s := &socket{endpoint: e}
	var l net.Listener
	if inherited != nil {
		if fd, ok := inherited(e.String()); ok {
			l, s.file = adopt(e, fd)
			s.inherited = l != nil
		}
	}
	var err error
	switch {
	case l != nil:
	case e.network == "unix":
		l, s.file, err = bindUnix(e.address)
	default:
		l, err = net.Listen("tcp", e.address)
	}
	if err != nil {
		return nil, err
	}
	s.still = newStill(l)
	s.listener = netutil.LimitListener(s.still, conns)
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

// bindUnix listens on path. Two daemons that start at once over the file of a
// dead one must not both believe to have it. So the socket is made under another
// name, and gets its own only when it listens and has its mode: Link, unlike
// bind and Rename, is at once complete and refused where something stands.
func bindUnix(path string) (net.Listener, *ownFile, error) {
	// systemd makes the directory of a packaged daemon; started by hand, the
	// last element (/run/edged) may be missing. Anything above it is not ours.
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, nil, err
	}
	fresh := beside(path)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	l.SetUnlinkOnClose(false) // by name, whoever's it is: ownFile.remove looks first
	file, err := publish(fresh, path)
	if err = errors.Join(err, os.Remove(fresh)); err != nil {
		_ = l.Close()
		return nil, nil, err
	}
	return l, file, nil
}

// beside is a name in the directory of path that nobody else uses.
func beside(path string) string { return path + "." + rand.Text()[:besideLen-1] }

// publish gives the socket at fresh the name path as well.
func publish(fresh, path string) (*ownFile, error) {
	if err := os.Chmod(fresh, socketMode); err != nil {
		return nil, err
	}
	info, err := os.Lstat(fresh)
	if err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	err = os.Link(fresh, path)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("another edged serves %s", path) // since a moment ago
	}
	if err != nil {
		return nil, err
	}
	return &ownFile{path: path, info: info}, nil
}

// removeStale takes away the socket file that a dead process left at path. What
// is found dead may be another daemon's fresh socket a moment later, so the file
// is moved aside and asked once more before it goes.
func removeStale(path string) error {
	if gone, err := dead(path); !gone {
		return err
	}
	aside := beside(path)
	if err := os.Rename(path, aside); err != nil {
		return ignoreMissing(err)
	}
	if _, err := dead(aside); err != nil {
		return errors.Join(err, os.Link(aside, path), os.Remove(aside))
	}
	return os.Remove(aside)
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
