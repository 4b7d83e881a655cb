package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A record is two halves, which are written in turn. A half becomes the record by its number, which is written last: a writer
// that dies at any instruction leaves the half before it.
//
//	 0 4  number of this version of the record, counting up; 0: none yet
//	 4 4  CRC-32C of the rest of the head and the hot bytes, begun with the number
//	 8 4  first block of the cold bytes, + 1; 0: there are none
//	12 4  how many cold bytes
//	16 4  CRC-32C of them
//	20 2  how many hot bytes; 0xffff: the record is empty
//	22 2  0
//	24    hot bytes
//
// Cold bytes lie in a chain of blocks: number of the next one + 1 (4), bytes. They are never changed in place: new ones are
// written to free blocks, and the old ones are free when the half that names them is no longer the record.
const (
	recordBytes = 2 * halfBytes
	halfBytes   = 128
	halfHead    = 24
	blockBytes  = 256
	blockHead   = 4
	emptyRecord = 0xffff

	// HotBytes is the most that a record holds itself.
	HotBytes = halfBytes - halfHead
	// BlockBytes is what one block holds of a record's cold bytes.
	BlockBytes = blockBytes - blockHead
	// MostCold bounds the cold bytes of one record.
	MostCold = 1 << 20
)

// Where in the page of marks stands how many records and blocks were ever used: what is behind was never touched.
const (
	markRecords = 0
	markBlocks  = 4
)

// Errors of Get.
var (
	ErrNoRecord  = errors.New("handover: no record is there")
	ErrBadRecord = errors.New("handover: the record is damaged")
)

// Records is one shard's records in a Memory. One thread writes and reads them. A record has hot bytes, which Put replaces at
// the price of copying them, and cold ones, for what is large or changes rarely.
type Records struct {
	marks   []byte
	records []byte
	blocks  []byte
	free    []uint32 // blocks; those never used are not among them
	seen    []uint64 // while free is found out
}

// Len returns how many records there can be.
func (r *Records) Len() int { return len(r.records) / recordBytes }

// Used returns a number that is larger than that of any record that was ever written: what a successor has to look at.
func (r *Records) Used() int { return min(int(word32(r.marks, markRecords).Load()), r.Len()) }

// FreeBlocks returns how many blocks are left.
func (r *Records) FreeBlocks() int { return len(r.free) + r.maxBlocks() - r.usedBlocks() }

func (r *Records) maxBlocks() int { return len(r.blocks) / blockBytes }

func (r *Records) usedBlocks() int {
	return min(int(word32(r.marks, markBlocks).Load()), r.maxBlocks())
}

// half is one version of a record.
type half []byte

func (h half) number() uint32 { return binary.NativeEndian.Uint32(h) }
func (h half) first() uint32  { return binary.NativeEndian.Uint32(h[8:]) }
func (h half) cold() int      { return int(binary.NativeEndian.Uint32(h[12:])) }
func (h half) hot() int       { return int(binary.NativeEndian.Uint16(h[20:])) }

// sum is the checksum of the half, should it get that number.
func (h half) sum(number uint32) uint32 {
	hot := h.hot()
	if hot > HotBytes {
		hot = 0
	}
	return crc32.Update(number, castagnoli, h[8:halfHead+hot])
}

// halves returns the record's present version and the half for the next one. A half that was never written has the number 0.
func (r *Records) halves(i int) (now, next half) {
	b := r.records[i*recordBytes : (i+1)*recordBytes]
	a, z := half(b[:halfBytes]), half(b[halfBytes:])
	if int32(a.number()-z.number()) > 0 {
		return a, z
	}
	return z, a
}

// commit makes next, whose hot bytes and cold bytes stand, the record.
func (r *Records) commit(i int, now, next half, hot int) {
	if hot > HotBytes && hot != emptyRecord {
		panic(fmt.Sprintf("handover: %d hot bytes", hot))
	}
	binary.NativeEndian.PutUint16(next[20:], uint16(hot))
	binary.NativeEndian.PutUint16(next[22:], 0)
	number := now.number() + 1
	if number == 0 {
		number = 1
	}
	binary.NativeEndian.PutUint32(next[4:], next.sum(number))
	if used := word32(r.marks, markRecords); int(used.Load()) <= i {
		used.Store(uint32(i + 1))
	}
	word32(next, 0).Store(number)
}

