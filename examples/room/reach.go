package main

import (
	"bytes"
	"strconv"
)

// considered is how many of the last pushes the estimate rests on. The newest settling ones do not count yet: their
// acknowledgements are still on their way.
const (
	considered = 32
	settling   = 4
)

// reach estimates how many people get the pushes to a room, by the acknowledgements of the few that were asked.
//
// A push that reaches N links asks each with the probability of the share p, so the acknowledgements of k pushes are N·k·p on
// average, and the estimate is off by a factor of 1 ± 1/√(N·k·p) typically: with 10,000 people, p = 0.01 and k = 28 by 2 %.
type reach struct {
	pushes uint64 // so far; the last one has this number
	acks   [considered]uint32
}

// next numbers a push and names it.
func (r *reach) next(room string) (msgID string) {
	r.pushes++
	r.acks[r.pushes%considered] = 0
	return pushID(room, r.pushes)
}

// seen counts an acknowledgement of a push that is still considered.
func (r *reach) seen(n uint64) {
	if n > 0 && n <= r.pushes && r.pushes-n < considered {
		r.acks[n%considered]++
	}
}

// people is the estimate for that share of asked links.
func (r *reach) people(share float64) float64 {
	settled := int64(r.pushes) - settling
	from := max(int64(r.pushes)-considered+1, 1)
	if settled < from {
		return 0
	}
	var acks uint64
	for n := from; n <= settled; n++ {
		acks += uint64(r.acks[n%considered])
	}
	return float64(acks) / float64(settled-from+1) / share
}

func parsePushID(id []byte) (room string, n uint64, ok bool) {
	number, name, found := bytes.Cut(id, []byte(" "))
	n, err := strconv.ParseUint(string(number), 10, 64)
	return string(name), n, found && err == nil
}

func pushID(room string, n uint64) string { return strconv.FormatUint(n, 10) + " " + room }
