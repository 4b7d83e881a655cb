package handover

import (
	"bytes"
	"fmt"
	"math/bits"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// inherited is the set of descriptors that came over an exec: those that are not closed on the next one. What the runtime
// opens by itself is.
type inherited struct {
	open    []uint64 // a bit for each
	claimed []uint64
}

const wordBits = 64

// listInherited must run before the process opens anything that is not closed on exec.
func listInherited() (*inherited, error) {
	size, err := tableSize()
	if err != nil {
		return nil, err
	}
	in := &inherited{open: make([]uint64, size/wordBits+1), claimed: make([]uint64, size/wordBits+1)}
	for fd := 3; fd < size; fd++ {
		flags, _, e := unix.RawSyscall(unix.SYS_FCNTL, uintptr(fd), unix.F_GETFD, 0)
		if e == 0 && flags&unix.FD_CLOEXEC == 0 {
			in.open[fd/wordBits] |= 1 << (fd % wordBits)
		}
	}
	return in, nil
}

// tableSize returns the size of the table of descriptors: none is beyond it. The limit of open files may be a thousand times
// that.
func tableSize() (int, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(status) {
		if v, ok := bytes.CutPrefix(line, []byte("FDSize:")); ok {
			return strconv.Atoi(string(bytes.TrimSpace(v)))
		}
	}
	return 0, fmt.Errorf("%s: no FDSize", "/proc/self/status")
}

// claim takes one descriptor for its new owner. It fails when nobody passed it on, or somebody has it already.
func (in *inherited) claim(fd int) error {
	if fd < 0 || fd/wordBits >= len(in.open) {
		return fmt.Errorf("handover: file %d was not inherited", fd)
	}
	word, bit := fd/wordBits, uint64(1)<<(fd%wordBits)
	if in.open[word]&bit == 0 {
		return fmt.Errorf("handover: file %d was not inherited", fd)
	}
	if in.claimed[word]&bit != 0 {
		return fmt.Errorf("handover: file %d is claimed twice", fd)
	}
	in.claimed[word] |= bit
	return nil
}

// closeRest closes what nobody claimed: links that ended in the predecessor after the fork, and its own affairs.
func (in *inherited) closeRest() (n int) {
	for word := range in.open {
		for rest := in.open[word] &^ in.claimed[word]; rest != 0; rest &= rest - 1 {
			_ = unix.Close(word*wordBits + bits.TrailingZeros64(rest))
			n++
		}
	}
	return n
}
