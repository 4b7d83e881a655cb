package gateway

import (
	"fmt"

	"edged/batch"
	"edged/relay"
)

// origin says whom an operation comes from: a Manager, or Redis.
func (m *model) origin() int {
	if m.chance(4) {
		return relay.NoManager
	}
	for i := range m.port.managers {
		if m.port.managers[i].up && (i == len(m.port.managers)-1 || m.chance(2)) {
			return i
		}
	}
	return 0 // on its way when its Manager went
}

// order is one operation under construction.
type order struct {
	m      *model
	from   int
	ref    uint64
	target batch.Target
	to     []*twin // for whom it is
	cast   bool
}

func (m *model) newOrder(from int) order {
	o := order{m: m, from: from}
	if m.chance(2) {
		m.ref++
		o.ref = m.ref
	}
	return o
}

// answer notes that the operation comes back.
func (o *order) answer(c batch.Code) {
	if o.ref != 0 && o.from != relay.NoManager {
		o.m.refs[o.ref] = c
	}
}

// managerSays has somebody order something, and the twins obey.
func (m *model) managerSays(x *twin) {
	o := m.newOrder(m.origin())
	o.target = batch.ToLink(m.s.name(x.name.place, x.name.uniq))
	o.to = []*twin{x}
	if x.gone {
		o.stale()
		return
	}
	if m.chance(2) {
		o.single(x)
		return
	}
	o.aim(x)
	o.many()
}

// stale is for a link that is gone.
func (o *order) stale() {
	if o.m.chance(2) {
		o.answer(batch.CodeStaleLink)
		o.send(batch.AppendDataTo(nil, o.target, o.ref, []byte("late")))
		return
	}
	id := o.m.newID()
	if o.from != relay.NoManager {
		o.m.want(report{o.target.Link, true, id}, true)
	}
	o.send(batch.AppendPush(nil, o.target, o.ref, batch.Push{Payload: []byte("late"), MsgID: []byte(id), Ack: batch.AckRequired}))
}

// single is what there is for one link alone.
func (o *order) single(x *twin) {
	m := o.m
	word := fmt.Sprint("w", m.random.IntN(1000))
	switch m.random.IntN(6) {
	case 0, 1, 2:
		o.bind(x)
	case 3:
		x.key = word
		o.send(batch.AppendPatch(nil, o.target.Link, o.ref, []batch.KV{{Key: "a.n", Value: word}}, nil))
	case 4:
		o.answer(batch.CodeSessionKey)
		o.send(batch.AppendPatch(nil, o.target.Link, o.ref, []batch.KV{{Key: "a.n", Value: "bad"}, {Key: "user", Value: "root"}}, nil))
	case 5:
		if m.chance(12) {
			x.end("bye 7")
			o.send(batch.AppendClose(nil, o.target, o.ref, batch.Close{Reason: 7}))
		}
	}
}

// bind logs a link in. Those with messages in the log stay who they are; others change.
func (o *order) bind(x *twin) {
	m := o.m
	switch {
	case x.user == "" && m.chance(2):
		x.user, x.device = fmt.Sprint("v", m.random.IntN(2)), fmt.Sprint("d", m.random.IntN(2))
	case x.user == "" || x.user[0] == 'u':
		x.user, x.device = fmt.Sprint("u", m.random.IntN(6)), fmt.Sprint("d", m.random.IntN(2))
	}
	o.send(batch.AppendBind(nil, o.target.Link, o.ref, batch.Bind{User: []byte(x.user), Device: []byte(x.device)}))
	for _, y := range m.twins { // the newest link of a user's device is the one
		if y != x && !y.gone && y.user == x.user && y.device == x.device {
			y.end("bye 6")
		}
	}
	if !x.in {
		x.in = true
		x.down = append(x.down, "welcome")
		x.rooms["r0"] = true
		o.send(batch.AppendJoin(nil, o.target, 0, "r0"))
	}
}

// room is one of three, the first most often.
func (m *model) room() string { return fmt.Sprint("r", max(m.random.IntN(6)-3, 0)) }

