package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The shared memory of a gateway, as the keeper keeps it, all numbers in the machine's own order of bytes:
//
//	head, one page: magic (8), version (4), geometry (4 × 4, ring bytes 8), CRC-32C of all that (4); at 64: 1 when retired
//	per shard: a page of marks, then its records, its blocks, its rings
//
// Only pages that were written to cost memory, so that a geometry may be generous.
const (
	memoryMagic   = "edgedKM\x00"
	memoryVersion = 2
	memoryPage    = 4096
	memoryHead    = 8 + 4 + 4*4 + 8
	memoryRetired = 64
	mostMemory    = 1 << 40
)

// ErrMemory is what the errors of OpenMemory wrap: the file is no memory of a gateway, or of another version.
var ErrMemory = errors.New("handover: no shared memory")

// Geometry says what a Memory holds.
type Geometry struct {
	Shards    int // each with a thread that writes
	Records   int // of each shard
	Blocks    int // of each shard, BlockBytes each, for what is too large or too rarely written for a record
	Rings     int // of each shard
	RingBytes int // of each ring, a multiple of 4,096
}

func (g Geometry) check() error {
	for _, n := range []int{g.Shards, g.Records, g.Blocks, g.Rings, g.RingBytes} {
		if n < 0 || n > 1<<30 {
			return fmt.Errorf("%w: geometry %+v", ErrMemory, g)
		}
	}
	if g.Shards < 1 || g.RingBytes%memoryPage != 0 || g.Rings > 0 && g.RingBytes == 0 || g.size() > mostMemory {
		return fmt.Errorf("%w: geometry %+v", ErrMemory, g)
	}
	return nil
}

func (g Geometry) recordsBytes() int { return roundUp(g.Records*recordBytes, memoryPage) }
func (g Geometry) blocksBytes() int  { return roundUp(g.Blocks*blockBytes, memoryPage) }
func (g Geometry) ringBytes() int    { return ringHead + g.RingBytes }
func (g Geometry) shardBytes() int {
	return memoryPage + g.recordsBytes() + g.blocksBytes() + g.Rings*g.ringBytes()
}

// size does not overflow: five numbers of 30 bits, of which at most two are multiplied.
func (g Geometry) size() int {
	if g.Rings > 0 && g.ringBytes() > mostMemory/g.Rings || g.shardBytes() > mostMemory/g.Shards {
		return mostMemory + 1
	}
	return memoryPage + g.Shards*g.shardBytes()
}

// Memory is what a gateway writes down of itself while it runs, so that the next one can go on after a crash at any instruction.
// One process writes it, who made it; each shard's part is written by one thread. The next one only reads it, and makes its own.
type Memory struct {
	geometry Geometry
	fd       int
	mem      []byte
	ours     bool // made by this process
}

// NewMemory makes an empty one.
func NewMemory(g Geometry) (*Memory, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	fd, err := newMemfd("edged-keeper")
	if err != nil {
		return nil, err
	}
	// Nobody can cut it off under a writer.
	if err = unix.Ftruncate(fd, int64(g.size())); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		closeFile(fd)
		return nil, fmt.Errorf("shared memory of %d bytes: %w", g.size(), err)
	}
	m, err := mapMemory(fd, g)
	if err != nil {
		closeFile(fd)
		return nil, err
	}
	m.putHead()
	m.ours = true
	return m, nil
}

// OpenMemory reads the one in fd, which it owns from then on. What is in it is believed as little as a file's content:
// records and rings prove themselves.
func OpenMemory(fd int) (*Memory, error) {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_SHRINK == 0 {
		return nil, fmt.Errorf("%w: the file is not sealed", ErrMemory)
	}
	var head [memoryHead + 4]byte
	if n, err := unix.Pread(fd, head[:], 0); err != nil || n != len(head) {
		return nil, fmt.Errorf("%w: %d bytes, %v", ErrMemory, n, err)
	}
	g, err := parseMemoryHead(head[:])
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Size != int64(g.size()) {
		return nil, fmt.Errorf("%w: %d bytes, not %d, %v", ErrMemory, st.Size, g.size(), err)
	}
	return mapMemory(fd, g)
}

