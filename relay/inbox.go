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

// took records that a batch is the shards' now. A repeated one is receipted again: the receipt may
// have been lost with the stream. It says whether the sender should know: a receipt began to be owed,
// or so many that it is due.
func (in *inbox) took(seq uint64, now time.Time) (tell bool) {
	if seq == 0 {
		return false
	}
	if in.loose || seq > in.last {
		in.last, in.loose = seq, false
	}
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

// receipted records that last went out.
func (in *inbox) receipted() { in.owed = 0 }

// restart begins the numbering of another Manager.
func (in *inbox) restart() { *in = inbox{} }

// loosen takes whatever number comes next: a Manager that repeats nothing may count as it likes on a
// new stream.
func (in *inbox) loosen() { *in = inbox{loose: true} }

// tighten insists on the next number: the Manager repeats what we have not got.
func (in *inbox) tighten() { in.loose = false }
