package handover

import (
	"encoding/binary"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	addBatch       = 64       // descriptors of one message: more make each no cheaper (0.5 µs)
	mostWaiting    = 4096     // descriptors that wait for a keeper which is slow: beyond them they are added again later
	mostUnreleased = 64 << 10 // keys to release that wait: beyond them the keeper is given up and told anew
)

// Deposit is one reactor's way to the keeper. It is owned by the reactor's thread, never waits, and allocates only when it grows.
// What is added in a turn leaves with Flush, or when there is enough for a message.
type Deposit struct {
	// Static after construction.
	k *Keeping

	// Owned by the reactor.
	generation uint32
	addKeys    []uint64 // to add, with their descriptors
	addFDs     []int32
	releases   []uint64 // sent before what is to be added: a key may be used again
	missed     bool     // something was not added: there was no room
	buf        []byte
	oob        []byte
	stats      DepositStats
}

// DepositStats counts what a Deposit did. Owned by the reactor.
type DepositStats struct {
	Added    uint64
	Released uint64
	Messages uint64
	Put      uint64 // messages that the keeper had no room for yet
	Missed   uint64 // adds for which there was no room
}

// Deposit returns a new way to the keeper. It begins with everything to be added: the first Flush says so, if a keeper was lost
// before.
func (k *Keeping) Deposit() *Deposit {
	d := &Deposit{k: k, generation: k.generation.Load()}
	d.buf = make([]byte, 0, keeperHead+8*addBatch)
	d.oob = make([]byte, unix.CmsgSpace(4*addBatch))
	head := (*unix.Cmsghdr)(unsafe.Pointer(&d.oob[0]))
	head.Level, head.Type = unix.SOL_SOCKET, unix.SCM_RIGHTS
	return d
}

// Room returns how many descriptors can be added before the keeper has taken some.
func (d *Deposit) Room() int { return mostWaiting - len(d.addKeys) }

// Add has fd kept under key, in place of what is kept under it. The descriptor must stay open until its key is released. Without
// Room it is not kept, until Flush asks for everything again.
func (d *Deposit) Add(key uint64, fd int) {
	if d.Room() == 0 {
		d.stats.Missed++
		d.missed = true
		return
	}
	d.addKeys, d.addFDs = append(d.addKeys, key), append(d.addFDs, int32(fd))
	if len(d.addKeys)%addBatch == 0 {
		d.flush()
	}
}

// Release has the keeper let go of key. It comes before the descriptor is closed here.
func (d *Deposit) Release(key uint64) {
	for i := slices.Index(d.addKeys, key); i >= 0; i = slices.Index(d.addKeys, key) {
		d.addKeys, d.addFDs = slices.Delete(d.addKeys, i, i+1), slices.Delete(d.addFDs, i, i+1)
	}
	if len(d.releases) >= mostUnreleased {
		d.k.broken.Store(true)
		return
	}
	d.releases = append(d.releases, key)
}

// Waiting says that Flush has something to do.
func (d *Deposit) Waiting() bool {
	return len(d.addKeys)+len(d.releases) > 0 || d.missed || d.generation != d.k.generation.Load()
}

// Flush sends what is waiting, at the end of a turn. With again everything has to be added once more, over as many turns as Room
// asks for: there is a new keeper that knows nothing, or one that was too slow and has missed something.
func (d *Deposit) Flush() (again bool) {
	if g := d.k.generation.Load(); g != d.generation {
		d.generation = g
		d.addKeys, d.addFDs, d.releases, d.missed = d.addKeys[:0], d.addFDs[:0], d.releases[:0], false
		return true
	}
	if len(d.addKeys)+len(d.releases) > 0 {
		d.flush()
	}
	if d.missed && len(d.addKeys) == 0 {
		d.missed = false
		return true
	}
	return false
}

// Stats returns the counters, on the reactor's thread.
func (d *Deposit) Stats() DepositStats { return d.stats }

func (d *Deposit) flush() {
	for len(d.releases) > 0 {
		n := min(len(d.releases), mostKeys)
		if !d.send(keepRelease, d.releases[:n], nil) {
			return
		}
		d.releases = d.releases[:copy(d.releases, d.releases[n:])]
		d.stats.Released += uint64(n)
	}
	for len(d.addKeys) > 0 {
		n := min(len(d.addKeys), addBatch)
		if !d.send(keepAdd, d.addKeys[:n], d.addFDs[:n]) {
			return
		}
		d.addKeys = d.addKeys[:copy(d.addKeys, d.addKeys[n:])]
		d.addFDs = d.addFDs[:copy(d.addFDs, d.addFDs[n:])]
		d.stats.Added += uint64(n)
	}
}

// send returns false when the message has to wait.
func (d *Deposit) send(kind byte, keys []uint64, fds []int32) bool {
	b := appendKeeperHead(d.buf[:0], kind, len(keys), 0)
	for _, k := range keys {
		b = binary.LittleEndian.AppendUint64(b, k)
	}
	d.buf = b
	d.stats.Messages++
	switch e := d.sendmsg(b, fds); e {
	case 0:
		return true
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM, unix.ETOOMANYREFS:
		d.stats.Put++
		return false
	case unix.EBADF:
		panic("handover: a descriptor was closed before its key was released")
	default: // the keeper is gone: all will be told to the next one
		d.k.broken.Store(true)
		return true
	}
}

// sendmsg is raw: it cannot block, and the scheduler must not take the reactor's P away.
func (d *Deposit) sendmsg(b []byte, fds []int32) syscall.Errno {
	iov := unix.Iovec{Base: &b[0]}
	iov.SetLen(len(b))
	h := unix.Msghdr{Iov: &iov}
	h.SetIovlen(1)
	if len(fds) > 0 {
		head := (*unix.Cmsghdr)(unsafe.Pointer(&d.oob[0]))
		head.SetLen(unix.CmsgLen(4 * len(fds)))
		data := unsafe.Slice((*int32)(unsafe.Pointer(&d.oob[unix.CmsgLen(0)])), addBatch)
		copy(data, fds)
		h.Control = &d.oob[0]
		h.SetControllen(unix.CmsgSpace(4 * len(fds)))
	}
	for {
		_, _, e := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(d.k.fd), uintptr(unsafe.Pointer(&h)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if e != unix.EINTR {
			return e
		}
	}
}
