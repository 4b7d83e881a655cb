package batch

// What a gateway says to a Manager: PROTOCOL.md 2.2. The bytes are written in append_up.go and read in parse_up.go.

// Kinds of a client's message, which are those of the frame that it came in: ClientMessage.Kind.
const (
	KindHello byte = 1
	KindData  byte = 3

	// KindOther stands for any number that does not fit a byte; nobody defines one.
	KindOther byte = 255
)

// UpWhat names the member of UpItem's oneof that is set. It is numbered like its field.
type UpWhat byte

// What an item tells; UpNone: nothing that this version knows.
const (
	UpNone        UpWhat = 0
	UpOpened      UpWhat = 3
	UpMessage     UpWhat = 4
	UpAcked       UpWhat = 5
	UpUndelivered UpWhat = 6
	UpClosed      UpWhat = 7
	UpRefused     UpWhat = 8
)

// Side is who ended a link: Closed.Side.
type Side int32

// The sides. SideNetwork: nobody did, the connection was lost.
const (
	SideUnspecified Side = iota
	SideClient
	SideGateway
	SideManager
	SideNetwork
)

// String returns the side as a label of metrics.
func (s Side) String() string {
	return label(int32(s), "unspecified", "client", "gateway", "manager", "network")
}

// Code is why an operation was not carried out: Refused.Code.
type Code int32

// The codes.
const (
	CodeUnspecified Code = iota
	CodeInvalid
	CodeStaleLink
	CodeSessionKey // a key that belongs to the gateway
	CodeSessionFull
	CodeNotHere
	CodeTooLarge
)

// String returns the code as a label of metrics.
func (c Code) String() string {
	return label(int32(c), "unspecified", "invalid", "stale_link", "session_key", "session_full", "not_here", "too_large")
}

// LossReason is why a push did not reach its link for sure: Loss.Reason.
type LossReason int32

// The reasons.
const (
	LossUnspecified LossReason = iota
	LossNoAck                  // all tries used up, or time to live over
	LossLinkClosed
	LossStaleLink  // index and uniq do not fit (any more)
	LossNotHere    // user, device or room without a link on this gateway
	LossWindowFull // too many unacknowledged pushes or bytes on this link
	LossTooLarge
)

// String returns the reason as a label of metrics.
func (r LossReason) String() string {
	return label(int32(r), "unspecified", "no_ack", "link_closed", "stale_link", "not_here", "window_full", "too_large")
}

func label(v int32, names ...string) string {
	if v < 0 || int(v) >= len(names) {
		return "unknown"
	}
	return names[v]
}

// Receipt is one acknowledged push.
type Receipt struct {
	TID     uint32
	MsgID   []byte // UTF-8
	Sampled bool
	Tries   uint32 // how often it was sent
}

// Loss is one push that did not reach its link for sure.
type Loss struct {
	MsgID  []byte // UTF-8
	Reason LossReason
}

// UpItem is one item of an Upstream as ParseUpItem found it. Only the fields that belong to What are set, besides the
// link and the session. Slices alias the item.
type UpItem struct {
	Link    Link
	HasLink bool
	Session []byte // the Session message, for SessionValue and SessionEach; not looked into yet
	What    UpWhat

	// UpMessage.
	Kind    byte
	Payload []byte

	// UpClosed.
	Reason   uint32 // of BYE, PROTOCOL.md 1.2; 0: the connection was lost without one
	Side     Side
	Evidence []byte

	// UpRefused.
	Ref  uint64
	Code Code
	Text []byte

	Receipts Receipts // UpAcked
	Losses   Losses   // UpUndelivered
}

// Receipts walks over the receipts of an UpAcked. They were checked by ParseUpItem. A copy walks on its own.
type Receipts struct {
	c cursor
}

// Next returns the next receipt. It returns false at the end.
func (r *Receipts) Next() (Receipt, bool) {
	for r.c.next() {
		if r.c.tag == ackedReceipts {
			return parseReceipt(r.c.data)
		}
	}
	return Receipt{}, false
}

// Losses walks over the losses of an UpUndelivered. They were checked by ParseUpItem. A copy walks on its own.
type Losses struct {
	c cursor
}

// Next returns the next loss. It returns false at the end.
func (l *Losses) Next() (Loss, bool) {
	for l.c.next() {
		if l.c.tag == undeliveredLosses {
			return parseLoss(l.c.data)
		}
	}
	return Loss{}, false
}
