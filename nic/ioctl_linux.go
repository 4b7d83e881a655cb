package nic

import (
	"bytes"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// control is a socket for ioctl, of the network namespace of the thread that opened it. It names interfaces, not indexes.
type control struct{ fd int }

func openControl() (control, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) // a box without IPv4
	}
	return control{fd}, os.NewSyscallError("socket", err)
}

func (c control) Close() error { return os.NewSyscallError("close", unix.Close(c.fd)) }

// indexOf returns the index of the interface that has the name now.
func (c control) indexOf(name string) (int, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, unix.ENODEV // too long to be a name
	}
	if err := unix.IoctlIfreq(c.fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return 0, err
	}
	return int(ifr.Uint32()), nil
}

// is returns ENODEV where leaf's name is not that of its index any more.
func (c control) is(leaf Leaf) error {
	index, err := c.indexOf(leaf.Name)
	if err == nil && index != leaf.Index {
		err = unix.ENODEV
	}
	return err
}

// info returns the driver's name and the address on its bus.
func (c control) info(name string) (driver, bus string, err error) {
	info, err := unix.IoctlGetEthtoolDrvinfo(c.fd, name)
	if err != nil {
		return "", "", err
	}
	return unix.ByteSliceToString(info.Driver[:]), unix.ByteSliceToString(info.Bus_info[:]), nil
}

// ethtoolRequest is struct ifreq with a pointer in its union.
type ethtoolRequest struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// ethtool makes one call. What data points to must be as large as the kernel will make it.
func (c control) ethtool(name string, data unsafe.Pointer) error {
	r := &ethtoolRequest{data: data}
	if len(name) >= len(r.name) {
		return unix.ENODEV
	}
	copy(r.name[:], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(c.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(r)))
	runtime.KeepAlive(r)
	if errno != 0 {
		return errno
	}
	return nil
}

// rssHeader is how many numbers struct ethtool_rxfh_indir has before the table: the command and the length.
const rssHeader = 2

// rssTable returns the RX queue of each hash bucket. The kernel checks the length that it is told (ethtool_get_rxfh_indir).
func (c control) rssTable(name string) ([]uint32, error) {
	query := make([]uint32, rssHeader)
	query[0] = unix.ETHTOOL_GRXFHINDIR
	if err := c.ethtool(name, unsafe.Pointer(&query[0])); err != nil {
		return nil, err
	}
	table := make([]uint32, rssHeader+int(min(query[1], 1<<16)))
	table[0], table[1] = unix.ETHTOOL_GRXFHINDIR, uint32(len(table)-rssHeader)
	if len(table) == rssHeader {
		return nil, unix.EOPNOTSUPP
	}
	if err := c.ethtool(name, unsafe.Pointer(&table[0])); err != nil {
		return nil, err
	}
	return table[rssHeader:][:min(int(table[1]), len(table)-rssHeader)], nil
}

// guarded is memory of its own with nothing readable behind it. The kernel writes as many counters and names as the device has
// when it is asked, whatever length it was told (ethtool_get_stats, ethtool_get_strings), and somebody may add channels between
// the question for their number and the one for them: then the call fails with EFAULT where it would run over Go's memory.
type guarded []byte

func newGuarded(size int) (guarded, error) {
	page := os.Getpagesize()
	whole := (size+page-1)/page*page + page
	b, err := unix.Mmap(-1, 0, whole, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	if err := unix.Mprotect(b[whole-page:], unix.PROT_NONE); err != nil {
		_ = unix.Munmap(b)
		return nil, os.NewSyscallError("mprotect", err)
	}
	return b, nil
}

func (g guarded) free() { _ = unix.Munmap(g) }

// Sizes of struct ethtool_gstrings and ethtool_stats before their data, and of a name.
const (
	stringsHeader = 12
	statsHeader   = 8
	stringSize    = 32 // ETH_GSTRING_LEN
	maxStats      = 1 << 16
	stringSet     = 1 // ETH_SS_STATS
)

// statCount returns how many counters the driver has.
func (c control) statCount(name string) (int, error) {
	query := make([]uint32, 5) // struct ethtool_sset_info: command, reserved, the mask in 64 bits, one number
	query[0] = unix.ETHTOOL_GSSET_INFO
	*(*uint64)(unsafe.Pointer(&query[2])) = 1 << stringSet
	if err := c.ethtool(name, unsafe.Pointer(&query[0])); err != nil {
		return 0, err
	}
	if *(*uint64)(unsafe.Pointer(&query[2])) == 0 || query[4] == 0 || query[4] > maxStats {
		return 0, unix.EOPNOTSUPP
	}
	return int(query[4]), nil
}

// fetch makes a call whose answer begins with a header of numbers, and gives it to read.
func (c control) fetch(name string, size int, header []uint32, read func(answer []byte)) error {
	g, err := newGuarded(size)
	if err != nil {
		return err
	}
	defer g.free()
	for i, n := range header {
		native.PutUint32(g[4*i:], n)
	}
	if err := c.ethtool(name, unsafe.Pointer(&g[0])); err != nil {
		return err
	}
	read(g[:size])
	return nil
}

// driverStats returns the driver's own counters.
func (c control) driverStats(name string) (names []string, values []uint64, err error) {
	n, err := c.statCount(name)
	if err != nil {
		return nil, nil, err
	}
	header := []uint32{unix.ETHTOOL_GSTRINGS, stringSet, uint32(n)}
	err = c.fetch(name, stringsHeader+n*stringSize, header, func(answer []byte) {
		got := min(n, int(native.Uint32(answer[8:])))
		for i := range got {
			text, _, _ := bytes.Cut(answer[stringsHeader+i*stringSize:][:stringSize], []byte{0})
			names = append(names, string(text))
		}
	})
	if err != nil {
		return nil, nil, err
	}
	header = []uint32{unix.ETHTOOL_GSTATS, uint32(n)}
	err = c.fetch(name, statsHeader+8*n, header, func(answer []byte) {
		got := min(n, int(native.Uint32(answer[4:])))
		for i := range got {
			values = append(values, native.Uint64(answer[statsHeader+8*i:]))
		}
	})
	if err == nil && len(names) != len(values) {
		err = syscall.EAGAIN // the device changed in between
	}
	return names, values, err
}
