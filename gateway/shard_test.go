package gateway

import (
	"fmt"
	"io"
	"net"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"edged/batch"
	"edged/relay"
	"edged/wire"
)

// TestLinkIsSmallAndFlat: the price of a link, of which there may be a million.
func TestLinkIsSmallAndFlat(t *testing.T) {
	if n := unsafe.Sizeof(link{}); n > 48 {
		t.Errorf("a link takes %d bytes", n)
	}
	for i, typ := 0, reflect.TypeFor[link](); i < typ.NumField(); i++ {
		switch typ.Field(i).Type.Kind() {
		case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		default:
			t.Errorf("field %s is a %v", typ.Field(i).Name, typ.Field(i).Type)
		}
	}
}

// summary tells items in short: "opened 0", "x 0", "closed 0" with the link's place.
func summary(items []batch.UpItem) string {
	var words []string
	for _, i := range items {
		switch i.What {
		case batch.UpOpened:
			words = append(words, fmt.Sprint("opened ", i.Link.Index))
		case batch.UpMessage:
			words = append(words, fmt.Sprint(string(i.Payload), " ", i.Link.Index))
		case batch.UpClosed:
			words = append(words, fmt.Sprint("closed ", i.Link.Index))
		case batch.UpRefused:
			words = append(words, fmt.Sprint("refused ", i.Ref))
		default:
			words = append(words, fmt.Sprint("what ", i.What))
		}
	}
	return strings.Join(words, ", ")
}

// expect compares what is on its way to a Manager, and takes it away.
func (b *bench) expect(m int, want string) {
	b.Helper()
	b.turn(func() {})
	b.on(func() {
		if got := summary(b.sent(m)); got != want {
			b.Errorf("Manager %d: %q, not %q", m, got, want)
		}
		b.port.managers[m].queue = nil
	})
}

func hello(s string) []byte { return wire.Append(nil, wire.KindHello, []byte(s)) }

// TestGoneWithNobodyElse: what one of two Managers had not confirmed keeps its place before what follows, and goes with its
// `opened` to whoever comes first.
func TestGoneWithNobodyElse(t *testing.T) {
	for _, first := range []int{0, 1} {
		b := newBench(t, 2)
		_, x := b.dial() // at Manager 1
		_, y := b.dial() // at Manager 0
		b.turn(func() { b.port.tell(relay.EventGone, 0) })
		b.expect(1, "opened 0, opened 1")
		b.turn(func() { b.read(y, hello("1")); b.read(x, hello("1")) })
		b.on(func() { // the end comes in one turn with the news
			b.read(y, hello("2"))
			b.s.end(y.place, y.uniq, b.s.links.Get(y.place, y.uniq), ending{reason: wire.ByeKicked})
			b.port.tell(relay.EventGone, 1)
		})
		b.turn(func() { b.read(x, hello("2")) })
		b.expect(0, "")
		b.expect(1, "")
		b.turn(func() { b.port.tell(relay.EventUp, first) })
		b.on(func() {
			got := map[uint32][]batch.UpItem{}
			for _, i := range b.sent(first) {
				got[i.Link.Index] = append(got[i.Link.Index], i)
			}
			// Manager 1 comes back as the same process: it knows x and y.
			wantX, wantY := "opened 0, 1 0, 2 0", "opened 1, 1 1, 2 1, closed 1"
			if first == 1 {
				wantX, wantY = strings.TrimPrefix(wantX, "opened 0, "), strings.TrimPrefix(wantY, "opened 1, ")
			}
			if s := summary(got[0]); s != wantX {
				t.Errorf("first %d: %q, not %q", first, s, wantX)
			}
			if s := summary(got[1]); s != wantY {
				t.Errorf("first %d: %q, not %q", first, s, wantY)
			}
		})
	}
}

// TestOpenedIsNotLostWithItsManager: the only one here was told, but had not confirmed; it comes back.
func TestOpenedIsNotLostWithItsManager(t *testing.T) {
	b := newBench(t, 2)
	b.turn(func() { b.port.tell(relay.EventGone, 0) })
	_, x := b.dial()
	b.turn(func() { b.read(x, hello("1")) })
	b.turn(func() { b.port.tell(relay.EventGone, 1) })
	b.turn(func() { b.port.tell(relay.EventUp, 1) })
	b.expect(1, "opened 0, 1 0")
}

// TestBeforeTheWalk: links whose Manager is gone speak, or end, before anybody has brought them home.
func TestBeforeTheWalk(t *testing.T) {
	b := newBench(t, 2)
	_, x := b.dial() // at Manager 1
	_, y := b.dial()
	_, z := b.dial() // at Manager 1
	b.expect(1, "opened 0, opened 2")
	b.expect(0, "opened 1")
	b.on(func() {
		b.s.managers.list[1].gone = true // as if the walk had not come to them yet
		b.read(x, hello("1"))
		b.s.end(x.place, x.uniq, b.s.links.Get(x.place, x.uniq), ending{reason: wire.ByeKicked})
		b.s.end(z.place, z.uniq, b.s.links.Get(z.place, z.uniq), ending{reason: wire.ByeKicked})
		b.read(y, hello("1"))
	})
	b.expect(0, "opened 0, 1 0, closed 0, opened 2, closed 2, 1 1")
	b.expect(1, "")
}

