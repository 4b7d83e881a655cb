package delivery

import (
	"encoding/binary"
	"errors"
)

// A saved window, all integers big-endian:
//
//	version (1), patience (1), number of pushes (4); if there are any:
//	srtt (4), rttvar (4), base (4), and each push in the order of the tids:
//	tid (4), flags (1), tries (1), base (4), ms since the first send (4),
//	ms until due (4, signed), ms until its end (4, signed),
//	length of msg_id (1), length of the body (4), body
//
// Times are told from the moment of saving, so that the next process may count its milliseconds
// from another beginning.
const (
	stateVersion  = 1
	stateHead     = 1 + 1 + 4
	stateMeasured = 4 + 4 + 4
	stateRecord   = 4 + 1 + 1 + 4 + 4 + 4 + 4 + 1 + 4
)

// ErrState means that saved bytes are not those of a window, or of an order.
var ErrState = errors.New("delivery: not a saved state")

// AppendState adds what LoadState needs to make the link's window again in another process. A link
// without unacknowledged pushes has a state too, of six bytes; a caller may leave it out for Ref 0.
func (s *Windows) AppendState(dst []byte, r Ref, now Millis) []byte {
	dst = append(dst, stateVersion, byte(r>>slotBits))
	if !r.Open() {
		return append(dst, 0, 0, 0, 0)
	}
	w := s.window(r)
	dst = be32(dst, w.live, w.srtt, w.rttvar, w.base)
	items := s.records.items(&w.list)
	for i := range items {
		p := &items[i]
		if p.tries == 0 {
			continue
		}
		dst = append(be32(dst, p.tid), p.flags, p.tries)
		dst = be32(dst, p.base, uint32(now-p.first), uint32(p.due-now), uint32(p.end-now))
		dst = be32(append(dst, p.msgID), p.size)
		dst = append(dst, s.body(p)...)
	}
	return dst
}

func be32(dst []byte, list ...uint32) []byte {
	for _, v := range list {
		dst = binary.BigEndian.AppendUint32(dst, v)
	}
	return dst
}

// LoadState makes the window that the head of b tells of and returns how many bytes it took. It
// fails with ErrState, and has then made nothing. A window that is over the present limits is taken
// whole: what was accepted once is not lost by a new configuration.
func (s *Windows) LoadState(b []byte, now Millis) (r Ref, n int, err error) {
	count, n, err := checkWindow(b)
	if err != nil {
		return 0, 0, err
	}
	code := Ref(b[1]) << slotBits
	if count == 0 {
		return code, n, nil
	}
	r, w := s.openWindow(code)
	w.srtt, w.rttvar, w.base = word(b, stateHead), word(b, stateHead+4), word(b, stateHead+8)
	rest := b[stateHead+stateMeasured : n]
	for range count {
		p, body := parseRecord(rest, now)
		rest = rest[stateRecord+len(body):]
		q := s.add(w, p.tid)
		*q = p
		if len(body) > 0 {
			var kept []byte
			q.body, kept = takeBytes(&s.bodies, len(body))
			copy(kept, body)
		}
		s.book(w, q)
	}
	return r, n, nil
}

func word(b []byte, at int) uint32 { return binary.BigEndian.Uint32(b[at:]) }

// parseRecord reads the push at the head of b, which checkWindow has seen.
func parseRecord(b []byte, now Millis) (p record, body []byte) {
	p = record{
		tid: word(b, 0), flags: b[4], tries: b[5], base: word(b, 6),
		first: now - Millis(word(b, 10)), due: now + Millis(word(b, 14)), end: now + Millis(word(b, 18)),
		msgID: b[22], size: word(b, 23),
	}
	return p, b[stateRecord : stateRecord+int(p.size)]
}

// checkWindow returns how many pushes the saved window at the head of b has, and its length.
func checkWindow(b []byte) (count, n int, err error) {
	if len(b) < stateHead || b[0] != stateVersion {
		return 0, 0, ErrState
	}
	count, n = int(word(b, 2)), stateHead
	if count == 0 {
		return 0, n, nil
	}
	if b[1] != 0 || count > maxWindow || len(b) < n+stateMeasured || !waits(word(b, n+8)) ||
		word(b, n) > longestWait || word(b, n+4) > longestWait {
		return 0, 0, ErrState
	}
	n += stateMeasured
	first, last := uint32(0), uint32(0)
	for i := range count {
		if len(b)-n < stateRecord || !validRecord(b[n:]) {
			return 0, 0, ErrState
		}
		// Nothing can be so far from the first that it seems to lie before it.
		tid := word(b, n)
		if i == 0 {
			first = tid
		} else if tid-first <= last-first || int32(tid-first) < 0 {
			return 0, 0, ErrState
		}
		last = tid
		n += stateRecord + int(word(b, n+23))
	}
	return count, n, nil
}

func validRecord(b []byte) bool {
	flags, tries, msgID, size := b[4], b[5], uint32(b[22]), word(b, 23)
	sampled := flags == flagSampled
	return flags <= flagSampled && tries >= 1 && tries <= maxTries && (!sampled || tries == 1 && size == msgID) &&
		waits(word(b, 6)) && size >= msgID && size-msgID <= MaxFrame && len(b)-stateRecord >= int(size)
}

func waits(base uint32) bool { return base >= 1 && base <= longestWait }
