package manager

import (
	"time"

	"edged/batch"
	"edged/wire"
)

// Ack says which acknowledgement a push wants.
type Ack = batch.Ack

// The ack modes. A push that requires one comes back as Acked or as Undelivered.
const (
	AckNone     = batch.AckNone
	AckRequired = batch.AckRequired
	AckSampled  = batch.AckSampled // for statistics only, of the share of links that the gateway picks
)

// Push is a message with a place in the gateway's delivery: numbered, repeated until acknowledged, compressed.
type Push struct {
	Payload   []byte
	MsgID     string // the sender's name for it, up to 255 bytes; needed with AckRequired
	Ack       Ack
	AllowGzip bool
	TTL       time.Duration // how long it is worth repeating; 0: the gateway's setting
}

// Target is whom an operation is for when it is not one known link.
type Target = batch.Target

// ToUser means all links of a user.
func ToUser(user string) Target { return batch.ToUser(user) }

// ToDevice means the link of one device of a user.
func ToDevice(user, device string) Target { return batch.ToDevice(user, device) }

// ToRoom means all links in a room.
func ToRoom(room string) Target { return batch.ToRoom(room) }

// ToEveryone means all links that have had their WELCOME.
func ToEveryone() Target { return batch.ToEveryone() }

// Data sends the link a DATA frame. The optional ref comes back in Refused if it is not carried out; the same holds for
// the other operations.
func (m *Manager) Data(l Link, payload []byte, ref ...uint64) error {
	ln, err := m.claim(l)
	if err != nil {
		return err
	}
	return ln.put(ln.box.data(batch.ToLink(l.name()), first(ref), payload))
}

// Push sends the link a PUSH frame.
func (m *Manager) Push(l Link, p Push, ref ...uint64) error {
	ln, err := m.claim(l)
	if err != nil {
		return err
	}
	return ln.put(ln.box.push(batch.ToLink(l.name()), first(ref), &p))
}

// Patch sets and deletes keys of the link's session: all of them, or none. A Manager's keys have a dot in them.
func (m *Manager) Patch(l Link, set map[string]string, del []string, ref ...uint64) error {
	ln, err := m.claim(l)
	if err != nil {
		return err
	}
	return ln.put(ln.box.patch(batch.ToLink(l.name()), first(ref), set, del))
}

// Change is Patch with typed keys. It has no ref: who wants to know of a refusal uses Patch.
func (m *Manager) Change(l Link, changes ...Change) error {
	ln, err := m.claim(l)
	if err != nil {
		return err
	}
	return ln.put(ln.box.change(batch.ToLink(l.name()), changes))
}

// Bind accepts the link's login: it is now this device of this user and gets its WELCOME.
func (m *Manager) Bind(l Link, user, device string, ref ...uint64) error {
	return m.BindSynced(l, user, device, 0, ref...)
}

// BindSynced is Bind, and asks for the offline messages after version synced.
func (m *Manager) BindSynced(l Link, user, device string, synced uint64, ref ...uint64) error {
	ln, err := m.claim(l)
	if err != nil {
		return err
	}
	return ln.put(ln.box.bind(l.name(), first(ref), user, device, synced))
}

// Join puts the link into a room.
func (m *Manager) Join(l Link, room string, ref ...uint64) error {
	ln, err := m.claim(l)
	if err != nil {
		return err
	}
	return ln.put(ln.box.room(batch.ToLink(l.name()), first(ref), room, true))
}

// Leave takes the link out of a room.
func (m *Manager) Leave(l Link, room string, ref ...uint64) error {
	ln, err := m.claim(l)
	if err != nil {
		return err
	}
	return ln.put(ln.box.room(batch.ToLink(l.name()), first(ref), room, false))
}

// Close ends the link with a BYE. Reason 0 means wire.ByeKicked.
func (m *Manager) Close(l Link, reason wire.Reason, retryAfter time.Duration, text string, ref ...uint64) error {
	ln, err := m.claim(l)
	if err != nil {
		return err
	}
	return ln.put(ln.box.close(batch.ToLink(l.name()), first(ref), reason, retryAfter, text))
}

// DataTo sends a DATA frame to all links that t means, at every gateway with a stream to this Manager. It returns the
// number of gateways that were told, and an error if one could not be. The same holds for the operations below. A gateway
// that knows nobody of the kind answers Refused if there is a ref, so that a ref may come back from some gateways although
// another one has done what was asked.
func (m *Manager) DataTo(t Target, payload []byte, ref ...uint64) (gateways int, err error) {
	return m.toAll(t, func(b *box) error { return b.data(t, first(ref), payload) })
}

// PushTo sends a PUSH. With AckRequired each gateway that holds no such link answers Undelivered, and each link with Acked
// or Undelivered; Deliveries makes one outcome of it.
func (m *Manager) PushTo(t Target, p Push, ref ...uint64) (gateways int, err error) {
	return m.toAll(t, func(b *box) error { return b.push(t, first(ref), &p) })
}

// PatchTo changes the sessions of links.
func (m *Manager) PatchTo(t Target, set map[string]string, del []string, ref ...uint64) (gateways int, err error) {
	return m.toAll(t, func(b *box) error { return b.patch(t, first(ref), set, del) })
}

// ChangeTo is PatchTo with typed keys.
func (m *Manager) ChangeTo(t Target, changes ...Change) (gateways int, err error) {
	return m.toAll(t, func(b *box) error { return b.change(t, changes) })
}

// JoinTo puts links into a room.
func (m *Manager) JoinTo(t Target, room string, ref ...uint64) (gateways int, err error) {
	return m.toAll(t, func(b *box) error { return b.room(t, first(ref), room, true) })
}

// LeaveTo takes links out of a room.
func (m *Manager) LeaveTo(t Target, room string, ref ...uint64) (gateways int, err error) {
	return m.toAll(t, func(b *box) error { return b.room(t, first(ref), room, false) })
}

// CloseTo ends links with a BYE.
func (m *Manager) CloseTo(t Target, reason wire.Reason, retryAfter time.Duration, text string, ref ...uint64) (gateways int, err error) {
	return m.toAll(t, func(b *box) error { return b.close(t, first(ref), reason, retryAfter, text) })
}