// TestEndedLinkGoesToOneManager: all that is left of a link goes to the same Manager, whoever else is there.
func TestEndedLinkGoesToOneManager(t *testing.T) {
	b := newBench(t, 4)
	_, x := b.dial() // at Manager 1
	b.expect(1, "opened 0")
	b.turn(func() {
		for i := range 6 {
			b.read(x, hello(fmt.Sprint(i)))
		}
	})
	b.turn(func() { b.s.end(x.place, x.uniq, b.s.links.Get(x.place, x.uniq), ending{reason: wire.ByeKicked}) })
	b.turn(func() { b.port.tell(relay.EventGone, 1) })
	b.on(func() {
		all := ""
		for m := range 4 {
			if s := summary(b.sent(m)); s != "" {
				all += s + ";"
			}
		}
		if want := "opened 0, 0 0, 1 0, 2 0, 3 0, 4 0, 5 0, closed 0;"; all != want {
			t.Errorf("%q, not %q", all, want)
		}
	})
}

// TestRefusalsAreNotAnnounced: an answer about a link that never was brings no `opened` with it when it is sent again.
func TestRefusalsAreNotAnnounced(t *testing.T) {
	b := newBench(t, 1)
	b.turn(func() { b.port.items(0, batch.AppendData(nil, batch.Link{Index: 9, Uniq: 9}, 77, nil)) })
	b.turn(func() { b.port.tell(relay.EventNew, 0) })
	b.expect(0, "refused 77")
}

// TestManyNewProcesses: what nobody confirms is repeated to each, and does not grow.
func TestManyNewProcesses(t *testing.T) {
	b := newBench(t, 1)
	_, x := b.dial()
	_, y := b.dial()
	b.turn(func() { b.read(x, hello("x")); b.read(y, hello("y")) })
	b.turn(func() { b.s.end(x.place, x.uniq, b.s.links.Get(x.place, x.uniq), ending{reason: wire.ByeKicked}) })
	for range 600 { // more than a byte counts
		b.turn(func() { b.port.tell(relay.EventNew, 0) })
	}
	b.expect(0, "opened 0, opened 1, x 0, y 1, closed 0")
}

// TestAnswersAreBounded: a Manager that asks and does not listen.
func TestAnswersAreBounded(t *testing.T) {
	b := newBench(t, 1)
	_, x := b.dial()
	b.expect(0, "opened 0")
	b.on(func() { b.port.managers[0].full = true })
	var ask []byte
	for i := range 1000 {
		ask = batch.AppendData(ask, batch.Link{Index: 9, Uniq: 9}, uint64(i)+1, nil)
	}
	for range 20 {
		b.turn(func() { b.port.items(0, ask) })
	}
	b.on(func() {
		if n := len(b.s.managers.list[0].held); n > b.s.managers.bound {
			t.Errorf("%d bytes are held", n)
		}
		if b.s.count.Dropped[DropAnswer] == 0 {
			t.Error("no answer was dropped")
		}
		b.s.end(x.place, x.uniq, b.s.links.Get(x.place, x.uniq), ending{reason: wire.ByeKicked})
		b.port.managers[0].full = false
		b.port.tell(relay.EventRoom, 0)
	})
	b.turn(func() {})
	b.on(func() {
		items := b.sent(0)
		n := len(items) - 1
		if last := items[n]; last.What != batch.UpClosed {
			t.Errorf("the last item is %v", last.What)
		}
		if uint64(n)+b.s.count.Dropped[DropAnswer] != 20000 {
			t.Errorf("%d answers came, %d were dropped", n, b.s.count.Dropped[DropAnswer])
		}
	})
}

// TestWaitingListStaysShort: links that come, wait and go while one of two Managers takes nothing.
func TestWaitingListStaysShort(t *testing.T) {
	b := newBench(t, 2)
	conn, first := b.dial()
	_, name := b.dial()
	b.on(func() {
		b.port.managers[1].full, b.port.managers[0].full = true, true
		for range 10000 {
			l := b.s.links.Get(name.place, name.uniq)
			conn := l.conn
			b.read(name, hello("x"))
			if l.flags&waiting == 0 || b.s.waiting.n != 1 {
				t.Fatalf("flags %b, %d wait", l.flags, b.s.waiting.n)
			}
			// Its end and the next owner of the place, without the cost of a connection.
			b.s.forget(name.place, name.uniq, l, ending{label: EndLost})
			b.s.links.Add()
			b.s.g.links.Add(1)
			b.s.count.Opened++
			name.uniq++
			*b.s.links.Get(name.place, name.uniq) = link{conn: conn, manager: 1, flags: announced, session: b.s.sessions.Open(nil, nil, nil, 0)}
			b.s.deadlines.Set(name.place, b.s.now().Deadline(time.Hour))
			b.s.managers.list[0].held, b.s.managers.list[1].held = nil, nil
		}
		if b.s.waiting.n != 0 {
			t.Errorf("%d wait", b.s.waiting.n)
		}
	})
	_ = conn
	// With one that goes on waiting the list is not emptied by the others' ends.
	b.on(func() {
		b.read(first, hello("x"))
		for range 10000 {
			b.s.waiting.add(b.s, name)
			b.s.waiting.left(b.s, &link{flags: waiting})
		}
		if n := len(b.s.waiting.list); n > compactFrom+1 {
			t.Errorf("%d names are listed", n)
		}
		if b.s.waiting.list[0] != first {
			t.Error("who waits first is not the first any more")
		}
	})
}

