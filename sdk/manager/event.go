package manager

import (
	"time"

	"edged/batch"
	"edged/wire"
)

// Handler is the functions that are called for what the gateways say; those that are nil are not called.
//
// Each stream of each gateway calls them from one goroutine of its own: what concerns one link comes in order and never
// twice at a time, links of different shards or gateways come at the same time. A call that waits holds up the links of
// that shard. A panic is counted and logged, and the next event comes as if nothing had happened.
type Handler struct {
	Opened      func(*Event) // a client connected
	Hello       func(*Event) // a client says who it is: Event.Payload. Bind or Close the link
	Data        func(*Event) // a client's message: Event.Payload
	Acked       func(*Event) // clients acknowledged pushes: Event.Receipts
	Undelivered func(*Event) // pushes with AckRequired that may not have arrived: Event.Losses
	Closed      func(*Event) // the link is no more: Event.Reason, Side and Evidence. The last event of a link
	Refused     func(*Event) // an operation with a ref was not carried out: Event.Ref, Code and Text

	// Lost is called when an epoch of a gateway is over, because the gateway started afresh: all its links are gone, and
	// no Closed comes for them. It is called after the last event of that epoch, or at the same time as the first ones
	// of the next.
	Lost func(Gateway)
}

// Kind is what an Event tells.
type Kind byte

// The kinds of events, one for each function of Handler.
const (
	Opened Kind = iota + 1
	Hello
	Data
	Acked
	Undelivered
	Closed
	Refused
)

// Event is one thing that a gateway told. It is lent for the call, with all slices that it gives out. Its methods act on
// the event's own link; what they write goes out together when the events that came together have been handled.
type Event struct {
	Kind    Kind
	Link    Link
	Session Session

	Payload []byte // Hello, Data: the client's bytes

	Reason   wire.Reason // Closed; 0: the connection was lost without a BYE
	Side     Side        // Closed
	Evidence []byte      // Closed, for people: errno, what was exceeded

	Ref  uint64 // Refused
	Code Code   // Refused
	Text []byte // Refused, for people

	receipts batch.Receipts
	losses   batch.Losses
	s        *stream
}

// Side is who ended a link, Code why an operation was refused, LossReason why a push did not arrive for sure.
type (
	Side       = batch.Side
	Code       = batch.Code
	LossReason = batch.LossReason
	Receipt    = batch.Receipt
	Loss       = batch.Loss
)

// The sides; SideNetwork: nobody ended it, the connection was lost.
const (
	SideClient  = batch.SideClient
	SideGateway = batch.SideGateway
	SideManager = batch.SideManager
	SideNetwork = batch.SideNetwork
)

// Why operations are refused: Event.Code.
const (
	RefusedInvalid     = batch.CodeInvalid
	RefusedStaleLink   = batch.CodeStaleLink // the link is no more
	RefusedSessionKey  = batch.CodeSessionKey
	RefusedSessionFull = batch.CodeSessionFull
	RefusedNotHere     = batch.CodeNotHere // the gateway knows no such user, device or room
	RefusedTooLarge    = batch.CodeTooLarge
)

// Why a push did not arrive, or not for sure.
const (
	LossUnspecified = batch.LossUnspecified
	LossNoAck       = batch.LossNoAck // all tries used up, or the time to live over
	LossLinkClosed  = batch.LossLinkClosed
	LossStaleLink   = batch.LossStaleLink // the link is no more
	LossNotHere     = batch.LossNotHere   // the gateway knows no such user, device or room
	LossWindowFull  = batch.LossWindowFull
	LossTooLarge    = batch.LossTooLarge
)

// Gateway returns the gateway that the event came from.
func (e *Event) Gateway() Gateway { return *e.s.lane.of.info.Load() }

// Manager returns the Manager that called.
func (e *Event) Manager() *Manager { return e.s.m }

// Receipts calls f for each push of an Acked until f returns false: for r := range e.Receipts {...}.
func (e *Event) Receipts(f func(Receipt) bool) {
	walk := e.receipts
	for {
		r, ok := walk.Next()
		if !ok || !f(r) {
			return
		}
	}
}

// Losses calls f for each push of an Undelivered until f returns false: for l := range e.Losses {...}.
func (e *Event) Losses(f func(Loss) bool) {
	walk := e.losses
	for {
		l, ok := walk.Next()
		if !ok || !f(l) {
			return
		}
	}
}

// Data is Manager.Data for the event's link.
func (e *Event) Data(payload []byte, ref ...uint64) error {
	w, err := e.writer()
	if err != nil {
		return err
	}
	return w.put(w.box.data(batch.ToLink(e.Link.name()), first(ref), payload))
}

// Push is Manager.Push for the event's link.
func (e *Event) Push(p Push, ref ...uint64) error {
	w, err := e.writer()
	if err != nil {
		return err
	}
	return w.put(w.box.push(batch.ToLink(e.Link.name()), first(ref), &p))
}

// Patch is Manager.Patch for the event's link.
func (e *Event) Patch(set map[string]string, del []string, ref ...uint64) error {
	w, err := e.writer()
	if err != nil {
		return err
	}
	return w.put(w.box.patch(batch.ToLink(e.Link.name()), first(ref), set, del))
}

// Change is Manager.Change for the event's link.
func (e *Event) Change(changes ...Change) error {
	w, err := e.writer()
	if err != nil {
		return err
	}
	return w.put(w.box.change(batch.ToLink(e.Link.name()), changes))
}

// Bind is Manager.Bind for the event's link.
func (e *Event) Bind(user, device string, ref ...uint64) error {
	return e.BindSynced(user, device, 0, ref...)
}

// BindSynced is Manager.BindSynced for the event's link.
func (e *Event) BindSynced(user, device string, synced uint64, ref ...uint64) error {
	w, err := e.writer()
	if err != nil {
		return err
	}
	return w.put(w.box.bind(e.Link.name(), first(ref), user, device, synced))
}

// Join is Manager.Join for the event's link.
func (e *Event) Join(room string, ref ...uint64) error {
	w, err := e.writer()
	if err != nil {
		return err
	}
	return w.put(w.box.room(batch.ToLink(e.Link.name()), first(ref), room, true))
}

// Leave is Manager.Leave for the event's link.
func (e *Event) Leave(room string, ref ...uint64) error {
	w, err := e.writer()
	if err != nil {
		return err
	}
	return w.put(w.box.room(batch.ToLink(e.Link.name()), first(ref), room, false))
}

// Close is Manager.Close for the event's link.
func (e *Event) Close(reason wire.Reason, retryAfter time.Duration, text string, ref ...uint64) error {
	w, err := e.writer()
	if err != nil {
		return err
	}
	return w.put(w.box.close(batch.ToLink(e.Link.name()), first(ref), reason, retryAfter, text))
}

func (e *Event) writer() (*writer, error) {
	if e.Link.IsZero() {
		return nil, ErrGone
	}
	if e.s.out.full {
		return nil, ErrFull
	}
	return &e.s.out, nil
}

var kindNames = [...]string{"", "Opened", "Hello", "Data", "Acked", "Undelivered", "Closed", "Refused"}

// String returns the name of the handler's function.
func (k Kind) String() string {
	if int(k) >= len(kindNames) {
		return ""
	}
	return kindNames[k]
}

// reason is a BYE reason as gateways send it; what fits no byte is unknown to all of us.
func reason(r uint32) wire.Reason {
	return wire.Reason(min(r, 255))
}
