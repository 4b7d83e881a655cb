package swarm

import "encoding/binary"

// PayloadHead is the size of what stands at the beginning of each payload:
//
//	0..3    magic "swm1"
//	4       op
//	5..8    the client's number of the message, from 1
//	9..16   when it was sent, ns of the client's clock; the Manager returns it untouched
//	17..20  the Manager's number of what it sends to this link, answers and pushes alike, from 1; 0 from a client
//	21..    echo and push: filler, which the client knows again; report: a Tally
//
// Both sides' numbers are those of one link: a client that comes back begins with 1 again.
const PayloadHead = 21

const magic = "swm1"

// Op says what a payload is.
type Op byte

// The ops of the echo contract.
const (
	OpEcho   Op = 1 // both ways
	OpFinish Op = 2 // to the Manager: the number is the last one sent
	OpReport Op = 3 // from the Manager: the answer to a finish
	OpPush   Op = 4 // both ways: an echo that comes back as a push which wants an ACK
)

// Payload is a payload taken apart.
type Payload struct {
	Op     Op
	Seq    uint32
	SentNs uint64
	Answer uint32
	Rest   []byte
}

// ParsePayload takes b apart; Rest aliases it. ok is false when b is no payload of a swarm.
func ParsePayload(b []byte) (p Payload, ok bool) {
	if len(b) < PayloadHead || string(b[:4]) != magic || b[4] < byte(OpEcho) || b[4] > byte(OpPush) {
		return Payload{}, false
	}
	return Payload{
		Op:     Op(b[4]),
		Seq:    binary.BigEndian.Uint32(b[5:]),
		SentNs: binary.BigEndian.Uint64(b[9:]),
		Answer: binary.BigEndian.Uint32(b[17:]),
		Rest:   b[PayloadHead:],
	}, true
}

// AppendPayload appends p.
func AppendPayload(dst []byte, p Payload) []byte {
	dst = append(dst, magic...)
	dst = append(dst, byte(p.Op))
	dst = binary.BigEndian.AppendUint32(dst, p.Seq)
	dst = binary.BigEndian.AppendUint64(dst, p.SentNs)
	dst = binary.BigEndian.AppendUint32(dst, p.Answer)
	return append(dst, p.Rest...)
}

// fillerWord returns eight bytes of the filler of a message. The constants are those of SplitMix64.
func fillerWord(link, seq, i uint32) uint64 {
	z := uint64(link)<<32 + uint64(seq) + uint64(i+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// AppendFiller appends n bytes which only this message of this link has.
func AppendFiller(dst []byte, link, seq uint32, n int) []byte {
	i := uint32(0)
	for ; n >= 8; n -= 8 {
		dst = binary.LittleEndian.AppendUint64(dst, fillerWord(link, seq, i))
		i++
	}
	for w := fillerWord(link, seq, i); n > 0; n-- {
		dst = append(dst, byte(w))
		w >>= 8
	}
	return dst
}

// FillerOK says whether b is what AppendFiller appends for that message.
func FillerOK(b []byte, link, seq uint32) bool {
	i := uint32(0)
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b) != fillerWord(link, seq, i) {
			return false
		}
		i++
	}
	w := fillerWord(link, seq, i)
	for _, c := range b {
		if c != byte(w) {
			return false
		}
		w >>= 8
	}
	return true
}

// MaxTallyList is how many missing numbers a report names.
const MaxTallyList = 16

// Tally is what a Ledger found. Received + Missing is the number of messages that were sent.
type Tally struct {
	Received   uint32 // different numbers that came
	Missing    uint32
	Doubled    uint32   // messages whose number had come before
	Disordered uint32   // messages that came after one with a higher number
	First      []uint32 // the first missing numbers, MaxTallyList at most
}

const tallyFixed = 4 * 4

// AppendReport appends the answer to finish: its head as it came but for op and the Manager's number, and t.
func AppendReport(dst []byte, finish Payload, answer uint32, t Tally) []byte {
	finish.Op, finish.Answer, finish.Rest = OpReport, answer, nil
	dst = AppendPayload(dst, finish)
	for _, n := range [...]uint32{t.Received, t.Missing, t.Doubled, t.Disordered} {
		dst = binary.BigEndian.AppendUint32(dst, n)
	}
	for _, n := range t.First[:min(len(t.First), MaxTallyList)] {
		dst = binary.BigEndian.AppendUint32(dst, n)
	}
	return dst
}

// ParseReport takes the rest of a report apart; false when it is none.
func ParseReport(rest []byte) (Tally, bool) {
	list := len(rest) - tallyFixed
	if list < 0 || list%4 != 0 || list/4 > MaxTallyList {
		return Tally{}, false
	}
	u32 := func(i int) uint32 { return binary.BigEndian.Uint32(rest[4*i:]) }
	t := Tally{Received: u32(0), Missing: u32(1), Doubled: u32(2), Disordered: u32(3)}
	for i := range list / 4 {
		t.First = append(t.First, u32(4+i))
	}
	return t, uint32(len(t.First)) <= t.Missing
}

// Answerer is the Manager's side of the echo contract for one link. The zero value is ready. It belongs to whoever handles
// that link's messages, one at a time.
type Answerer struct {
	ledger  Ledger
	answers uint32
}

// Answer appends the answer to a client's payload; it appends nothing to one that is not from a swarm. That to an OpPush is
// to be sent as a push that wants an ACK.
func (a *Answerer) Answer(dst, payload []byte) []byte {
	p, ok := ParsePayload(payload)
	if !ok || p.Op == OpReport {
		return dst
	}
	a.answers++
	if p.Op == OpFinish {
		return AppendReport(dst, p, a.answers, a.ledger.Report(p.Seq))
	}
	a.ledger.Receive(p.Seq)
	p.Answer = a.answers
	return AppendPayload(dst, p)
}
