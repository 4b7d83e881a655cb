package client_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/sdk/client"
	"edged/wire"
)

// feeder sends pushes over one link, and counts their tids.
type feeder struct {
	*peer
	tid uint32
}

// stored sends a push with a version and a msg_id of it.
func (f *feeder) stored(flags wire.Flags, version uint64) {
	f.t.Helper()
	f.stamped(flags, version, fmt.Sprintf("m%d", version))
}

func (f *feeder) stamped(flags wire.Flags, version uint64, id string) {
	f.t.Helper()
	f.send(wire.AppendPush(nil, wire.Push{
		Flags: flags | wire.FlagStamped, TID: f.tid, Version: version, MsgID: []byte(id), Payload: []byte(id),
	}))
	f.tid++
	synctest.Wait()
}

// acked reads the ACK of the last push.
func (f *feeder) acked() {
	f.t.Helper()
	if rest := f.want(wire.KindAck); len(rest) != 4 || wire.AckTID(rest, 0) != f.tid-1 {
		f.t.Fatalf("ack %x, want %d", rest, f.tid-1)
	}
}

// next lets the next link in and returns the version that its Hello asks to go on behind.
func feed(f *fake) (*feeder, uint64) {
	f.t.Helper()
	p := f.accept()
	var h edgedpb.Hello
	if err := proto.Unmarshal(p.want(wire.KindHello), &h); err != nil {
		f.t.Fatal(err)
	}
	p.welcome()
	synctest.Wait()
	return &feeder{peer: p}, h.SyncedVersion
}

// mark notes what a push was: L is late.
func mark(p client.Push) string {
	if p.Late {
		return fmt.Sprintf("%s L", p.MsgID)
	}
	return string(p.MsgID)
}

// noting are options of a client whose pushes and holes are written into the log.
func noting(f *fake, l *log) client.Options {
	o := options(f, l)
	o.OnPush = func(p client.Push) { l.add("%s", mark(p)) }
	o.Hole = func(from, to uint64) { l.add("hole %d-%d", from, to) }
	return o
}

func TestAckAfterTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		o := options(f, newLog())
		hold := make(chan struct{})
		var c *client.Client
		o.OnPush = func(client.Push) {
			if c.Synced() != 0 {
				t.Error("synced before the handler has returned")
			}
			<-hold
		}
		c = newClient(t, o)
		p, _ := feed(f)
		p.stored(wire.FlagAck, 5)
		if body, err := p.next(3 * time.Second); err == nil {
			t.Fatalf("sent %x while the handler runs", body)
		}
		close(hold)
		p.acked()
		if c.Synced() != 5 {
			t.Errorf("synced %d", c.Synced())
		}
	})
}

// Acknowledgements that wait together share frames, none of which is over the least max_frame.
func TestAcksGoOutTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pushes = 100
		f := newFake(t)
		o := options(f, newLog())
		o.OnPush = func(client.Push) {}
		c := newClient(t, o)
		p, _ := feed(f)
		var b []byte
		for tid := range uint32(pushes) {
			b = wire.AppendPush(b, wire.Push{Flags: wire.FlagAck, TID: tid})
		}
		p.send(b)
		synctest.Wait() // the first one is being written, the others wait
		next, frames := uint32(0), 0
		for next < pushes {
			rest := p.want(wire.KindAck)
			if len(rest) > 63 {
				t.Errorf("an ACK of %d bytes", len(rest))
			}
			for i := range len(rest) / 4 {
				if tid := wire.AckTID(rest, i); tid != next {
					t.Fatalf("ack of %d, want %d", tid, next)
				}
				next++
			}
			frames++
		}
		if frames > 15 || c.Stats().Acks != pushes {
			t.Errorf("%d frames, %+v", frames, c.Stats())
		}
	})
}

func TestFloodOfPushesWithoutReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		o := options(f, newLog())
		o.OnPush = func(client.Push) {}
		c := newClient(t, o)
		p := f.welcomed()
		for tid := range uint32(40_000) {
			if _, err := p.conn.Write(wire.AppendPush(nil, wire.Push{Flags: wire.FlagAck, TID: tid})); err != nil {
				break
			}
		}
		f.accept()
		if !errors.Is(c.Err(), client.ErrStalled) {
			t.Errorf("%v", c.Err())
		}
	})
}

