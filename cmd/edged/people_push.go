package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"edged/admin"
	"edged/batch"
	"edged/bus"
	"edged/wire"
)

// pushCounters counts an operator's pushes that were given to a gateway, by target.
type pushCounters struct{ user, device, room, everyone, link atomic.Uint64 }

func (c *pushCounters) of(k admin.TargetKind) *atomic.Uint64 {
	switch k {
	case admin.ToUser:
		return &c.user
	case admin.ToDevice:
		return &c.device
	case admin.ToRoom:
		return &c.room
	case admin.ToEveryone:
		return &c.everyone
	}
	return &c.link
}

// Push carries out an operator's push: to this gateway directly, to others by Redis.
func (p *people) Push(ctx context.Context, r admin.PushRequest) (admin.Pushed, error) {
	if r.Ack == admin.AckRequired && r.MsgID == "" {
		r.MsgID = "push-" + rand.Text()
	}
	out, err := p.push(ctx, &r)
	if err == nil {
		out.MsgID = r.MsgID
		p.count.pushed.of(r.To.Kind).Add(1)
	}
	return out, err
}

func (p *people) push(ctx context.Context, r *admin.PushRequest) (admin.Pushed, error) {
	if err := p.fits(r); err != nil {
		return admin.Pushed{}, err
	}
	switch r.To.Kind {
	case admin.ToUser:
		return p.toPerson(ctx, r, batch.ToUser(r.To.User))
	case admin.ToDevice:
		return p.toPerson(ctx, r, batch.ToDevice(r.To.User, r.To.Device))
	case admin.ToRoom:
		return p.toAll(ctx, downstream(r, batch.ToRoom(r.To.Room)))
	case admin.ToEveryone:
		return p.toAll(ctx, downstream(r, batch.ToEveryone()))
	}
	return p.toLink(ctx, r)
}

// fits refuses what no link takes: it would be gone without a word. Other gateways have a bound of their own, but hardly
// another one.
func (p *people) fits(r *admin.PushRequest) error {
	frame := wire.Push{MsgID: []byte(r.MsgID), Payload: r.Payload}
	if r.MsgID != "" {
		frame.Flags = wire.FlagStamped
	}
	if n := 1 + wire.PushLen(frame); n > p.cfg.MaxFrame && !r.Gzip {
		return &admin.InvalidError{Reason: fmt.Sprintf("payload: it needs a frame of %d bytes, and max_frame is %d", n, p.cfg.MaxFrame)}
	}
	return nil
}

// downstream is a batch with the push alone.
func downstream(r *admin.PushRequest, t batch.Target) []byte {
	push := batch.Push{Payload: r.Payload, MsgID: []byte(r.MsgID), AllowGzip: r.Gzip, TTLMs: uint32(r.TTL.Milliseconds())}
	switch r.Ack {
	case admin.AckRequired:
		push.Ack = batch.AckRequired
	case admin.AckSampled:
		push.Ack = batch.AckSampled
	}
	return batch.AppendPush(nil, t, 0, push)
}

func (p *people) toPerson(ctx context.Context, r *admin.PushRequest, t batch.Target) (admin.Pushed, error) {
	devices, err := p.Devices(ctx, r.To.User)
	if err != nil {
		return admin.Pushed{}, err
	}
	who := "user " + r.To.User
	if r.To.Kind == admin.ToDevice {
		who = "device " + r.To.Device + " of " + who
		devices = slices.DeleteFunc(devices, func(d admin.Device) bool { return d.Device != r.To.Device })
	}
	if len(devices) == 0 {
		return admin.Pushed{}, &admin.NotOnlineError{Who: who}
	}
	var gateways, names []string
	for _, d := range devices {
		gateways, names = append(gateways, d.Gateway), append(names, d.Device)
	}
	out, err := p.give(ctx, distinct(gateways), downstream(r, t))
	out.Devices = len(distinct(names))
	return out, err
}

func distinct(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}

func (p *people) toAll(ctx context.Context, b []byte) (admin.Pushed, error) {
	if p.redis == nil {
		return admin.Pushed{Gateways: []string{p.hub.ID()}}, p.hub.Order(b)
	}
	told := make(chan outcome, 1)
	if err := p.publisher.ToAll(ctx, b, func(n int64, err error) { told <- outcome{heard: n, err: err} }); err != nil {
		return admin.Pushed{}, err
	}
	select {
	case o := <-told:
		if o.err == nil && o.heard == 0 && !p.subscriber.Heard(bus.FromAll).Up {
			o.err = errors.New("no gateway hears Redis now")
		}
		return admin.Pushed{Heard: o.heard}, o.err
	case <-ctx.Done():
		return admin.Pushed{}, errNoAnswer
	}
}

func (p *people) toLink(ctx context.Context, r *admin.PushRequest) (admin.Pushed, error) {
	address, index, uniq, err := wire.ParseLinkID(r.To.Link)
	if err != nil {
		return admin.Pushed{}, &admin.InvalidError{Reason: fmt.Sprintf("to: %q is not a link ID, IP:port:index:uniq", r.To.Link)}
	}
	b := downstream(r, batch.ToLink(batch.Link{Index: index, Uniq: uniq}))
	if address == p.hub.Advertise() {
		return p.give(ctx, []string{p.hub.ID()}, b)
	}
	id, err := p.gatewayAt(ctx, address)
	if err != nil {
		return admin.Pushed{}, err
	}
	return p.give(ctx, []string{id}, b)
}

// gatewayAt is the ID of the gateway with that address in its link IDs.
func (p *people) gatewayAt(ctx context.Context, address string) (string, error) {
	if p.redis != nil {
		fleet, err := p.fleet.Read(ctx)
		if err != nil {
			return "", err
		}
		for _, g := range fleet.Gateways {
			if g.Address == address {
				return g.ID, nil
			}
		}
	}
	return "", &admin.NotOnlineError{Who: "the gateway at " + address}
}

// outcome is what came of a batch for a gateway.
type outcome struct {
	gateway string
	heard   int64
	err     error
}

// verdict is nil if the gateway has the batch.
func (o outcome) verdict() error {
	if o.err == nil && o.heard == 0 {
		return fmt.Errorf("gateway %s does not hear Redis now", o.gateway)
	}
	return o.err
}

var errNoAnswer = errors.New("redis has not answered in time")

// give hands a batch to gateways. There is an error if none of them has it for sure.
func (p *people) give(ctx context.Context, gateways []string, b []byte) (admin.Pushed, error) {
	told := make(chan outcome, len(gateways))
	verdicts := make(map[string]error, len(gateways))
	waiting := 0
	for _, g := range gateways {
		if g == p.hub.ID() {
			continue
		}
		verdicts[g] = p.publisher.To(ctx, g, b, func(n int64, err error) { told <- outcome{g, n, err} })
		if verdicts[g] == nil {
			verdicts[g] = errNoAnswer
			waiting++
		}
	}
	if me := p.hub.ID(); slices.Contains(gateways, me) { // last, as it waits where the reactors are busy
		verdicts[me] = p.hub.Order(b)
	}
	for late := false; waiting > 0 && !late; waiting-- {
		select {
		case o := <-told:
			verdicts[o.gateway] = o.verdict()
		case <-ctx.Done():
			late = true
		}
	}
	out := admin.Pushed{Gateways: gateways}
	var first error
	for _, g := range gateways {
		if err := verdicts[g]; err != nil {
			out.Unheard = append(out.Unheard, g)
			first = cmp.Or(first, err)
		}
	}
	if len(out.Unheard) == len(gateways) {
		return out, first
	}
	return out, nil
}