// aim chooses for whom the operation is, beginning with a link.
func (o *order) aim(x *twin) {
	room := o.m.room()
	fits := func(*twin) bool { return true }
	switch o.m.random.IntN(10) {
	case 0, 1, 2:
		return
	case 3:
		user := fmt.Sprint([]string{"u", "v"}[o.m.random.IntN(2)], o.m.random.IntN(4))
		o.target = batch.ToUser(user)
		fits = func(y *twin) bool { return y.user == user }
	case 4:
		user, device := fmt.Sprint("u", o.m.random.IntN(6)), fmt.Sprint("d", o.m.random.IntN(2))
		o.target = batch.ToDevice(user, device)
		fits = func(y *twin) bool { return y.user == user && y.device == device }
	case 5, 6, 7, 8:
		o.target, o.cast = batch.ToRoom(room), true
		fits = func(y *twin) bool { return y.rooms[room] }
	case 9:
		o.target, o.cast = batch.ToEveryone(), true
	}
	o.to = nil
	for _, y := range o.m.twins {
		if !y.gone && y.in && fits(y) {
			o.to = append(o.to, y)
		}
	}
}

// many is an operation for any target.
func (o *order) many() {
	m := o.m
	word, room := fmt.Sprint("w", m.random.IntN(1000)), m.room()
	k := m.random.IntN(12)
	if m.tight && k >= 5 && k <= 7 {
		k = 4
	}
	switch k {
	case 0, 1, 2, 3:
		o.toNobody()
		o.say("data " + word)
		o.send(batch.AppendDataTo(nil, o.target, o.ref, []byte(word)))
	case 4:
		o.toNobody()
		o.say("push " + word)
		o.send(batch.AppendPush(nil, o.target, o.ref, batch.Push{Payload: []byte(word), Ack: []batch.Ack{0, batch.AckSampled}[m.random.IntN(2)]}))
	case 5, 6, 7:
		o.required(word)
	case 8, 9:
		o.toNobody()
		for _, y := range o.to {
			y.rooms[room] = true
		}
		o.send(batch.AppendJoin(nil, o.target, o.ref, room))
	case 10:
		if room == "r0" && m.chance(2) {
			return
		}
		o.toNobody()
		for _, y := range o.to {
			delete(y.rooms, room)
		}
		o.send(batch.AppendLeave(nil, o.target, o.ref, room))
	case 11:
		o.rare()
	}
}

// rare ends many links, or is refused.
func (o *order) rare() {
	if o.m.chance(2) {
		if o.toNobody(); len(o.to) > 0 || o.cast {
			o.answer(batch.CodeTooLarge)
		}
		o.send(batch.AppendDataTo(nil, o.target, o.ref, make([]byte, 600)))
		return
	}
	if o.target.Kind == batch.TargetEveryone || !o.m.chance(10) {
		return
	}
	o.toNobody()
	for _, y := range o.to {
		y.end("bye 11")
	}
	o.send(batch.AppendClose(nil, o.target, o.ref, batch.Close{Reason: 11}))
	for more := o.cast; more; { // until then its links would go on speaking
		o.m.s.Turn(0)
		more = len(o.m.s.casting.walks) > 0 || len(o.m.port.events) > 0
	}
}

// required is a push that must be acknowledged.
func (o *order) required(word string) {
	m := o.m
	id := m.newID()
	o.say("push " + word)
	for _, y := range o.to {
		m.want(report{m.s.name(y.name.place, y.name.uniq), true, id}, true)
	}
	if o.from != relay.NoManager && (o.cast || len(o.to) == 0) {
		m.want(report{id: id}, len(o.to) == 0)
	}
	o.send(batch.AppendPush(nil, o.target, o.ref, batch.Push{Payload: []byte(word), MsgID: []byte(id), Ack: batch.AckRequired}))
}

func (o *order) say(word string) {
	for _, y := range o.to {
		y.down = append(y.down, word)
	}
}

// toNobody notes the answer that comes where nobody is, or where all may be gone before a cast comes to them.
func (o *order) toNobody() {
	if len(o.to) == 0 {
		o.answer(batch.CodeNotHere)
	} else if o.cast && o.ref != 0 && o.from != relay.NoManager {
		o.m.maybe[o.ref] = batch.CodeNotHere
	}
}

// send has the shard take the operation.
func (o *order) send(b []byte) { o.m.send(o.from, o.cast, b) }

func (m *model) send(from int, cast bool, b []byte) {
	if !cast {
		m.port.events = append(m.port.events, relay.Event{Kind: relay.EventItems, Manager: from, Items: b})
		return
	}
	it := batch.DownItems(b)
	item, _, _ := it.Next()
	m.port.events = append(m.port.events, relay.Event{Kind: relay.EventCast, Manager: from, Cast: m.g.newCast(from, item)})
}
