package gateway

import (
	"context"
	"sync"
	"sync/atomic"

	"edged/batch"
	"edged/delivery"
	"edged/linkpool"
	"edged/registry"
	"edged/relay"
	"edged/room"
	"edged/wire"
)

// listed returns a link's name in the directory.
func (s *shard) listed(place, uniq uint32) registry.Link {
	return registry.Link{Shard: s.number, Place: place, Uniq: uniq}
}

// enlist makes a link that of the user's device. Another one that was it is closed first: one of this shard at once, one of
// another as soon as its thread comes to it; nothing for the user reaches it any more.
func (s *shard) enlist(place, uniq uint32, l *link, user, device []byte) {
	if len(user) == 0 {
		return
	}
	me := s.listed(place, uniq)
	s.keep.bound(place)
	old, replaced := s.g.directory.Put(user, device, me)
	l.flags |= bound
	if replaced {
		s.g.replace(s, old)
	}
}

// delist takes a link out of the directory, if it is still the one of its user's device.
func (s *shard) delist(place, uniq uint32, l *link, user, device []byte) {
	if l.flags&bound != 0 {
		l.flags &^= bound
		s.departed.note(s.now(), user, device)
		s.g.directory.Remove(user, device, s.listed(place, uniq))
	}
}

// replace closes a link whose user and device have a newer one. from is the shard whose thread this is.
func (g *Gateway) replace(from *shard, old registry.Link) {
	s := g.shards[old.Shard]
	if s == from {
		s.replaced(old)
		return
	}
	s.loop.Post(func() {
		// It may have been bound once more meanwhile, and be the newest again.
		if l := s.links.Get(old.Place, old.Uniq); l != nil && !s.listedNow(old, l) {
			s.replaced(old)
		}
	})
}

// listedNow says whether the directory has a link as the one of its user's device.
func (s *shard) listedNow(name registry.Link, l *link) bool {
	if l.flags&bound == 0 {
		return false
	}
	now, ok := s.g.directory.Link(s.sessions.Value(l.session, "user"), s.sessions.Value(l.session, "device"))
	return ok && now == name
}

// replaced closes a link that is not its user's device's any more, when it has had the casts that are from before.
func (s *shard) replaced(old registry.Link) {
	if l := s.links.Get(old.Place, old.Uniq); l != nil {
		s.catchUp(old.Place, old.Uniq, l)
	}
	l := s.links.Get(old.Place, old.Uniq)
	if l == nil {
		return
	}
	s.count.Replaced++
	s.end(old.Place, old.Uniq, l, ending{reason: wire.ByeReplaced, side: batch.SideGateway, evidence: "a newer link of the same user and device"})
}

// Directory returns who is on which link here.
func (g *Gateway) Directory() *registry.Directory { return g.directory }

// AppendLinkID appends the ID of a link (PROTOCOL.md 1.3).
func (g *Gateway) AppendLinkID(dst []byte, l registry.Link) []byte {
	return wire.AppendLinkID(dst, g.advertise, linkpool.Index(l.Shard, l.Place), l.Uniq)
}

// Evict closes the link of that ID with BYE replaced, if it is here still; false says that the ID is not of this gateway, or that
// it has stopped. It does not wait.
func (g *Gateway) Evict(linkID string) bool {
	address, index, uniq, err := wire.ParseLinkID(linkID)
	if err != nil || address != g.advertise {
		return false
	}
	shard, place := linkpool.Place(index)
	if shard >= len(g.shards) {
		return false
	}
	s := g.shards[shard]
	return s.loop.Post(func() { s.replaced(registry.Link{Shard: shard, Place: place, Uniq: uniq}) })
}

// Routed tells that others can find a user's device here from now on: what was stored for it before that, and published to
// nobody, is pulled. It does not wait.
func (g *Gateway) Routed(user, device string) {
	if g.offline == nil {
		return
	}
	at, ok := g.directory.Link([]byte(user), []byte(device))
	if !ok {
		return
	}
	s := g.shards[at.Shard]
	s.loop.Post(func() {
		if l := s.links.Get(at.Place, at.Uniq); l != nil {
			s.replay(at.Place, at.Uniq, l)
		}
	})
}

// userShards names the shards that have links of a user, or of one device of his. Any goroutine may call it.
func (g *Gateway) userShards(user, device []byte) (set relay.Shards) {
	if device != nil {
		if l, ok := g.directory.Link(user, device); ok {
			set.Add(l.Shard)
		}
		return set
	}
	var room [8]registry.Link
	for _, l := range g.directory.Links(user, room[:0]) {
		set.Add(l.Shard)
	}
	return set
}

