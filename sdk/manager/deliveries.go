package manager

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"edged/batch"
)

// ErrPending is returned for a push whose MsgID is that of another one that has no outcome yet.
var ErrPending = errors.New("manager: a push of this MsgID is under way")

// What Deliveries is bounded by when its fields say nothing.
const (
	DefaultPatience = 3 * time.Minute // more than all tries of a gateway take by default
	DefaultMost     = 64 << 10
)

// afterTTL is how long after the end of a push's time to live a gateway's word about it may still come.
const afterTTL = 5 * time.Second

// Deliveries follows pushes that require an acknowledgement and says once of each what became of it, wherever the user is
// and however many gateways were asked. Its Acked, Undelivered and Lost are functions for Handler:
//
//	var d manager.Deliveries
//	m := manager.New(manager.Options{Handler: manager.Handler{
//		Acked: d.Acked, Undelivered: d.Undelivered, Lost: d.Lost, ...
//	}})
//	err := d.PushTo(m, manager.ToDevice("42", "meter"), manager.Push{Payload: order, TTL: time.Minute},
//		func(o manager.Outcome) { ... })
//
// A push is over when the first client acknowledged it; when every gateway that was asked has said that it will not
// arrive; or when nothing more is to be expected: the push's TTL and 5 s later, or Patience if that is sooner or there is no
// TTL. A user may have several devices at one gateway, so one device's failure alone does not end a push to a user.
//
// The zero Deliveries is ready for use; the fields must be set before. Its methods may be called from any goroutine. What
// is under way is in this process's memory alone: after it ended nobody knows the outcomes.
type Deliveries struct {
	Patience time.Duration // how long an outcome may take; 0: DefaultPatience
	Most     int           // pushes under way; one more is refused with ErrFull. 0: DefaultMost

	mu      sync.Mutex
	pending map[string]*delivery // by MsgID; guarded by mu
}

// Outcome is what became of a push.
type Outcome struct {
	MsgID  string
	Acked  bool       // a client has it
	Reason LossReason // if not, why; LossUnspecified: nobody knows, it may have arrived
	Tries  uint32     // how often the gateway sent what was acknowledged
	Link   Link       // who acknowledged, or lost it last; zero if nobody was there
	User   string     // the link's, as it was bound
	Device string
}

// delivery is one push that is under way; guarded by the mutex of Deliveries.
type delivery struct {
	done    func(Outcome)
	single  bool            // one answer of a gateway is all that it will say
	asked   map[*epoch]bool // gateways that may still say something; true: they have said something
	unknown bool            // something became of it that nobody will tell
	outcome Outcome         // so far
	timer   *time.Timer
}

// Push sends a push to a link. The Ack of p counts as AckRequired. A MsgID that is empty is made up. If it returns nil,
// done is called once, with the outcome, from another goroutine, perhaps before Push returns; it must not wait, because
// it may hold up events. If it returns an error, nothing was sent and done is not called.
func (d *Deliveries) Push(m *Manager, l Link, p Push, done func(Outcome)) error {
	return d.begin(p, true, done, func(p Push) ([]*epoch, error) {
		if err := m.Push(l, p); err != nil {
			return nil, err
		}
		return []*epoch{l.of}, nil
	})
}

// PushTo is Push to a user or a device. A gateway that could not be asked counts as one that had no room for the push.
// Rooms and everyone have no single outcome: it returns ErrTarget for them.
func (d *Deliveries) PushTo(m *Manager, t Target, p Push, done func(Outcome)) error {
	if t.Kind != batch.TargetUser && t.Kind != batch.TargetDevice {
		return ErrTarget
	}
	return d.begin(p, t.Kind == batch.TargetDevice, done, func(p Push) ([]*epoch, error) {
		return m.tell(t, func(b *box) error { return b.push(t, 0, &p) })
	})
}

