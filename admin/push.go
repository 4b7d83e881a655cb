package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of a push.
const (
	MaxPayload = 1 << 20 // bytes
	MaxMsgID   = 255     // bytes
	maxTo      = 4 << 10 // bytes; a session, which holds user and device, has no more by default
	maxPush    = 2 << 20 // bytes of the whole request; base64 makes four of three
)

// TargetKind names whom a push is for, as it stands before the colon.
type TargetKind string

// The targets.
const (
	ToUser     TargetKind = "user"
	ToDevice   TargetKind = "device"
	ToRoom     TargetKind = "room"
	ToEveryone TargetKind = "everyone"
	ToLink     TargetKind = "link"
)

// Target is whom a push is for. Only what belongs to Kind counts.
type Target struct {
	Kind   TargetKind
	User   string // ToUser, ToDevice
	Device string
	Room   string
	Link   string // a link ID
}

// ParseTarget reads "user:42", "device:42/phone", "room:live-1", "everyone" and "link:192.0.2.7:8000:231:23". The user of a
// device ends at the first slash.
func ParseTarget(s string) (Target, error) {
	kind, name, _ := strings.Cut(s, ":")
	t := Target{Kind: TargetKind(kind)}
	whole := name != ""
	switch {
	case len(s) > maxTo:
		return Target{}, fmt.Errorf("to: longer than %d bytes", maxTo)
	case !utf8.ValidString(s):
		return Target{}, errors.New("to: not UTF-8")
	case t.Kind == ToUser:
		t.User = name
	case t.Kind == ToDevice:
		t.User, t.Device, _ = strings.Cut(name, "/")
		whole = t.User != "" && t.Device != ""
	case t.Kind == ToRoom:
		t.Room = name
	case t.Kind == ToLink:
		t.Link = name
	case t.Kind == ToEveryone:
		whole = s == string(ToEveryone)
	default:
		whole = false
	}
	if !whole {
		return Target{}, fmt.Errorf("to: %q is not user:NAME, device:USER/DEVICE, room:NAME, everyone or link:ID", s)
	}
	return t, nil
}

// String is what ParseTarget reads.
func (t Target) String() string {
	switch t.Kind {
	case ToUser:
		return "user:" + t.User
	case ToDevice:
		return "device:" + t.User + "/" + t.Device
	case ToRoom:
		return "room:" + t.Room
	case ToLink:
		return "link:" + t.Link
	}
	return string(t.Kind)
}

// The acknowledgements that PushRequest.Ack names. None is meant where it is empty.
const (
	AckNone     = "none"
	AckRequired = "required"
	AckSampled  = "sampled"
)

// PushRequest asks a daemon to push a message.
type PushRequest struct {
	To      Target
	Payload []byte
	MsgID   string // the sender's; one that must be acknowledged and has none gets one
	Ack     string
	Gzip    bool          // the payload may be sent compressed
	TTL     time.Duration // how long it is worth an attempt, in milliseconds; 0: the gateway's setting
}

// pushJSON is a PushRequest on the wire.
type pushJSON struct {
	To      string  `json:"to"`
	Text    *string `json:"text,omitempty"`
	Payload *[]byte `json:"payload,omitempty"` // base64
	MsgID   string  `json:"msg_id,omitempty"`
	Ack     string  `json:"ack,omitempty"`
	Gzip    bool    `json:"gzip,omitempty"`
	TTLMs   int64   `json:"ttl_ms,omitempty"`
}

// Validate says what is wrong with a request.
func (r PushRequest) Validate() error {
	if again, err := ParseTarget(r.To.String()); err != nil {
		return err
	} else if again != r.To {
		return fmt.Errorf("to: no text means %+v", r.To)
	}
	const most = math.MaxUint32 * time.Millisecond
	switch {
	case len(r.Payload) > MaxPayload:
		return fmt.Errorf("payload: %d bytes, not %d at most", len(r.Payload), MaxPayload)
	case len(r.MsgID) > MaxMsgID || !utf8.ValidString(r.MsgID):
		return fmt.Errorf("msg_id: not UTF-8 of at most %d bytes", MaxMsgID)
	case r.Ack != "" && r.Ack != AckNone && r.Ack != AckRequired && r.Ack != AckSampled:
		return fmt.Errorf("ack: %q is not none, required or sampled", r.Ack)
	case r.TTL != 0 && (r.TTL < time.Millisecond || r.TTL > most):
		return fmt.Errorf("ttl_ms: %v is not between 1ms and %v", r.TTL, most)
	}
	return nil
}

// MarshalJSON writes the form that POST /v1/push takes.
func (r PushRequest) MarshalJSON() ([]byte, error) {
	payload := r.Payload
	if payload == nil {
		payload = []byte{} // nil is null, which is no payload
	}
	return json.Marshal(pushJSON{
		To: r.To.String(), Payload: &payload, MsgID: r.MsgID, Ack: r.Ack, Gzip: r.Gzip, TTLMs: r.TTL.Milliseconds(),
	})
}

// UnmarshalJSON reads that form. An unknown field is refused: whoever misspells "ack" must not believe that it is heard.
func (r *PushRequest) UnmarshalJSON(b []byte) error {
	var w pushJSON
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		return pushError(err)
	}
	p := PushRequest{MsgID: w.MsgID, Ack: w.Ack, Gzip: w.Gzip, TTL: time.Duration(w.TTLMs) * time.Millisecond}
	switch {
	case w.Text != nil && w.Payload != nil:
		return errors.New("text and payload exclude each other")
	case w.Text != nil:
		p.Payload = []byte(*w.Text)
	case w.Payload != nil:
		p.Payload = *w.Payload
	default:
		return errors.New("a push needs text or payload")
	}
	if w.TTLMs < 0 || w.TTLMs > math.MaxUint32 {
		return fmt.Errorf("ttl_ms: %d is not between 0 and %d", w.TTLMs, uint32(math.MaxUint32))
	}
	var err error
	if p.To, err = ParseTarget(w.To); err != nil {
		return err
	}
	*r = p
	return nil
}

// parsePush reads the body of POST /v1/push.
func parsePush(body []byte) (PushRequest, error) {
	var r PushRequest
	if !utf8.Valid(body) { // encoding/json would push something else instead
		return r, errors.New("the body is not UTF-8")
	}
	if len(bytes.TrimSpace(body)) == 0 || bytes.Equal(bytes.TrimSpace(body), []byte("null")) {
		return r, errors.New("the body is not a JSON object")
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return r, pushError(err)
	}
	return r, r.Validate()
}

// pushError turns what encoding/json says into a sentence for who wrote the request.
func pushError(err error) error {
	if strings.HasPrefix(err.Error(), "illegal base64") {
		return errors.New("payload: not base64")
	}
	return jsonError(err, "a push takes to, text, payload, msg_id, ack, gzip and ttl_ms")
}