// toUser carries an operation out on the links that a user, or one device of his, has in this shard.
func (s *shard) toUser(from int, d *batch.DownItem) {
	all := s.people[:0]
	if d.Target == batch.TargetDevice {
		if l, ok := s.g.directory.Link(d.User, d.Device); ok {
			all = append(all, l)
		}
	} else {
		all = s.g.directory.Links(d.User, all)
	}
	s.people = all
	here := false
	for _, x := range all {
		if x.Shard != s.number {
			continue
		}
		if l := s.links.Get(x.Place, x.Uniq); l != nil {
			here = true
			s.apply(from, x.Place, x.Uniq, l, d)
		}
	}
	if here {
		return
	}
	if len(all) > 0 { // those of other shards are told there
		if s.departed.has(s.now(), d.User, deviceOf(d)) {
			s.tooLate(from, d)
		}
		return
	}
	if from == relay.NoManager {
		s.count.BusNotHere++
		if s.g.notHere != nil {
			s.g.notHere(d.User, d.Device)
		}
		return
	}
	s.refuse(from, d, nil, nil, batch.CodeNotHere, "the user has no link here")
}

// deviceOf is the device that an item is for, nil for all of the user's.
func deviceOf(d *batch.DownItem) []byte {
	if d.Target != batch.TargetDevice {
		return nil
	}
	if d.Device == nil {
		return []byte{}
	}
	return d.Device
}

// tooLate answers an item that was for a link which has ended since.
func (s *shard) tooLate(from int, d *batch.DownItem) {
	if d.Op == batch.OpPush && d.Push.Ack == batch.AckRequired {
		s.undeliver(from, d, nil, nil, batch.LossLinkClosed)
		return
	}
	s.refuse(from, d, nil, nil, batch.CodeStaleLink, "the link has ended")
}

// people is what a gateway needs of and for users.
type people struct {
	// Static after New.
	directory  *registry.Directory
	offline    OfflineLog // nil: nothing is stored
	notHere    func(user, device []byte)
	awaitRoute bool   // static: what is stored is pulled when a link's route stands
	pulls      *pulls // nil like offline
	syncs      *syncs // nil like offline
	receiver   receiver

	// Shared.
	malformed atomic.Uint64 // items for rooms or everyone that are none
	casts     atomic.Uint64 // counts them
	orders    orders
	desk      desk // goroutines that speak with Redis for the shards
}

// setPeople takes the settings of what concerns users, rooms and delivery.
func (g *Gateway) setPeople(o Options) {
	g.directory = registry.NewDirectory()
	if g.delivery = o.Delivery; g.delivery == (delivery.Config{}) {
		g.delivery = delivery.Default()
	}
	g.windowBytes = g.delivery.Limits().Bytes
	if g.roomLimits = o.Rooms; g.roomLimits == (room.Limits{}) {
		g.roomLimits = room.Default()
	}
	if g.slow = o.Slow; g.slow == (Slow{}) {
		g.slow = DefaultSlow()
	}
	g.policies = g.slow.parse()
	g.offline, g.notHere, g.awaitRoute = o.Offline, o.NotHere, o.AwaitRoute
	if g.offline != nil {
		g.pulls, g.syncs = newPulls(g.offline), newSyncs(g.offline, g.log)
	}
}

// desk is the goroutines that speak with Redis for the shards.
type desk struct {
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
}

func (g *Gateway) startDesk() {
	if g.offline == nil {
		return
	}
	d := &g.desk
	d.ctx, d.stop = context.WithCancel(context.Background())
	for range pullWorkers {
		d.wg.Go(func() { g.pulls.run(d.ctx) })
	}
	d.wg.Go(func() { g.syncs.run(d.ctx) })
}

// stopDesk has what waits stored, as far as ctx allows. Who is missed pulls more than he needs.
func (g *Gateway) stopDesk(ctx context.Context) {
	if g.desk.stop == nil {
		return
	}
	g.pulls.close()
	g.desk.stop()
	g.desk.wg.Wait()
	_ = g.syncs.flush(ctx)
}

// frameLen is the length of a frame whose beginning is head.
func frameLen(head []byte) int { return wire.HeadLen + (int(head[0])<<8 | int(head[1])) }
