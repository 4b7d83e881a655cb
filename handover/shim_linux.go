package handover

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// The descriptors of links are not closed on exec, so that a successor has them: setting and clearing that for each would cost a
// system call a link. So every other child process would inherit all links, and keep them open after their end. Such a child is
// therefore started as this binary once more, whose first act is to let go of them, and which becomes the wanted program then.
const shimName = "edged-shim"

// Shim must be the first call of main. In a process that Start has started it becomes the wanted program, and does not return.
func Shim() {
	if len(os.Args) < 4 || os.Args[0] != shimName {
		return
	}
	keep, err := strconv.Atoi(os.Args[1])
	if err == nil {
		err = closeOnExecFrom(max(keep, 3))
	}
	if err == nil {
		err = os.NewSyscallError("exec", syscall.Exec(os.Args[2], os.Args[3:], os.Environ()))
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[2], err)
	os.Exit(127)
}

// Start starts a program without the links. It is os.StartProcess in all else: path is not searched for, args begin with the
// program's name, and attr.Files are its descriptors.
func Start(path string, args []string, attr *os.ProcAttr) (*os.Process, error) {
	if len(args) == 0 {
		return nil, errors.New("handover: a program without a name")
	}
	shim := append([]string{shimName, strconv.Itoa(len(attr.Files)), path}, args...)
	// In the child this is the file that runs here, even if another one has taken its place on the disk.
	return os.StartProcess("/proc/self/exe", shim, attr)
}

// closeOnExecFrom marks all descriptors from first on.
func closeOnExecFrom(first int) error {
	err := unix.CloseRange(uint(first), math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	// Linux before 5.11 knows no such flag, before 5.9 no such call.
	fds, err := openFiles()
	for _, fd := range fds {
		if fd >= first {
			unix.CloseOnExec(fd)
		}
	}
	return err
}

// openFiles lists this process's descriptors.
func openFiles() ([]int, error) {
	names, err := readNames("/proc/self/fd")
	fds := make([]int, 0, len(names))
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil {
			fds = append(fds, fd)
		}
	}
	return fds, err
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	return d.Readdirnames(-1)
}