// A message that comes again over another link is acknowledged there and dropped, if its stamp tells.
func TestDoublesOverLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		l := newLog()
		c := newClient(t, noting(f, l))
		for range 3 {
			p, _ := feed(f)
			for _, sampled := range []wire.Flags{0, wire.FlagSampled} {
				p.stamped(wire.FlagAck|sampled, 0, "live")
				p.acked()
				p.stamped(wire.FlagAck|sampled, 7, "stored")
				p.acked()
			}
			p.stamped(wire.FlagAck, 7, "") // a version alone tells too
			p.acked()
			p.stamped(wire.FlagAck, 0, "") // and nothing does not
			p.acked()
			_ = p.conn.Close()
		}
		l.want(t, "live", "stored", "", "", "")
		if s := c.Stats(); s.Doubles != 3*6-5 || s.Acks != 3*6 || s.Missed != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestOnlyTheLastMsgIDsAreRemembered(t *testing.T) {
	f := newFake(t)
	got := 0
	o := options(f, newLog())
	o.OnPush = func(client.Push) { got++ }
	done := make(chan struct{}, 1)
	o.OnData = func([]byte) { done <- struct{}{} }
	c := newClient(t, o)
	p := f.welcomed()
	var b []byte
	tid := uint32(0)
	push := func(n int) {
		b = wire.AppendPush(b, wire.Push{Flags: wire.FlagStamped, TID: tid, MsgID: fmt.Appendf(nil, "id-%d", n)})
		tid++
	}
	const all, kept = 10_000, 4096
	for n := range all {
		push(n)
	}
	for n := all - kept; n < all; n++ {
		push(n) // doubles
	}
	push(all - kept - 1) // forgotten
	push(all - kept - 1)
	push(all - kept) // pushed out by it
	p.send(wire.Append(b, wire.KindData, nil))
	<-done
	if got != all+2 || c.Stats().Doubles != kept+1 {
		t.Errorf("%d handed over, %+v", got, c.Stats())
	}
}

// A sender that repeats itself after its msg_id was forgotten by the log gets a new version; it is the same message.
func TestSameMessageUnderAnotherVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		l := newLog()
		c := newClient(t, noting(f, l))
		p, _ := feed(f)
		p.stamped(0, 1, "a")
		p.stamped(wire.FlagAck, 2, "a")
		p.acked()
		p.stamped(0, 3, "b")
		l.want(t, "a", "b")
		if c.Synced() != 3 || !c.Complete(3) {
			t.Errorf("synced %d, missing %v", c.Synced(), c.Missing())
		}
	})
}

// Redis forgot versions 4 and 5 in a fail-over, and later all of them.
func TestVersionsThatAreGivenOutAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		l := newLog()
		c := newClient(t, noting(f, l))
		p, _ := feed(f)
		for v := range uint64(5) {
			p.stored(0, v+1)
		}
		p.stamped(wire.FlagAck, 4, "other 4")
		p.acked()
		if c.Synced() != 4 {
			t.Errorf("synced %d", c.Synced())
		}
		p.stamped(0, 5, "other 5")
		p.stored(0, 8)
		p.stamped(0, 5, "other 5")
		p.stamped(0, 1, "new 1")
		p.stamped(0, 2, "new 2")
		p.stamped(0, 2, "new 2")
		l.want(t, "m1", "m2", "m3", "m4", "m5", "other 4", "other 5", "hole 6-7", "m8", "new 1", "new 2")
		if s := c.Stats(); c.Synced() != 2 || !c.Complete(2) || len(c.Missing()) != 0 || s.Rewinds != 2 || s.Doubles != 2 {
			t.Errorf("synced %d, missing %v, %+v", c.Synced(), c.Missing(), s)
		}
	})
}

// A payload that unpacks to gigabytes is given up where the limit is, and is neither acknowledged nor counted as had.
func TestBomb(t *testing.T) {
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	block := make([]byte, 1<<20)
	for range 40 {
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		l := newLog()
		c := newClient(t, noting(f, l))
		p, _ := feed(f)
		p.stored(0, 1)
		push := func(v uint64, payload []byte) {
			p.send(wire.AppendPush(nil, wire.Push{
				Flags: wire.FlagAck | wire.FlagGzip | wire.FlagStamped, TID: p.tid, Version: v, MsgID: fmt.Append(nil, v), Payload: payload,
			}))
			p.tid++
			synctest.Wait()
		}
		push(2, bomb.Bytes())
		push(3, packed(t, "fine"))
		p.acked()
		push(2, packed(t, "mended"))
		p.acked()
		l.want(t, "m1", "hole 2-2", "3", "2 L")
		if s := c.Stats(); s.Garbled != 1 || c.Synced() != 3 {
			t.Errorf("%+v, synced %d", s, c.Synced())
		}
	})
}

func TestLateFlagAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		var got []client.Push
		o := options(f, newLog())
		o.OnPush = func(p client.Push) { p.Payload = nil; p.MsgID = bytes.Clone(p.MsgID); got = append(got, p) }
		c := newClient(t, o)
		p, _ := feed(f)
		p.stamped(wire.FlagLate, 0, "x")
		want := []client.Push{{MsgID: []byte("x"), Late: true}}
		if !reflect.DeepEqual(got, want) || c.Stats().Late != 1 {
			t.Errorf("%+v", got)
		}
	})
}