// Put replaces the hot bytes of record i, at most HotBytes of them; the cold ones stay.
func (r *Records) Put(i int, hot []byte) {
	now, next := r.halves(i)
	copy(next[8:20], now[8:20])
	copy(next[halfHead:], hot)
	r.commit(i, now, next, len(hot))
}

// PutAll replaces the record as a whole. It fails, and changes nothing, when there are not enough blocks for the cold bytes.
func (r *Records) PutAll(i int, hot, cold []byte) bool {
	first, ok := r.store(cold)
	if !ok {
		return false
	}
	now, next := r.halves(i)
	old, size := now.first(), now.cold() // of an empty record both are 0
	binary.NativeEndian.PutUint32(next[8:], first)
	binary.NativeEndian.PutUint32(next[12:], uint32(len(cold)))
	binary.NativeEndian.PutUint32(next[16:], crc32.Checksum(cold, castagnoli))
	copy(next[halfHead:], hot)
	r.commit(i, now, next, len(hot))
	r.giveBack(old, size)
	return true
}

// Clear empties record i.
func (r *Records) Clear(i int) {
	now, next := r.halves(i)
	if now.number() == 0 || now.hot() == emptyRecord {
		return
	}
	old, size := now.first(), now.cold()
	clear(next[8:20])
	r.commit(i, now, next, emptyRecord)
	r.giveBack(old, size)
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

// giveBack frees the blocks of cold bytes that begin with first. They were written or proved by this Records, but for a record of
// which even the marks know nothing any more: there it ends where no block can be.
func (r *Records) giveBack(first uint32, cold int) {
	for ; cold > 0 && first != 0 && int(first) <= r.usedBlocks(); cold -= BlockBytes {
		r.free = append(r.free, first-1)
		first = binary.NativeEndian.Uint32(r.block(first - 1))
	}
}

// Get appends the record's hot and cold bytes to what is given. ErrNoRecord: it is empty or was never written. ErrBadRecord:
// nothing of it can be believed, which no crash of the writer does.
func (r *Records) Get(i int, hot, cold []byte) (hotOut, coldOut []byte, err error) {
	now, _ := r.halves(i)
	if now.number() == 0 {
		return hot, cold, ErrNoRecord
	}
	if binary.NativeEndian.Uint32(now[4:]) != now.sum(now.number()) {
		return hot, cold, fmt.Errorf("%w: %d", ErrBadRecord, i)
	}
	if now.hot() == emptyRecord {
		return hot, cold, ErrNoRecord
	}
	if now.hot() > HotBytes {
		return hot, cold, fmt.Errorf("%w: %d", ErrBadRecord, i)
	}
	start := len(cold)
	cold, ok := r.load(now, cold)
	if !ok {
		return hot, cold[:start], fmt.Errorf("%w: %d", ErrBadRecord, i)
	}
	return append(hot, now[halfHead:halfHead+now.hot()]...), cold, nil
}

// load appends the cold bytes of a half.
func (r *Records) load(h half, cold []byte) ([]byte, bool) {
	left, start := h.cold(), len(cold)
	if left > MostCold {
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
	return cold, at == 0 && crc32.Checksum(cold[start:], castagnoli) == binary.NativeEndian.Uint32(h[16:])
}

// findFree finds the blocks that no record names. A record that is damaged, or names a block of another one, is emptied.
func (r *Records) findFree() {
	used := r.usedBlocks()
	r.seen = make([]uint64, used/wordBits+1)
	var room []byte
	for i := range r.Used() {
		now, next := r.halves(i)
		var err error
		if _, room, err = r.Get(i, nil, room[:0]); errors.Is(err, ErrNoRecord) {
			continue
		}
		if err != nil || !r.see(now) {
			clear(next[8:20])
			r.commit(i, now, next, emptyRecord)
		}
	}
	for n := used - 1; n >= 0; n-- {
		if r.seen[n/wordBits]&(1<<(n%wordBits)) == 0 {
			r.free = append(r.free, uint32(n))
		}
	}
	r.seen = nil
}

// see notes the blocks of a half that load has proved; false when one of them is another record's.
func (r *Records) see(h half) bool {
	for at := h.first(); at != 0; at = binary.NativeEndian.Uint32(r.block(at - 1)) {
		word, bit := (at-1)/wordBits, uint64(1)<<((at-1)%wordBits)
		if r.seen[word]&bit != 0 {
			return false
		}
		r.seen[word] |= bit
	}
	return true
}
