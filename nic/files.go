package nic

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// maxOpen interfaces have their files open at a time; a box whose interfaces come and go must not run out of descriptors.
const maxOpen = 32

// counterFiles are the names under statistics, in the order of counterSet.fields.
var counterFiles = [...]string{
	"rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_missed_errors", "rx_fifo_errors", "tx_dropped", "rx_dropped",
}

// counterSet is the open files of one interface. They stay with it when its name changes, and fail with ENODEV when it goes.
type counterSet [len(counterFiles)]*os.File

func (c *counterSet) close() {
	for _, f := range c {
		if f != nil {
			_ = f.Close()
		}
	}
}

// files reads counters from sysfs. Open files are kept: to read four afresh costs ten times as much.
type files struct {
	sys  sysfs
	open map[int]*counterSet // by interface index
	buf  [32]byte
}

func newFiles(sys sysfs) *files { return &files{sys: sys, open: map[int]*counterSet{}} }

// read returns the counters of the interface, an error of os.ErrNotExist or ENODEV where it is not there.
func (f *files) read(index int, name string) (Counters, error) {
	set := f.open[index]
	if set == nil {
		var err error
		if set, err = f.openSet(index, name); err != nil {
			return Counters{}, err
		}
	}
	var v [len(counterFiles)]uint64
	for i, file := range set {
		n, err := f.number(file)
		if err != nil {
			set.close()
			delete(f.open, index)
			return Counters{}, err
		}
		v[i] = n
	}
	return Counters{
		RxPackets: v[0], TxPackets: v[1], RxBytes: v[2], TxBytes: v[3],
		RxMissed: v[4], RxFifo: v[5], TxDropped: v[6], RxDropped: v[7],
	}, nil
}

// openSet opens the files of name and proves that they are of index: names are used again.
func (f *files) openSet(index int, name string) (*counterSet, error) {
	if !plain(name) {
		return nil, fmt.Errorf("%q is no interface: %w", name, os.ErrNotExist)
	}
	set := &counterSet{}
	for i, file := range counterFiles {
		var err error
		if set[i], err = os.Open(f.sys.path(name, "statistics/"+file)); err != nil {
			set.close()
			return nil, err
		}
	}
	if now := f.sys.number(name, "ifindex"); now != index {
		set.close()
		return nil, fmt.Errorf("%s has index %d, not %d: %w", name, now, index, os.ErrNotExist)
	}
	if len(f.open) >= maxOpen {
		f.close()
	}
	f.open[index] = set
	return set, nil
}

// number reads a decimal without allocating.
func (f *files) number(file *os.File) (uint64, error) {
	n, err := file.ReadAt(f.buf[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	digits := 0
	var v uint64
	for ; digits < n && f.buf[digits] >= '0' && f.buf[digits] <= '9'; digits++ {
		v = v*10 + uint64(f.buf[digits]-'0')
	}
	if digits == 0 {
		return 0, fmt.Errorf("%s has no number", file.Name())
	}
	return v, nil
}

func (f *files) close() {
	for index, set := range f.open {
		set.close()
		delete(f.open, index)
	}
}