// begin sends a push and notes who was asked, as one step for those who bring the answers.
func (d *Deliveries) begin(p Push, single bool, done func(Outcome), send func(Push) ([]*epoch, error)) error {
	p.Ack = AckRequired
	if p.MsgID == "" {
		p.MsgID = newMsgID()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pending[p.MsgID] != nil {
		return fmt.Errorf("%w: %q", ErrPending, p.MsgID)
	}
	if len(d.pending) >= positive(d.Most, DefaultMost) {
		return ErrFull
	}
	told, err := send(p)
	if len(told) == 0 {
		return err
	}
	one := &delivery{done: done, single: single, asked: make(map[*epoch]bool, len(told)), outcome: Outcome{MsgID: p.MsgID}}
	for _, e := range told {
		one.asked[e] = false
	}
	if err != nil {
		one.lose(LossWindowFull)
	}
	if d.pending == nil {
		d.pending = make(map[string]*delivery)
	}
	d.pending[p.MsgID] = one
	one.timer = time.AfterFunc(d.limit(p.TTL), func() { d.expire(one) })
	return nil
}

// limit is how long to wait for a push's outcome.
func (d *Deliveries) limit(ttl time.Duration) time.Duration {
	patience := positive(d.Patience, DefaultPatience)
	if ttl > 0 {
		return min(patience, ttl+afterTTL)
	}
	return patience
}

func positive[T int | time.Duration](v, otherwise T) T {
	if v > 0 {
		return v
	}
	return otherwise
}

// Pending is the number of pushes without an outcome.
func (d *Deliveries) Pending() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.pending)
}

// Acked is a Handler.Acked. What is not of this Deliveries it leaves alone.
func (d *Deliveries) Acked(e *Event) {
	for r := range e.Receipts {
		if r.Sampled {
			continue
		}
		d.end(r.MsgID, func(one *delivery) bool {
			one.outcome.Acked, one.outcome.Tries = true, r.Tries
			one.outcome.by(e)
			return true
		})
	}
}

// Undelivered is a Handler.Undelivered.
func (d *Deliveries) Undelivered(e *Event) {
	for l := range e.Losses {
		d.end(l.MsgID, func(one *delivery) bool {
			one.lose(l.Reason)
			if !e.Link.IsZero() {
				one.outcome.by(e)
			}
			if from := e.s.lane.of; one.single || l.Reason == LossNotHere {
				delete(one.asked, from)
			} else if _, ok := one.asked[from]; ok {
				one.asked[from] = true
			}
			return len(one.asked) == 0
		})
	}
}

// Lost is a Handler.Lost: what the gateway's clients had not acknowledged is not known any more.
func (d *Deliveries) Lost(g Gateway) {
	var over []*delivery
	d.mu.Lock()
	for id, one := range d.pending {
		for e := range one.asked {
			if info := e.info.Load(); info.ID == g.ID && info.Epoch == g.Epoch {
				delete(one.asked, e)
				one.unknown = true
			}
		}
		if len(one.asked) == 0 {
			delete(d.pending, id)
			over = append(over, one)
		}
	}
	d.mu.Unlock()
	for _, one := range over {
		one.tell()
	}
}

// Close gives every push under way its outcome, which is that nobody knows.
func (d *Deliveries) Close() {
	d.mu.Lock()
	pending := d.pending
	d.pending = nil
	d.mu.Unlock()
	for _, one := range pending {
		one.unknown = true
		one.tell()
	}
}

// end changes a push that is under way, if there is one of that MsgID, and tells its outcome when change says that it is
// over.
func (d *Deliveries) end(id []byte, change func(*delivery) bool) {
	d.mu.Lock()
	one := d.pending[string(id)]
	over := one != nil && change(one)
	if over {
		delete(d.pending, one.outcome.MsgID)
	}
	d.mu.Unlock()
	if over {
		one.tell()
	}
}

func (d *Deliveries) expire(one *delivery) {
	d.mu.Lock()
	id := one.outcome.MsgID
	mine := d.pending[id] == one // it may have ended as the time did, and have a successor
	if mine {
		delete(d.pending, id)
		for _, spoke := range one.asked {
			one.unknown = one.unknown || !spoke
		}
	}
	d.mu.Unlock()
	if mine {
		one.tell()
	}
}

// tell is called once, by who took the push out of pending.
func (one *delivery) tell() {
	one.timer.Stop()
	if one.unknown || one.outcome.Acked {
		one.outcome.Reason = LossUnspecified
	}
	one.done(one.outcome)
}

// lose notes why a push did not arrive somewhere. That it was known elsewhere tells more than that a gateway knew nobody.
func (one *delivery) lose(why LossReason) {
	if why != LossNotHere || one.outcome.Reason == LossUnspecified {
		one.outcome.Reason = why
	}
}

// by notes the link that an event is about.
func (o *Outcome) by(e *Event) {
	o.Link, o.User, o.Device = e.Link, e.Session.User(), e.Session.Device()
}

// newMsgID makes up a name that nobody else has.
func newMsgID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails, says crypto/rand
	return hex.EncodeToString(b[:])
}
