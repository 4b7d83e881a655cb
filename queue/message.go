package queue

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"edged/batch"
)

// Message is what a sender wants delivered.
type Message struct {
	To      batch.Target // a user, a device, a room or everyone
	MsgID   string       // at most 255 bytes of UTF-8; empty: none
	Payload []byte
	Ack     batch.Ack
	Offline bool          // store it for those who are away
	NoGzip  bool          // it must not be sent as gzip
	TTL     time.Duration // from when the source took it; 0: no end
}

// Field is one field of an entry.
type Field struct{ Name, Value string }

// The fields of an entry, PROTOCOL.md section 3. Others are left alone.
const (
	fieldTo      = "to"
	fieldPayload = "payload"
	fieldMsgID   = "msg_id"
	fieldAck     = "ack"
	fieldOffline = "offline"
	fieldTTL     = "ttl_ms"
	fieldGzip    = "gzip"
)

// maxTTL is beyond what anything is kept.
const maxTTL = 10 * 365 * 24 * time.Hour

// Reason says why an entry can never be handled: the field `reason` of edged:dead, and a label of metrics.
type Reason byte

// The reasons.
const (
	BadTo Reason = iota
	NoPayload
	PayloadTooLarge
	BadMsgID
	BadAck
	BadOffline
	BadTTL
	BadGzip
	FieldTwice
	NoMembers       // a room, or everyone, cannot be stored for
	DeviceStored    // a log belongs to a user
	Clash           // a key of the user is not what it should be
	TooManyAttempts // each process that got it died

	reasons = iota
)

var reasonNames = [reasons]string{"bad-to", "no-payload", "payload-too-large", "bad-msg-id", "bad-ack", "bad-offline", "bad-ttl", "bad-gzip",
	"field-twice", "no-members", "device-stored", "clash", "too-many-attempts"}

// String returns the reason as it stands in edged:dead.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "Reason(" + strconv.Itoa(int(r)) + ")"
}

// BadError tells what is wrong with a message.
type BadError struct {
	Reason Reason
	Field  string
	Text   string
}

func (e *BadError) Error() string { return e.Field + ": " + e.Text }

func bad(r Reason, field, format string, args ...any) *BadError {
	return &BadError{r, field, fmt.Sprintf(format, args...)}
}

// ParseTo reads whom a message is for: `user:42`, `device:42/phone`, `room:live-1` or `everyone`. The first slash ends a
// user's name, so that a device's may have one.
func ParseTo(s string) (batch.Target, error) {
	kind, name, found := strings.Cut(s, ":")
	switch {
	case s == "everyone":
		return batch.ToEveryone(), nil
	case !found || kind != "user" && kind != "device" && kind != "room":
		return batch.Target{}, fmt.Errorf("%s is not user:U, device:U/D, room:R or everyone", quote(s))
	case kind == "room":
		return batch.ToRoom(name), checkName("room", name)
	case kind == "user":
		return batch.ToUser(name), checkUser(name)
	}
	user, device, found := strings.Cut(name, "/")
	if !found {
		return batch.Target{}, fmt.Errorf("%s is not device:U/D", quote(s))
	}
	err := checkUser(user)
	if err == nil {
		err = checkName("device", device)
	}
	return batch.ToDevice(user, device), err
}

// checkUser wants a name that can be a hash tag, because that is what keeps a user's keys together.
func checkUser(s string) error {
	if strings.HasPrefix(s, "}") {
		return errors.New("a user cannot begin with }")
	}
	return checkName("user", s)
}

func checkName(what, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("the %s is empty", what)
	case len(s) > maxName:
		return fmt.Errorf("the %s has %d bytes, not %d at most", what, len(s), maxName)
	case !utf8.ValidString(s):
		return fmt.Errorf("the %s is not UTF-8", what)
	}
	return nil
}

// FormatTo is the reverse of ParseTo.
func FormatTo(t batch.Target) string {
	switch t.Kind {
	case batch.TargetUser:
		return "user:" + t.User
	case batch.TargetDevice:
		return "device:" + t.User + "/" + t.Device
	case batch.TargetRoom:
		return "room:" + t.Room
	}
	return "everyone"
}

// Parse reads the fields of an entry. The error is a *BadError.
func Parse(fields []Field, payloadMax int) (Message, error) {
	var m Message
	var seen [7]bool
	for _, f := range fields {
		i, err := m.set(f, payloadMax)
		switch {
		case i < 0:
			continue
		case seen[i]:
			return m, bad(FieldTwice, f.Name, "stands there twice")
		case err != nil:
			return m, err
		}
		seen[i] = true
	}
	if !seen[0] {
		return m, bad(BadTo, fieldTo, "missing")
	}
	if !seen[1] {
		return m, bad(NoPayload, fieldPayload, "missing")
	}
	if err := m.checkTogether(); err != nil {
		return m, err
	}
	return m, nil
}

