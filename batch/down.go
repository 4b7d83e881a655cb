package batch

// What a Manager says to a gateway: PROTOCOL.md 2.3. The bytes are written in append_down.go and read in parse_down.go.

// TargetKind names whom an operation is for: the member of DownItem's oneof `target` that is set. It is numbered like its
// field.
type TargetKind byte

// The targets; TargetNone: none that this version knows.
const (
	TargetNone TargetKind = iota
	TargetLink
	TargetUser
	TargetDevice
	TargetRoom
	TargetEveryone
)

// Op names what is to be done: the member of DownItem's oneof `what` that is set. It is numbered like its field.
type Op byte

// The operations; OpNone: none that this version knows.
const (
	OpNone    Op = 0
	OpData    Op = 6
	OpPush    Op = 7
	OpSession Op = 8
	OpBind    Op = 9
	OpJoin    Op = 10
	OpLeave   Op = 11
	OpClose   Op = 12
)

// String returns the operation as a label of metrics.
func (o Op) String() string {
	if o < OpData {
		return "none"
	}
	return label(int32(o-OpData), "data", "push", "session", "bind", "join", "leave", "close")
}

// Ack says which acknowledgement a push wants: Push.Ack.
type Ack int32

// The ack modes.
const (
	AckNone Ack = iota
	AckRequired
	AckSampled // for statistics only, of the share of links that the gateway picks
)

// Target is whom an appended operation is for. Only the fields that belong to Kind count.
type Target struct {
	Kind   TargetKind
	Link   Link
	User   string
	Device string
	Room   string
}

// ToLink addresses one link.
func ToLink(l Link) Target { return Target{Kind: TargetLink, Link: l} }

// ToUser addresses all links of a user.
func ToUser(user string) Target { return Target{Kind: TargetUser, User: user} }

// ToDevice addresses the link of one device of a user.
func ToDevice(user, device string) Target {
	return Target{Kind: TargetDevice, User: user, Device: device}
}

// ToRoom addresses all links in a room.
func ToRoom(room string) Target { return Target{Kind: TargetRoom, Room: room} }

// ToEveryone addresses all links that have had their WELCOME.
func ToEveryone() Target { return Target{Kind: TargetEveryone} }

// Push is a push as a Manager or the queue layer orders it.
type Push struct {
	Payload   []byte
	MsgID     []byte // UTF-8; the sender's, needed with AckRequired
	Ack       Ack
	AllowGzip bool
	TTLMs     uint32 // 0: the gateway's setting

	// Set by the queue layer for offline messages.
	PackageID uint32 // 0: not part of a package
	SeqID     uint32
	Count     uint32
	Version   uint64 // the user's version of this message; 0: none
}

// Bind says who a link is: its login is accepted.
type Bind struct {
	User, Device []byte // UTF-8
	Synced       uint64 // offline messages after this version are wanted; 0: the stored one
}

// Close ends a link.
type Close struct {
	Reason       uint32 // of BYE, PROTOCOL.md 1.2; 0 means 7, kicked
	RetryAfterMs uint32
	Text         []byte // UTF-8
}

// KV is one key of a session and its value.
type KV struct {
	Key, Value string
}

// DownItem is one item of a Downstream as ParseDownItem found it. Only the fields that belong to Target and Op are set,
// and Ref. Slices alias the item.
type DownItem struct {
	Target TargetKind
	Link   Link   // TargetLink
	User   []byte // TargetUser, TargetDevice
	Device []byte // TargetDevice
	Room   []byte // TargetRoom

	Op     Op
	Data   []byte // OpData
	Push   Push   // OpPush
	Patch  []byte // OpSession: the SessionPatch message, well-formed
	Bind   Bind   // OpBind
	OpRoom []byte // OpJoin, OpLeave: which room; Room is the target's
	Close  Close  // OpClose

	Ref uint64 // the Manager's own number, returned in Refused; 0: tell it nothing
}
