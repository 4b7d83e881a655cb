package client_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"edged/sdk/client"
	"edged/wire"
)

// userLog is the log of one user, and the gateways in front of it. They pull what the log has when a link comes, and keep the
// order of versions behind it, but give up the turn of some; links end in the middle of a frame, the log loses its end, and
// the application is started anew.
type userLog struct {
	t       *testing.T
	rnd     *rand.Rand
	f       *fake
	oldest  uint64 // version in the log
	last    uint64
	skips   bool     // whether turns are given up
	skipped []uint64 // on this link
	pulled  uint64   // up to here this link gets all that the log has
	sent    uint64   // the last one in turn of this link
	link    *feeder
	tids    map[uint64]uint32 // version → tid on this link
	readers sync.WaitGroup

	// What the application saw.
	had   map[uint64]bool
	holes map[uint64]bool
	high  uint64 // handed over
	kept  *store
	c     *client.Client
}

// start begins the application's process, or begins it again.
func (u *userLog) start() {
	o := options(u.f, newLog())
	o.Memory = u.kept.memory()
	o.Backoff.Max = 10 * time.Second
	o.Hole = func(from, to uint64) {
		for v := from; v <= to; v++ {
			if u.had[v] || u.holes[v] {
				u.t.Errorf("hole %d-%d, but %d came or was told of", from, to, v)
			}
			u.holes[v] = true
		}
	}
	o.OnPush = func(p client.Push) {
		if string(p.MsgID) != fmt.Sprintf("m%d", p.Version) || u.had[p.Version] {
			u.t.Errorf("version %d with %s, came before: %v", p.Version, p.MsgID, u.had[p.Version])
		}
		if late := p.Version < u.high; late != p.Late || late && !u.holes[p.Version] {
			u.t.Errorf("version %d after %d is late: %v, was told as missing: %v", p.Version, u.high, p.Late, u.holes[p.Version])
		}
		u.had[p.Version], u.high = true, max(u.high, p.Version)
	}
	u.c = newClient(u.t, o)
}

// connect lets the client in; the gateway goes on where the client says.
func (u *userLog) connect() {
	u.link, u.sent = feed(u.f)
	if u.sent != u.c.Synced() {
		u.t.Errorf("asked for what lies behind %d at %d", u.sent, u.c.Synced())
	}
	u.pulled = u.last
	u.tids, u.skipped = map[uint64]uint32{}, nil
	u.readers.Go(func() { // so that the client is never stuck with its acknowledgements
		for p := u.link.peer; ; {
			if _, err := p.next(time.Hour); err != nil {
				return
			}
		}
	})
}

func (u *userLog) turn() {
	if u.sent = max(u.sent+1, u.oldest); u.sent > u.last {
		u.sent = u.last
		return
	}
	if u.skips && u.sent > u.pulled && u.rnd.IntN(8) == 0 {
		u.skipped = append(u.skipped, u.sent)
		return
	}
	u.push(u.sent, wire.FlagAck)
}

func (u *userLog) push(v uint64, flags wire.Flags) {
	u.tids[v] = u.link.tid
	u.link.stored(flags, v)
}

// step does something at random.
func (u *userLog) step() {
	switch u.rnd.IntN(30) {
	default:
		u.turn()
	case 0, 1, 2, 3:
		u.last += uint64(u.rnd.IntN(4))
	case 4, 5:
		if n := len(u.skipped); n > 0 {
			i := u.rnd.IntN(n)
			if v := u.skipped[i]; v < u.high {
				u.push(v, wire.FlagAck|wire.FlagLate)
				u.skipped = slices.Delete(u.skipped, i, i+1)
			}
		}
	case 6: // the gateway did not see the ACK
		if all := slices.Sorted(maps.Keys(u.tids)); len(all) > 0 {
			v := all[u.rnd.IntN(len(all))]
			next := u.link.tid
			u.link.tid = u.tids[v]
			u.link.stored(wire.FlagAck|wire.FlagAgain, v)
			u.link.tid = next
		}
	case 7: // another gateway, which has an older word of the client
		if v := u.oldest + uint64(u.rnd.IntN(5)); v <= u.sent && u.had[v] {
			u.push(v, wire.FlagAck)
		}
	case 8:
		if u.high > 0 && u.rnd.IntN(4) == 0 { // a client that knows nothing would not miss it
			u.oldest = min(u.oldest+uint64(u.rnd.IntN(10)), u.last)
		}
	case 9:
		u.cut()
		u.connect()
	case 10:
		if u.rnd.IntN(4) == 0 {
			u.c.Close()
			u.start()
			u.connect()
		}
	}
}

// cut ends the link in the middle of the next message.
func (u *userLog) cut() {
	b := wire.AppendPush(nil, wire.Push{Flags: wire.FlagStamped, TID: u.link.tid, Version: u.sent + 1, MsgID: []byte("never")})
	u.link.send(b[:u.rnd.IntN(len(b))])
	_ = u.link.conn.Close()
}

func TestNothingIsLostAndNothingComesTwice(t *testing.T) {
	for range 30 {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		synctest.Test(t, func(t *testing.T) {
			u := &userLog{
				t: t, rnd: rand.New(rand.NewPCG(seed, 0)), f: newFake(t), oldest: 1, last: 20, skips: true,
				had: map[uint64]bool{}, holes: map[uint64]bool{}, kept: &store{t: t},
			}
			u.live()
		})
		if t.Failed() {
			return
		}
	}
}

func (u *userLog) live() {
	u.start()
	u.connect()
	for range 600 {
		u.step()
	}
	u.skips = false
	for range 2 { // quiet links: the first fills what can be filled, the second shows what cannot
		u.cut()
		u.connect()
		u.last++
		for u.sent < u.last {
			u.turn()
		}
	}
	var missing []client.Range
	for v := uint64(1); v <= u.last; v++ {
		switch {
		case u.had[v]:
		case v >= u.oldest || !u.holes[v]:
			u.t.Errorf("version %d did not come, told as missing: %v; the log begins at %d", v, u.holes[v], u.oldest)
		case len(missing) > 0 && missing[len(missing)-1].To == v-1:
			missing[len(missing)-1].To = v
		default:
			missing = append(missing, client.Range{From: v, To: v})
		}
	}
	where(u.t, u.c, u.last, missing...)
	if whole := len(missing) == 0; u.c.Complete(u.last) != whole {
		u.t.Errorf("Complete(%d) is %v, missing %v", u.last, !whole, missing)
	}
	u.c.Close()
	_ = u.link.conn.Close()
	u.readers.Wait()
}