// set takes in one field and returns which it is, -1 for one that means nothing here. An empty value is as none, except for the
// first two.
func (m *Message) set(f Field, payloadMax int) (int, error) {
	switch f.Name {
	case fieldTo:
		var err error
		if m.To, err = ParseTo(f.Value); err != nil {
			return 0, &BadError{BadTo, fieldTo, err.Error()}
		}
		return 0, nil
	case fieldPayload:
		if len(f.Value) > payloadMax {
			return 1, tooLarge(len(f.Value), payloadMax)
		}
		m.Payload = []byte(f.Value)
		return 1, nil
	case fieldMsgID:
		m.MsgID = f.Value
		return 2, m.checkMsgID()
	case fieldAck:
		return 3, m.setAck(f.Value)
	case fieldOffline:
		return 4, flag(&m.Offline, f.Value, "1", "0", BadOffline, fieldOffline)
	case fieldTTL:
		return 5, m.setTTL(f.Value)
	case fieldGzip:
		return 6, flag(&m.NoGzip, f.Value, "0", "1", BadGzip, fieldGzip)
	}
	return -1, nil
}

func tooLarge(size, most int) error {
	return bad(PayloadTooLarge, fieldPayload, "has %d bytes, not %d at most", size, most)
}

func (m *Message) checkMsgID() error {
	if len(m.MsgID) > maxMsgID {
		return bad(BadMsgID, fieldMsgID, "has %d bytes, not %d at most", len(m.MsgID), maxMsgID)
	}
	if !utf8.ValidString(m.MsgID) {
		return bad(BadMsgID, fieldMsgID, "is not UTF-8")
	}
	return nil
}

func (m *Message) setAck(s string) error {
	switch s {
	case "", "none":
		m.Ack = batch.AckNone
	case "required":
		m.Ack = batch.AckRequired
	case "sampled":
		m.Ack = batch.AckSampled
	default:
		return bad(BadAck, fieldAck, "%s is not none, required or sampled", quote(s))
	}
	return nil
}

func (m *Message) setTTL(s string) error {
	if s == "" {
		return nil
	}
	ms, err := strconv.ParseUint(s, 10, 63)
	if err != nil || ms > uint64(maxTTL.Milliseconds()) {
		return bad(BadTTL, fieldTTL, "%s is not a number of milliseconds up to ten years", quote(s))
	}
	m.TTL = time.Duration(ms) * time.Millisecond
	return nil
}

// flag sets to by one of two words; none leaves it.
func flag(to *bool, s, yes, no string, r Reason, field string) error {
	switch s {
	case yes, no:
		*to = s == yes
	case "":
	default:
		return bad(r, field, "%s is not 0 or 1", quote(s))
	}
	return nil
}

// checkTogether finds what no field alone can show.
func (m *Message) checkTogether() error {
	switch {
	case m.Offline && m.To.Kind == batch.TargetDevice:
		return bad(DeviceStored, fieldOffline, "messages are stored for users, not for a device of one")
	case m.Offline && m.To.Kind != batch.TargetUser:
		return bad(NoMembers, fieldOffline, "messages are stored for users; who is in a room when they come back is not known")
	}
	return nil
}

// AppendFields appends the fields that Parse reads as m.
func (m *Message) AppendFields(dst []Field) []Field {
	dst = append(dst, Field{fieldTo, FormatTo(m.To)}, Field{fieldPayload, string(m.Payload)})
	add := func(name, value string, set bool) {
		if set {
			dst = append(dst, Field{name, value})
		}
	}
	add(fieldMsgID, m.MsgID, m.MsgID != "")
	add(fieldAck, ackNames[m.Ack], m.Ack != batch.AckNone)
	add(fieldOffline, "1", m.Offline)
	add(fieldTTL, strconv.FormatInt(m.TTL.Milliseconds(), 10), m.TTL != 0)
	add(fieldGzip, "0", m.NoGzip)
	return dst
}

var ackNames = map[batch.Ack]string{batch.AckNone: "none", batch.AckRequired: "required", batch.AckSampled: "sampled"}

// quote shows what may be long and may hold anything.
func quote(s string) string {
	const most = 64
	if len(s) > most {
		return strconv.QuoteToASCII(strings.ToValidUTF8(s[:most], "")) + "..."
	}
	return strconv.QuoteToASCII(s)
}
