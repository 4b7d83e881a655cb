package gateway_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/bus"
	"edged/gateway"
	"edged/wire"
)

// Items for other targets than a link, to which an operation is added.

func toUser(user string) *edgedpb.DownItem {
	return &edgedpb.DownItem{Target: &edgedpb.DownItem_User{User: user}}
}

func toDevice(user, device string) *edgedpb.DownItem {
	return &edgedpb.DownItem{Target: &edgedpb.DownItem_Device{Device: &edgedpb.Device{User: user, Device: device}}}
}

func toRoom(room string) *edgedpb.DownItem {
	return &edgedpb.DownItem{Target: &edgedpb.DownItem_Room{Room: room}}
}

func toAll() *edgedpb.DownItem {
	return &edgedpb.DownItem{Target: &edgedpb.DownItem_Everyone{Everyone: &edgedpb.Everyone{}}}
}

func saying(i *edgedpb.DownItem, payload string) *edgedpb.DownItem {
	i.What = &edgedpb.DownItem_Data{Data: []byte(payload)}
	return i
}

func pushing(i *edgedpb.DownItem, p *edgedpb.Push) *edgedpb.DownItem {
	i.What = &edgedpb.DownItem_Push{Push: p}
	return i
}

func joining(i *edgedpb.DownItem, room string) *edgedpb.DownItem {
	i.What = &edgedpb.DownItem_Join{Join: room}
	return i
}

func leaving(i *edgedpb.DownItem, room string) *edgedpb.DownItem {
	i.What = &edgedpb.DownItem_Leave{Leave: room}
	return i
}

func ending(i *edgedpb.DownItem, reason uint32) *edgedpb.DownItem {
	i.What = &edgedpb.DownItem_Close{Close: &edgedpb.Close{Reason: reason}}
	return i
}

// required is a push that must be acknowledged.
func required(id, payload string) *edgedpb.Push {
	return &edgedpb.Push{MsgId: id, Payload: []byte(payload), Ack: edgedpb.Push_REQUIRED}
}

// bindNames accepts every login whose HELLO is user/device.
func bindNames(i *edgedpb.UpItem, m *plain) {
	if msg := i.GetMessage(); msg.GetKind() == edgedpb.ClientMessage_HELLO {
		user, device, _ := strings.Cut(string(msg.Payload), "/")
		m.send(bind(i.Link, user, device))
	}
}

// loginAs logs a client in under a name of bindNames.
func (r *rig) loginAs(name string) *client {
	r.t.Helper()
	c := r.dial()
	c.send(wire.KindHello, name)
	c.link = string(c.welcome().LinkID)
	return c
}

// ref is the link as a Manager names it.
func (c *client) ref() *edgedpb.LinkRef {
	c.t.Helper()
	_, index, uniq, err := wire.ParseLinkID(c.link)
	if err != nil {
		c.t.Fatal(err)
	}
	return &edgedpb.LinkRef{Index: index, Uniq: uniq}
}

// push expects a PUSH and returns a copy of it.
func (c *client) push() wire.Push {
	c.t.Helper()
	p, err := wire.ParsePush(bytes.Clone(c.expect(wire.KindPush)))
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// expectPush expects a PUSH of that payload.
func (c *client) expectPush(payload string) wire.Push {
	c.t.Helper()
	p := c.push()
	if string(p.Payload) != payload {
		c.t.Fatalf("PUSH %q, not %q", head(p.Payload), payload)
	}
	return p
}

func (c *client) ack(tids ...uint32) {
	c.t.Helper()
	c.write(wire.AppendAck(nil, tids...))
}

// report is what a Manager is told of a push: what a test asks for comes, whatever else is on its way.
type report struct {
	link   [2]uint32 // index and uniq
	id     string
	acked  bool
	loss   edgedpb.Loss_Reason
	tid    uint32
	tries  uint32
	sample bool
}

// reports takes items until n reports of pushes have come.
func (m *plain) reports(n int) (all []report) {
	m.t.Helper()
	for len(all) < n {
		i := m.next()
		for _, a := range i.GetAcked().GetReceipts() {
			all = append(all, report{link: [2]uint32{i.Link.Index, i.Link.Uniq}, id: a.MsgId, acked: true, tid: a.Tid, tries: a.Tries, sample: a.Sampled})
		}
		for _, l := range i.GetUndelivered().GetLosses() {
			r := report{id: l.MsgId, loss: l.Reason}
			if i.Link != nil {
				r.link = [2]uint32{i.Link.Index, i.Link.Uniq}
			}
			all = append(all, r)
		}
	}
	return all
}

// noReports fails the test if a report comes within d.
func (m *plain) noReports(d time.Duration) {
	m.t.Helper()
	for end := time.After(d); ; {
		select {
		case i := <-m.items:
			if i.GetAcked() != nil || i.GetUndelivered() != nil {
				m.t.Fatalf("unexpected report %v", i)
			}
		case <-end:
			return
		}
	}
}

// until takes items until one of them is what f wants.
func (m *plain) until(what string, f func(*edgedpb.UpItem) bool) *edgedpb.UpItem {
	m.t.Helper()
	for {
		select {
		case i := <-m.items:
			if f(i) {
				return i
			}
		case <-time.After(patience):
			m.t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// publish brings a batch in as Redis does.
func (r *rig) publish(from bus.Source, items ...*edgedpb.DownItem) {
	r.t.Helper()
	r.Receiver().Batch(from, encode(r.t, items...))
}

func encode(t *testing.T, items ...*edgedpb.DownItem) []byte {
	t.Helper()
	b, err := proto.Marshal(&edgedpb.Downstream{Items: items})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sum is total and what concerns pushes, users and rooms.
func (r *rig) sum() (sum gateway.ShardStats) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	st, err := r.Stats(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range st.Shards {
		sum.Rooms += s.Rooms
		sum.Memberships += s.Memberships
		sum.Windows += s.Windows
		sum.Outstanding += s.Outstanding
		sum.Orders += s.Orders
		sum.Held += s.Held
		sum.Replays += s.Replays
		sum.Joins += s.Joins
		sum.Leaves += s.Leaves
		sum.Casts += s.Casts
		sum.CastDeliveries += s.CastDeliveries
		sum.Acked += s.Acked
		sum.DuplicateAcks += s.DuplicateAcks
		sum.UnknownAcks += s.UnknownAcks
		sum.Repeats += s.Repeats
		sum.Sampled += s.Sampled
		sum.SampledAcked += s.SampledAcked
		sum.Gzipped += s.Gzipped
		sum.GzipSaved += s.GzipSaved
		sum.Replaced += s.Replaced
		sum.Pulls += s.Pulls
		sum.PullErrors += s.PullErrors
		sum.Pulled += s.Pulled
		sum.HeldBack += s.HeldBack
		sum.LateSent += s.LateSent
		sum.Doubles += s.Doubles
		sum.Behind += s.Behind
		sum.DataDropped += s.DataDropped
		sum.BusItems += s.BusItems
		sum.BusNotHere += s.BusNotHere
		for i, n := range s.Pushes {
			sum.Pushes[i] += n
		}
		for i, n := range s.Undelivered {
			sum.Undelivered[i] += n
		}
		for i, n := range s.Ended {
			sum.Ended[i] += n
		}
	}
	return sum
}