func mapMemory(fd int, g Geometry) (*Memory, error) {
	mem, err := unix.Mmap(fd, 0, g.size(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of shared memory: %w", g.size(), err)
	}
	return &Memory{geometry: g, fd: fd, mem: mem}, nil
}

func (m *Memory) putHead() {
	b := m.mem
	copy(b, memoryMagic)
	binary.NativeEndian.PutUint32(b[8:], memoryVersion)
	for i, n := range []int{m.geometry.Shards, m.geometry.Records, m.geometry.Blocks, m.geometry.Rings} {
		binary.NativeEndian.PutUint32(b[12+4*i:], uint32(n))
	}
	binary.NativeEndian.PutUint64(b[28:], uint64(m.geometry.RingBytes))
	binary.NativeEndian.PutUint32(b[memoryHead:], crc32.Checksum(b[:memoryHead], castagnoli))
}

func parseMemoryHead(b []byte) (g Geometry, err error) {
	if string(b[:8]) != memoryMagic || binary.NativeEndian.Uint32(b[memoryHead:]) != crc32.Checksum(b[:memoryHead], castagnoli) {
		return g, fmt.Errorf("%w: it begins with %q", ErrMemory, b[:8])
	}
	if v := binary.NativeEndian.Uint32(b[8:]); v != memoryVersion {
		return g, fmt.Errorf("%w: its format is %d, not %d", ErrMemory, v, memoryVersion)
	}
	number := func(at int) int { return int(binary.NativeEndian.Uint32(b[at:])) }
	g = Geometry{number(12), number(16), number(20), number(24), int(min(binary.NativeEndian.Uint64(b[28:]), 1<<31))}
	return g, g.check()
}

// Geometry returns what it holds.
func (m *Memory) Geometry() Geometry { return m.geometry }

// FD returns its descriptor, for Keeping.Share and for a successor. It stays the Memory's.
func (m *Memory) FD() int { return m.fd }

// Close forgets the memory; nothing of it may be used any more. Who else has it keeps it.
func (m *Memory) Close() error {
	err := unix.Munmap(m.mem)
	m.mem = nil
	closeFile(m.fd)
	m.fd = -1
	return os.NewSyscallError("munmap", err)
}

// shard returns a shard's part of the memory.
func (m *Memory) shard(n int) []byte {
	g := m.geometry
	if n < 0 || n >= g.Shards {
		panic(fmt.Sprintf("handover: shard %d of %d", n, g.Shards))
	}
	at := memoryPage + n*g.shardBytes()
	return m.mem[at : at+g.shardBytes()]
}

// Retire says that another memory is written from here on: what stands in this one is not to be gone on with. It may be called
// by any thread and by who only reads the memory.
func (m *Memory) Retire() { word32(m.mem, memoryRetired).Store(1) }

// Unretire takes Retire back: for a process that goes on after all.
func (m *Memory) Unretire() { word32(m.mem, memoryRetired).Store(0) }

// Retired says whether the memory was retired.
func (m *Memory) Retired() bool { return word32(m.mem, memoryRetired).Load() != 0 }

// Records returns a shard's records: to be written, once, by the shard's thread, where this process made the memory; otherwise
// to be read.
func (m *Memory) Records(shard int) *Records {
	g, part := m.geometry, m.shard(shard)
	blocks := part[memoryPage+g.recordsBytes():]
	r := &Records{
		marks:     part[:memoryPage],
		records:   part[memoryPage : memoryPage+g.Records*recordBytes],
		blocks:    blocks[:g.Blocks*blockBytes],
		committed: word64(part, markCommitted),
	}
	r.used = r.Used()
	if m.ours {
		r.open = r.Committed() + 1
	}
	return r
}

// Ring returns one of a shard's rings.
func (m *Memory) Ring(shard, n int) *Ring {
	g, part := m.geometry, m.shard(shard)
	if n < 0 || n >= g.Rings {
		panic(fmt.Sprintf("handover: ring %d of %d", n, g.Rings))
	}
	at := memoryPage + g.recordsBytes() + g.blocksBytes() + n*g.ringBytes()
	b := part[at : at+g.ringBytes()]
	return &Ring{
		head: word64(b, 0), tail: word64(b, ringTail), committed: word64(part, markCommitted),
		notes: b[ringNotes:ringHead], data: b[ringHead:],
	}
}

// word32 and word64 are words of shared memory that are written last, and so make valid what was written before: a store in one
// piece that neither the compiler nor the processor moves up.
func word32(b []byte, at int) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&b[at : at+4][0]))
}
func word64(b []byte, at int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&b[at : at+8][0]))
}
