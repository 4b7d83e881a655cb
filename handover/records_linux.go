package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"
)

// A record is two halves, of which each holds the version of one turn. The record is the newer one of a turn that is committed: a
// turn writes into the other half, as often as it likes, and whoever dies before its end leaves the version before it.
//
//	 0 8  turn in which it was written; 0: never
//	 8 4  CRC-32C of the rest of the head and the hot bytes, begun with the turn
//	12 4  first block of the cold bytes, + 1; 0: there are none
//	16 4  how many cold bytes, and in the highest 8 bits how many hot ones; 0xff there: the record is empty
//	20 4  CRC-32C of the cold bytes
//	24    hot bytes
//
// Cold bytes lie in a chain of blocks: number of the next one + 1 (4), bytes. They are never changed in place: new ones are
// written to free blocks, and the old ones are free when no committed version names them: after Commit.
const (
	recordBytes = 2 * halfBytes
	halfBytes   = 128
	halfSummed  = 12 // what the checksum covers begins here
	halfHead    = 24
	blockBytes  = 256
	blockHead   = 4
	emptyRecord = 0xff
	coldBits    = 24

	// HotBytes is the most that a record holds itself.
	HotBytes = halfBytes - halfHead
	// BlockBytes is what one block holds of a record's cold bytes.
	BlockBytes = blockBytes - blockHead
	// MostCold bounds the cold bytes of one record.
	MostCold = 1 << 20
)

// Where in the page of marks stands how many records and blocks were ever used, for what is behind was never touched, and the
// last turn that was committed.
const (
	markRecords   = 0
	markBlocks    = 4
	markCommitted = 8
)

// Errors of Get.
var (
	ErrNoRecord  = errors.New("handover: no record is there")
	ErrBadRecord = errors.New("handover: the record is damaged")
)

// Records is one shard's records in a Memory. One thread writes them; all that it writes between two Commits is a turn, which a
// reader finds as a whole or not at all. A record has hot bytes, which Put replaces at the price of copying them, and cold ones,
// for what is large or changes rarely.
type Records struct {
	// Static after construction.
	marks     []byte
	records   []byte
	blocks    []byte
	committed *atomic.Uint64

	// Owned by the writer.
	open  uint64   // the turn that is written now; 0: this is another process's memory, which is only read
	used  int      // as in the marks
	free  []uint32 // blocks; those never used are not among them
	later []uint32 // blocks that the committed turn still has: free after Commit
}

// Len returns how many records there can be.
func (r *Records) Len() int { return len(r.records) / recordBytes }

// Used returns a number that is larger than that of any record that was ever written: what a successor has to look at. The open
// turn may have raised it.
func (r *Records) Used() int { return min(int(word32(r.marks, markRecords).Load()), r.Len()) }

// FreeBlocks returns how many blocks are left for the open turn.
func (r *Records) FreeBlocks() int { return len(r.free) + r.maxBlocks() - r.usedBlocks() }

func (r *Records) maxBlocks() int { return len(r.blocks) / blockBytes }

func (r *Records) usedBlocks() int {
	return min(int(word32(r.marks, markBlocks).Load()), r.maxBlocks())
}

// Committed returns the last turn that was committed; 0: none was.
func (r *Records) Committed() uint64 { return r.committed.Load() }

// Commit ends the open turn: from here on a reader finds all that was written in it, in the shard's rings as well, and nothing of
// the next one. It is one store, behind all others of the turn.
func (r *Records) Commit() {
	r.mustWrite()
	r.committed.Store(r.open)
	r.open++
	r.free = append(r.free, r.later...)
	r.later = r.later[:0]
}

func (r *Records) mustWrite() {
	if r.open == 0 {
		panic("handover: a shared memory that another process wrote is only read")
	}
}

// half is one version of a record.
type half []byte

func (h half) turn() uint64  { return binary.NativeEndian.Uint64(h) }
func (h half) first() uint32 { return binary.NativeEndian.Uint32(h[12:]) }
func (h half) cold() int     { return int(binary.NativeEndian.Uint32(h[16:]) & (1<<coldBits - 1)) }
func (h half) hot() int      { return int(h.sizes() >> coldBits) }
func (h half) sizes() uint32 { return binary.NativeEndian.Uint32(h[16:]) }
func (h half) empty() bool   { return h.hot() == emptyRecord || h.turn() == 0 }

func (h half) setSizes(hot, cold int) {
	binary.NativeEndian.PutUint32(h[16:], uint32(hot)<<coldBits|uint32(cold))
}

// setHot copies what Put and PutAll are given.
func (h half) setHot(hot []byte, cold int) {
	if len(hot) > HotBytes {
		panic(fmt.Sprintf("handover: %d hot bytes", len(hot)))
	}
	h.setSizes(len(hot), cold)
	copy(h[halfHead:], hot)
}

// sum is the checksum of the half, should it be of that turn.
func (h half) sum(turn uint64) uint32 {
	hot := h.hot()
	if hot > HotBytes {
		hot = 0
	}
	return crc32.Update(fold(turn), castagnoli, h[halfSummed:halfHead+hot])
}

// both returns the halves of record i.
func (r *Records) both(i int) (a, z half) {
	b := r.records[i*recordBytes : (i+1)*recordBytes]
	return half(b[:halfBytes]), half(b[halfBytes:])
}

// halves returns the last version of record i that is committed, and the half that the open turn writes. With again that has been
// written in this turn already, and is the present version.
func (r *Records) halves(i int) (last, next half, again bool) {
	r.mustWrite()
	a, z := r.both(i)
	at, zt := a.turn(), z.turn()
	switch {
	case at == r.open:
		return z, a, true
	case zt == r.open:
		return a, z, true
	case at > zt:
		return a, z, false
	}
	return z, a, false
}

