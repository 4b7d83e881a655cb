package tuning

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrBusy says that another process is at work on the box's settings, or waits for a confirmation.
var ErrBusy = errors.New("another edged changes the settings of this box, or waits to have them confirmed")

// lock makes the caller the only one who changes settings, until unlock is called or the process ends, however it
// does: the lock is of an open file, so that none is left behind.
func (b *Box) lock() (unlock func(), err error) {
	file := b.statePath() + ".lock"
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, fmt.Errorf("lock the settings: %w", err)
	}
	fd, err := openFile(file, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the settings: %w", &os.PathError{Op: "open", Path: file, Err: err})
	}
	if err := flock(fd); err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrBusy
		}
		return nil, fmt.Errorf("lock the settings: %w", os.NewSyscallError("flock", err))
	}
	return func() {
		_ = unix.Flock(fd, unix.LOCK_UN) // a child that is between fork and exec has the descriptor too
		_ = unix.Close(fd)
	}, nil
}

// openFile opens a file; a signal does not interrupt it, such as the runtime sends to its own threads.
func openFile(file string, flags int, mode uint32) (fd int, err error) {
	for {
		if fd, err = unix.Open(file, flags, mode); !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// flock takes the lock if it is free.
func flock(fd int) error {
	for {
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// readTrusted reads a file that root or the caller wrote: the directory may belong to the gateway's user, who must not have
// root write values of his. What is looked at is what is read, whatever has the name by then.
func readTrusted(file string) ([]byte, error) {
	fd, err := openFile(file, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%w: %s is a link", ErrUnsafe, file)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: file, Err: err}
	}
	f := os.NewFile(uintptr(fd), file)
	defer f.Close() // it was only read
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: file, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("%w: %s is no file", ErrUnsafe, file)
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return nil, fmt.Errorf("%w: %s belongs to user %d", ErrUnsafe, file, st.Uid)
	case st.Mode&0o022 != 0:
		return nil, fmt.Errorf("%w: others may write %s", ErrUnsafe, file)
	}
	return io.ReadAll(io.LimitReader(f, mostOfFile))
}

// netNS returns the inode of the calling thread's network namespace; 0 where it cannot be told.
func (b *Box) netNS() uint64 {
	var st unix.Stat_t
	if unix.Stat(b.path("proc/thread-self/ns/net"), &st) != nil {
		return 0
	}
	return st.Ino
}
