package wire

import (
	"encoding/binary"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// Reason says why a link ends.
type Reason byte

// The reasons of section 1.2.
const (
	ByeNormal       Reason = 1
	ByeIdle         Reason = 2
	ByeProtocol     Reason = 3
	ByeLoginFailed  Reason = 4
	ByeLoginTimeout Reason = 5
	ByeReplaced     Reason = 6 // by a newer link of the same user and device: do not come back by yourself
	ByeKicked       Reason = 7
	ByeDraining     Reason = 8 // come back elsewhere, not before retry-after
	ByeOverloaded   Reason = 9
	ByeSlow         Reason = 10
	ByeRate         Reason = 11
	ByeNoManager    Reason = 12
)

// String names the reason as metrics and logs do; all unknown reasons share a
// name, so that a peer cannot make up new ones.
func (r Reason) String() string {
	switch r {
	case ByeNormal:
		return "normal"
	case ByeIdle:
		return "idle_timeout"
	case ByeProtocol:
		return "protocol_error"
	case ByeLoginFailed:
		return "login_failed"
	case ByeLoginTimeout:
		return "login_timeout"
	case ByeReplaced:
		return "replaced"
	case ByeKicked:
		return "kicked"
	case ByeDraining:
		return "draining"
	case ByeOverloaded:
		return "overloaded"
	case ByeSlow:
		return "slow_consumer"
	case ByeRate:
		return "rate_limited"
	case ByeNoManager:
		return "no_manager"
	}
	return "unknown"
}

const byeHead = 1 + 4 // reason, retry-after

// Bye is the rest of a BYE.
type Bye struct {
	Reason     Reason
	RetryAfter time.Duration // on the wire in whole milliseconds
	Text       []byte
}

// AppendBye appends a BYE. retryAfter is rounded up to milliseconds, because a
// client must not come back before it. The text is made valid UTF-8 and cut to
// fit a frame; where max_frame is less than MaxBody, the caller cuts it first
// with CutText.
func AppendBye(dst []byte, r Reason, retryAfter time.Duration, text string) []byte {
	text = CutText(strings.ToValidUTF8(text, "\uFFFD"), MaxBody)
	dst = AppendHead(dst, KindBye, byeHead+len(text))
	dst = append(dst, byte(r))
	dst = binary.BigEndian.AppendUint32(dst, millis(retryAfter))
	return append(dst, text...)
}

// CutText cuts the text of a BYE, between two runes, so that the body is no
// longer than maxFrame.
func CutText(text string, maxFrame int) string {
	n := max(maxFrame-1-byeHead, 0)
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// ParseBye reads the rest of a BYE; Text aliases it. A client may send a BYE of
// fewer than five bytes, which means ByeNormal whatever it holds (section 4).
func ParseBye(rest []byte) Bye {
	if len(rest) < byeHead {
		return Bye{Reason: ByeNormal}
	}
	return Bye{
		Reason:     Reason(rest[0]),
		RetryAfter: time.Duration(binary.BigEndian.Uint32(rest[1:])) * time.Millisecond,
		Text:       rest[byeHead:],
	}
}

// millis rounds d up to milliseconds within the range of the wire.
func millis(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	ms := (d-1)/time.Millisecond + 1
	return uint32(min(ms, math.MaxUint32))
}