// seal ends what is written to next. The turn may stand there before the rest is whole: nobody looks at it before Commit. But it
// is one store: a mixture of two turns could be one that is committed.
func (r *Records) seal(i int, next half) {
	binary.NativeEndian.PutUint32(next[8:], next.sum(r.open))
	if r.used <= i {
		r.used = i + 1
		word32(r.marks, markRecords).Store(uint32(i + 1))
	}
	word64(next, 0).Store(r.open)
}

// Put replaces the hot bytes of record i, at most HotBytes of them; the cold ones stay.
func (r *Records) Put(i int, hot []byte) {
	last, next, again := r.halves(i)
	if !again {
		copy(next[halfSummed:halfHead], last[halfSummed:halfHead])
	}
	next.setHot(hot, next.cold())
	r.seal(i, next)
}

// PutAll replaces the record as a whole. It fails, and changes nothing, when there are not enough blocks for the cold bytes.
func (r *Records) PutAll(i int, hot, cold []byte) bool {
	last, next, again := r.halves(i)
	first, ok := r.store(cold)
	if !ok {
		return false
	}
	r.giveUp(last, next, again)
	binary.NativeEndian.PutUint32(next[12:], first)
	binary.NativeEndian.PutUint32(next[20:], crc32.Checksum(cold, castagnoli))
	next.setHot(hot, len(cold))
	r.seal(i, next)
	return true
}

// Clear empties record i.
func (r *Records) Clear(i int) {
	last, next, again := r.halves(i)
	now := last
	if again {
		now = next
	}
	if now.empty() {
		return
	}
	r.giveUp(last, next, again)
	clear(next[halfSummed:halfHead])
	next.setSizes(emptyRecord, 0)
	r.seal(i, next)
}

// giveUp frees the cold bytes of a record's present version: at once if this turn has written them, for then nobody else names
// them.
func (r *Records) giveUp(last, next half, again bool) {
	if again && next.first() != last.first() {
		r.free = r.appendChain(r.free, next)
		return
	}
	r.later = r.appendChain(r.later, last)
}

// store writes cold bytes to free blocks and returns the first one + 1.
func (r *Records) store(cold []byte) (first uint32, ok bool) {
	n := (len(cold) + BlockBytes - 1) / BlockBytes
	if n > r.FreeBlocks() || len(cold) > MostCold {
		return 0, false
	}
	for ; n > 0; n-- { // from the last one, so that each knows its next
		block := r.takeBlock()
		b := r.block(block)
		binary.NativeEndian.PutUint32(b, first)
		copy(b[blockHead:], cold[(n-1)*BlockBytes:])
		first = block + 1
	}
	return first, true
}

func (r *Records) block(n uint32) []byte {
	return r.blocks[int(n)*blockBytes : (int(n)+1)*blockBytes]
}

func (r *Records) takeBlock() uint32 {
	if k := len(r.free); k > 0 {
		n := r.free[k-1]
		r.free = r.free[:k-1]
		return n
	}
	used := word32(r.marks, markBlocks)
	n := used.Load()
	used.Store(n + 1)
	return n
}

// appendChain appends the blocks of a version's cold bytes. This process has written them; should somebody else have done so
// since, it ends where no block can be.
func (r *Records) appendChain(list []uint32, h half) []uint32 {
	at := h.first()
	for left := h.cold(); left > 0 && at != 0 && int(at) <= r.usedBlocks(); left -= BlockBytes {
		list = append(list, at-1)
		if left > BlockBytes {
			at = binary.NativeEndian.Uint32(r.block(at - 1))
		}
	}
	return list
}

// committedHalf returns the version of record i that a reader finds, or nil.
func (r *Records) committedHalf(i int) half {
	a, z := r.both(i)
	at, zt, committed := a.turn(), z.turn(), r.Committed()
	if at > committed {
		at = 0
	}
	if zt > committed {
		zt = 0
	}
	switch {
	case at > zt:
		return a
	case zt > 0:
		return z
	}
	return nil
}

// Get appends to what is given the hot and cold bytes that the record had at the end of the committed turn. ErrNoRecord: it was
// empty, or had never been written. ErrBadRecord: nothing of it can be believed, which no crash of the writer does.
func (r *Records) Get(i int, hot, cold []byte) (hotOut, coldOut []byte, err error) {
	now := r.committedHalf(i)
	if now == nil {
		return hot, cold, ErrNoRecord
	}
	if binary.NativeEndian.Uint32(now[8:]) != now.sum(now.turn()) {
		return hot, cold, fmt.Errorf("%w: %d", ErrBadRecord, i)
	}
	n := now.hot()
	if n == emptyRecord {
		return hot, cold, ErrNoRecord
	}
	start := len(cold)
	cold, ok := r.load(now, cold)
	if !ok || n > HotBytes {
		return hot, cold[:start], fmt.Errorf("%w: %d", ErrBadRecord, i)
	}
	return append(hot, now[halfHead:halfHead+n]...), cold, nil
}

// load appends the cold bytes of a half. However the chain runs, it ends after as many blocks as they need.
func (r *Records) load(h half, cold []byte) ([]byte, bool) {
	left, start := h.cold(), len(cold)
	if left > MostCold || left > r.usedBlocks()*BlockBytes {
		return cold, false
	}
	at := h.first()
	for ; left > 0; left -= min(left, BlockBytes) {
		if at == 0 || int(at) > r.usedBlocks() {
			return cold, false
		}
		b := r.block(at - 1)
		cold = append(cold, b[blockHead:blockHead+min(left, BlockBytes)]...)
		at = binary.NativeEndian.Uint32(b)
	}
	return cold, at == 0 && crc32.Checksum(cold[start:], castagnoli) == binary.NativeEndian.Uint32(h[20:])
}