// TestNoAllocationOnTheWay drives a shard without a loop's turn around it: frames up, items down.
func TestNoAllocationOnTheWay(t *testing.T) {
	b := newBench(t, 1)
	conn, name := b.dial()
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	b.on(func() { b.port.recycle = true })
	b.turn(func() {
		b.s.carryOut(0, batch.AppendBind(nil, b.s.name(name.place, name.uniq), 0, batch.Bind{User: []byte("user-4711"), Device: []byte("phone")}))
	})
	var in, down []byte
	for i := range 16 {
		in = wire.Append(in, wire.KindData, make([]byte, 64))
		if i%4 == 0 {
			in = wire.AppendHeartbeat(in)
			in = wire.AppendPing(in, 1)
			in = wire.AppendAck(in, 1)
		}
		l := batch.Link{Index: name.place, Uniq: name.uniq}
		down = batch.AppendData(down, l, 0, make([]byte, 64))
		down = batch.AppendPush(down, batch.ToLink(l), 0, batch.Push{Payload: make([]byte, 64), MsgID: []byte("m")})
		down = batch.AppendData(down, batch.Link{Index: name.place, Uniq: name.uniq + 1}, 1, nil)
	}
	for range 20 { // to fill every buffer on the way
		b.turn(func() { b.read(name, in); b.s.carryOut(0, down) })
	}
	b.on(func() {
		if n := testing.AllocsPerRun(10, func() { b.read(name, in); b.s.Turn(0) }); n != 0 {
			t.Errorf("%v allocations for 16 messages up", n)
		}
	})
	b.turn(func() {})
	b.on(func() {
		if n := testing.AllocsPerRun(10, func() { b.s.carryOut(0, down) }); n != 0 {
			t.Errorf("%v allocations for 48 items down", n)
		}
	})
}

// TestFewAllocationsInAll counts those of the whole process while messages go through a socket, up and down.
func TestFewAllocationsInAll(t *testing.T) {
	for _, kept := range []bool{false, true} {
		t.Run(fmt.Sprint("kept=", kept), func(t *testing.T) { testFewAllocations(t, kept) })
	}
}

func testFewAllocations(t *testing.T, kept bool) {
	b := newBenchOf(t, 1, func(o *Options) {
		if o.Config.LinkRate = 0; !kept {
			o.Keep = nil
		}
	})
	conn, name := b.dial()
	b.on(func() { b.port.recycle, b.port.commit = true, nil })
	var hot []byte
	for range 32 {
		hot = wire.Append(hot, wire.KindData, make([]byte, 64))
	}
	var down []byte
	for range 32 {
		down = batch.AppendData(down, batch.Link{Index: name.place, Uniq: name.uniq}, 0, make([]byte, 64))
	}
	answers := make([]byte, 32*67)
	done := make(chan bool, 1)
	seen := uint64(0)
	var f func()
	f = func() { // waits until the messages are in, then answers
		if b.s.count.FramesIn[wire.KindData] < seen {
			go b.s.loop.Post(f)
			return
		}
		b.s.carryOut(0, down)
		done <- true
	}
	step := func() {
		seen += 32
		if _, err := conn.Write(hot); err != nil {
			t.Fatal(err)
		}
		b.s.loop.Post(f)
		<-done
		if _, err := io.ReadFull(conn, answers); err != nil {
			t.Fatal(err)
		}
	}
	b.turn(func() {
		b.s.carryOut(0, batch.AppendBind(nil, b.s.name(name.place, name.uniq), 0, batch.Bind{User: []byte("u"), Device: []byte("d")}))
	})
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	skipWelcome(t, conn)
	for range 100 {
		step()
	}
	const rounds = 500
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		step()
	}
	runtime.ReadMemStats(&after)
	per := float64(after.Mallocs-before.Mallocs) / (rounds * 64)
	t.Logf("%.4f allocations per message", per)
	if per > 0.05 && !raceEnabled {
		t.Errorf("%.4f allocations per message", per)
	}
}

func skipWelcome(t *testing.T, conn net.Conn) {
	t.Helper()
	h := make([]byte, wire.HeadLen)
	if _, err := io.ReadFull(conn, h); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, int(h[0])<<8|int(h[1]))); err != nil {
		t.Fatal(err)
	}
}
