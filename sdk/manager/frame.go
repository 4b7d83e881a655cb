package manager

import (
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/mem"

	"edged/batch"
)

// The bounds of a batch (PROTOCOL.md 2.1): one HTTP/2 frame has 16,384 bytes, of which gRPC takes 5 and seq and received
// at most 22. An item that is larger goes alone.
const (
	maxItems    = 16384 - 64
	smallFrame  = 2048 // above the size below which gRPC does not give a buffer back
	largeFrame  = 16384
	trailerRoom = 22
)

// frame is one Downstream batch. It is used again when nobody refers to it: the lane that sends and keeps it does, and
// so does gRPC while it writes. Until then b must not change, unless sole says that gRPC has let go of it.
type frame struct {
	b     []byte // items, then seq and received
	items int    // how many bytes of b are items
	count int    // number of items
	seq   uint64 // 0: not numbered
	refs  atomic.Int32
	home  *sync.Pool // nil: too large to be kept for others
	parts [1]mem.Buffer
}

// framePool has a pool for each of two sizes: most batches are a lone message, and keeping one until its receipt comes
// must not cost 16 KiB.
type framePool struct {
	small, large sync.Pool
}

// get returns a frame with the items in it and one reference, the caller's.
func (p *framePool) get(items []byte, count int) *frame {
	home, size := &p.small, smallFrame
	if n := len(items) + trailerRoom; n > largeFrame {
		home, size = nil, n
	} else if n > smallFrame {
		home, size = &p.large, largeFrame
	}
	var f *frame
	if home != nil {
		f, _ = home.Get().(*frame)
	}
	if f == nil {
		f = &frame{b: make([]byte, 0, size), home: home}
	}
	f.b = append(f.b[:0], items...)
	f.items, f.count, f.seq = len(items), count, 0
	f.refs.Store(1)
	return f
}

// number writes seq and received behind the items.
func (f *frame) number(seq, received uint64) {
	f.seq = seq
	f.b = batch.AppendDownstreamSeq(f.b[:f.items], seq, received)
}

// size is what the frame costs as long as it is kept.
func (f *frame) size() int { return cap(f.b) }

// sole says that only the caller refers to the frame.
func (f *frame) sole() bool { return f.refs.Load() == 1 }

func (f *frame) release() {
	switch n := f.refs.Add(-1); {
	case n < 0:
		panic("manager: frame released twice")
	case n == 0 && f.home != nil:
		f.parts[0] = nil
		f.home.Put(f)
	}
}

// lend gives one reference to gRPC, which the sender took for it.
func (f *frame) lend() mem.BufferSlice {
	f.parts[0] = mem.NewBuffer(&f.b, f)
	return f.parts[:]
}

// Get is there because a mem.BufferPool has it; gRPC only gives back.
func (*frame) Get(n int) *[]byte {
	b := make([]byte, n)
	return &b
}

// Put is called by gRPC when the bytes are written.
func (f *frame) Put(*[]byte) { f.release() }
