package relay

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"edged/batch"
)

// What is sorted in bulk comes without an allocation, by a stream or by an Inlet.
func TestSplitDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	value := new(int)
	for _, shards := range []int{1, 4} {
		r := newTestRelay(shards, func(o *Options) {
			o.UserShards = func(user, _ []byte) Shards { return Shards{uint64(user[0]) % (1 << shards)} }
			o.Cast = func(int, []byte) any { return value }
		})
		s := newSplitter(r, 0, 0)
		s.waiting = r.life.kill.Done
		inlet := r.NewInlet(false)
		var b []byte
		for i := range 40 {
			link := batch.Link{Index: uint32(i%shards)<<24 | 1, Uniq: 2}
			b = batch.AppendData(b, link, 0, []byte("data"))
			b = batch.AppendBind(b, link, 0, batch.Bind{User: []byte("user"), Device: []byte("device")})
			b = batch.AppendDataTo(b, batch.ToUser(string(rune('a'+i))), 0, []byte("data"))
			b = batch.AppendDataTo(b, batch.ToDevice("user", "device"), 0, []byte("data"))
			b = batch.AppendDataTo(b, batch.ToRoom("room"), 0, []byte("data"))
		}
		turn := func() {
			in := r.buffers.Get().(*inbound)
			in.b = append(in.b[:0], b...)
			if _, ok := s.deliver(in, batch.DownItems(in.b)); !ok {
				t.Fatal("no room")
			}
			if err := inlet.Deliver(b, 0); err != nil {
				t.Fatal(err)
			}
			sweepPorts(r)
		}
		for range 20 {
			turn()
		}
		if n := testing.AllocsPerRun(200, turn); n != 0 {
			t.Errorf("%d shards: %v allocations for two batches", shards, n)
		}
	}
}

// FuzzSplit checks that any batch comes apart as the full parse of its items says. Where a user is follows from
// the name; a room's item comes to every shard.
func FuzzSplit(f *testing.F) {
	const shards, self = 3, 1
	users := func(user, device []byte) (s Shards) {
		if n := (len(user) + 5*len(device)) % 5; n < shards {
			s.Add(n)
			s.Add(n / 2)
		}
		return s
	}
	r := newTestRelay(shards, func(o *Options) {
		o.UserShards = users
		o.Cast = func(_ int, item []byte) any { return bytes.Clone(item) }
	})
	for i := range uint32(6) {
		link := batch.Link{Index: i << 24, Uniq: i}
		b := batch.AppendDownstreamSeq(nil, uint64(i), 0)
		b = batch.AppendData(b, link, 0, []byte("data"))
		b = batch.AppendDataTo(b, batch.ToUser(fmt.Sprint("user", i)), 7, nil)
		b = batch.AppendPush(b, batch.ToDevice("user", fmt.Sprint("device", i)), 7, batch.Push{})
		b = batch.AppendJoin(b, batch.ToRoom("room"), uint64(i), "another")
		f.Add(batch.AppendClose(b, batch.ToEveryone(), 0, batch.Close{Reason: i}))
	}
	f.Add([]byte("\x0a\x04\x12\x01\xff\x0a\x02\x22\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := batch.ParseDownstream(b); err != nil {
			return
		}
		var want, got [shards][][]byte
		items := batch.DownItems(b)
		for item, _, ok := items.Next(); ok; item, _, ok = items.Next() {
			var it batch.DownItem
			if batch.ParseDownItem(item, &it) != nil {
				continue // it goes somewhere
			}
			var to Shards
			switch it.Target {
			case batch.TargetLink:
				if i := int(it.Link.Index >> 24); i < shards {
					to.Add(i)
				}
			case batch.TargetUser:
				to = users(it.User, nil)
			case batch.TargetDevice:
				to = users(it.User, it.Device)
			case batch.TargetRoom, batch.TargetEveryone:
				to = Shards{1<<shards - 1}
			}
			if to.Empty() {
				to.Add(self)
			}
			for i := to.Next(0); i >= 0; i = to.Next(i + 1) {
				want[i] = append(want[i], item)
			}
		}
		s := newSplitter(r, self, 0)
		s.bindings, s.waiting = make([]binding, shards), r.life.kill.Done
		in := &inbound{b: bytes.Clone(b)}
		s.deliver(in, batch.DownItems(in.b))
		for i, p := range r.ports {
			for e, ok := p.Next(); ok; e, ok = p.Next() {
				got[i] = append(got[i], readable(e)...)
			}
			if !slices.EqualFunc(got[i], want[i], bytes.Equal) {
				t.Fatalf("%x: shard %d got %x, want %x", b, i, got[i], want[i])
			}
		}
	})
}

// readable returns the items of an event that can be parsed.
func readable(e Event) (out [][]byte) {
	var it batch.DownItem
	if cast, ok := e.Cast.([]byte); ok && batch.ParseDownItem(cast, &it) == nil {
		out = append(out, cast)
	}
	items := batch.DownItems(e.Items)
	for item, _, ok := items.Next(); ok; item, _, ok = items.Next() {
		if batch.ParseDownItem(item, &it) == nil {
			out = append(out, bytes.Clone(item))
		}
	}
	return out
}
