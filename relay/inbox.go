package relay

import "time"

// A bare receipt goes out when this many batches or this much time have passed without a batch of
// ours that could carry it.
const (
	receiptBatches = 32
	receiptDelay   = 50 * time.Millisecond
)

// verdict is what the inbox says about a number.
type verdict int

const (
	take     verdict = iota // the next one, or not numbered
	repeated                // taken before
	hole                    // something before it is missing
)

// inbox is the receiving half of a numbering: which Downstream comes next, and what receipts are
// owed. It is a value without clock or goroutine.
type inbox struct {
	last  uint64    // the highest number taken without a hole
	done  uint64    // the highest number up to which all is carried out: what is receipted. Without a keeper it is last
	base  uint64    // added to a number it is the position, which counts over all numberings of the stream
	loose bool      // the next number is taken as it comes
	owed  int       // batches taken since the last receipt
	since time.Time // when the first of them was
}

// judge looks at a batch's number.
func (in *inbox) judge(seq uint64) verdict {
	switch {
	case seq == 0 || seq == in.last+1 || in.loose:
		return take
	case seq <= in.last:
		return repeated
	}
	return hole
}

// took records that a batch is the shards' now, which counts as carried out. A repeated one is receipted again: the
// receipt may have been lost with the stream. It says whether the sender should know: a receipt began to be owed,
// or so many that it is due.
func (in *inbox) took(seq uint64, now time.Time) (tell bool) {
	if seq == 0 {
		return false
	}
	in.number(seq)
	return in.did(in.last, now)
}

// number records that a batch was taken in.
func (in *inbox) number(seq uint64) {
	if in.loose {
		in.base += in.last + 1 - seq
		in.last, in.loose = seq, false
	}
	in.last = max(in.last, seq)
}

// did records that all up to a batch is carried out, perhaps once more.
func (in *inbox) did(seq uint64, now time.Time) (tell bool) {
	in.done = max(in.done, seq)
	if in.owed == 0 {
		in.since = now
	}
	in.owed++
	return in.owed == 1 || in.owed == receiptBatches
}

// due says when a bare receipt has to go; ok is false while none is owed.
func (in *inbox) due() (at time.Time, ok bool) {
	if in.owed >= receiptBatches {
		return in.since, true
	}
	return in.since.Add(receiptDelay), in.owed > 0
}

// receipted records that done went out.
func (in *inbox) receipted() { in.owed = 0 }

// position is what counts on over all numberings: they may begin anew, it never goes back.
func (in *inbox) position(seq uint64) uint64 { return in.base + seq }

// restart begins the numbering of another Manager.
func (in *inbox) restart() { *in = inbox{base: in.position(in.last)} }

// loosen takes whatever number comes next: a Manager that repeats nothing may count as it likes on a
// new stream.
func (in *inbox) loosen() { *in = inbox{loose: true, base: in.position(in.last)} }

// tighten insists on the next number: the Manager repeats what we have not got.
func (in *inbox) tighten() { in.loose = false }
