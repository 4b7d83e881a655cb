package handover

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mfdNoexecSeal says that the file will never be a program (MFD_NOEXEC_SEAL, Linux 6.3); an older kernel does not know it.
const mfdNoexecSeal = 0x8

const allSeals = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL

// stateFile is a memfd to which the parts of a state are appended. Its memory is there, mapped and touched, before anything
// stands still; each part has a region of its own, so that several are written at once. A part that outgrows its region is
// moved to the heap by append itself and written behind the others.
type stateFile struct {
	fd      int
	mem     []byte // nil once sealed
	parts   []Part
	regions []region
	size    int64
}

type region struct{ at, n int }

// mostExpected bounds what is made ready: a part that expects more has lost its count.
const mostExpected = 8 << 30

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// newStateFile makes the memory for what the parts expect to write.
func newStateFile(parts []Part) (*stateFile, error) {
	page := os.Getpagesize()
	f := &stateFile{parts: parts}
	size := roundUp(headBytes+len(parts)*entryBytes, page)
	for _, p := range parts {
		if p.Expect < 0 || p.Expect > mostExpected-size {
			return nil, fmt.Errorf("handover: part %s expects %d bytes", p.Name, p.Expect)
		}
		n := roundUp(p.Expect+p.Expect/4+1, page)
		f.regions = append(f.regions, region{size, n})
		size += n
	}
	var err error
	if f.fd, err = newMemfd("edged-handover"); err != nil {
		return nil, err
	}
	f.size = int64(size)
	f.mem, err = unix.Mmap(f.fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err == nil {
		// By fallocate a lack of memory is an error here; found out by touching a page it would be a signal.
		err = unix.Fallocate(f.fd, 0, 0, f.size)
	}
	if err != nil {
		f.close()
		return nil, fmt.Errorf("%d bytes for the state: %w", size, err)
	}
	_ = unix.Madvise(f.mem, unix.MADV_POPULATE_WRITE) // Linux 5.14; without it each page costs a fault while the links stand still
	return f, nil
}

func newMemfd(name string) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|mfdNoexecSeal)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	return fd, nil
}

// write has every part append itself, in the version chosen for it, and writes the table. No version: left out.
func (f *stateFile) write(versions []uint16) error {
	written := make([][]byte, len(f.parts))
	entries := make([]entry, len(f.parts))
	errs := make([]error, len(f.parts))
	eachAtOnce(len(f.parts), func(i int) {
		if versions[i] == 0 {
			return
		}
		p, r := f.parts[i], f.regions[i]
		b, err := p.Append(f.mem[r.at:r.at:r.at+r.n], versions[i])
		if err != nil {
			errs[i] = fmt.Errorf("%s: %w", p.Name, err)
			return
		}
		written[i] = b
		entries[i] = entry{p.Name, versions[i], crc32.Checksum(b, castagnoli), uint64(r.at), uint64(len(b))}
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	table := entries[:0]
	for i, b := range written {
		if versions[i] == 0 {
			continue
		}
		if e := &entries[i]; !f.inRegion(b, f.regions[i]) {
			if err := f.writeBehind(e, b); err != nil {
				return err
			}
		}
		table = append(table, entries[i])
	}
	putHead(f.mem, table, uint64(f.size))
	return nil
}

func (f *stateFile) inRegion(b []byte, r region) bool {
	return len(b) == 0 || unsafe.SliceData(b) == &f.mem[r.at]
}

func (f *stateFile) writeBehind(e *entry, b []byte) error {
	e.at = uint64(f.size)
	for at := f.size; len(b) > 0; {
		n, err := unix.Pwrite(f.fd, b, at)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("%s: %w", e.name, os.NewSyscallError("pwrite", err))
		}
		b, at, f.size = b[max(n, 0):], at+int64(max(n, 0)), at+int64(max(n, 0))
	}
	return nil
}

// seal makes the file unchangeable for both processes: nobody can shorten it under a reader, which would be a SIGBUS.
func (f *stateFile) seal() error {
	f.unmap()
	if _, err := unix.FcntlInt(uintptr(f.fd), unix.F_ADD_SEALS, allSeals); err != nil {
		return os.NewSyscallError("seal", err)
	}
	return nil
}

func (f *stateFile) unmap() {
	if f.mem != nil {
		_ = unix.Munmap(f.mem)
		f.mem = nil
	}
}

func (f *stateFile) close() {
	f.unmap()
	if f.fd >= 0 {
		_ = unix.Close(f.fd)
		f.fd = -1
	}
}

// mapState maps the state that a predecessor wrote, sealed, into fd.
func mapState(fd int) ([]byte, error) {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&allSeals != allSeals {
		return nil, fmt.Errorf("%w: the file is not sealed", ErrFile)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if st.Size < headBytes || st.Size > math.MaxInt {
		return nil, fmt.Errorf("%w: %d bytes", ErrFile, st.Size)
	}
	mem, err := unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of state: %w", st.Size, err)
	}
	return mem, nil
}
