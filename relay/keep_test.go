package relay_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/relay"
)

// series is what one Manager sent by one stream: how many items each shard gets of it.
type pushes struct {
	m      *manager
	stream uint32
	counts []int
}

func (p *pushes) name() string { return fmt.Sprint(p.m.id, "/", p.stream) }

// push sends a batch of some items, each for one shard, some or all.
func (p *pushes) push(random *rand.Rand) {
	var items []*edgedpb.DownItem
	for range random.IntN(6) {
		it := &edgedpb.DownItem{}
		var to relay.Shards
		switch shard := random.IntN(len(p.counts)); random.IntN(4) {
		case 0:
			to = relay.Shards{1<<len(p.counts) - 1}
			it.Target = &edgedpb.DownItem_Room{Room: "room"}
		case 1:
			to = relay.Shards{1 + random.Uint64N(1<<len(p.counts)-1)}
			it.Target = &edgedpb.DownItem_User{User: strconv.FormatUint(to[0], 10)}
			if len(p.counts) == 1 {
				to = relay.Shards{1}
			}
		default:
			to.Add(shard)
			it.Target = &edgedpb.DownItem_Link{Link: &edgedpb.LinkRef{Index: uint32(shard)<<24 | 5, Uniq: 9}}
		}
		var text strings.Builder
		text.WriteString(p.name())
		for i, n := range p.counts {
			fmt.Fprint(&text, " ", n)
			if to.Has(i) {
				p.counts[i]++
			}
		}
		it.What = &edgedpb.DownItem_Data{Data: []byte(text.String())}
		items = append(items, it)
	}
	p.m.push(p.stream, items...)
}

// keptWorld is a keeping with its Managers, to which a schedule happens.
type keptWorld struct {
	t        *testing.T
	random   *rand.Rand
	k        *keeping
	managers []*manager
	servers  []*server
	broken   []*atomic.Bool
	pushes   [][]*pushes // by Manager and stream
	lives    int
	dead     []*manager
}

func newKeptWorld(t *testing.T, random *rand.Rand, shards, managers int, grace time.Duration) *keptWorld {
	noLeaks(t)
	w := &keptWorld{t: t, random: random}
	var addresses []string
	for range managers {
		m := w.newManager(shards)
		w.managers = append(w.managers, m)
		w.servers = append(w.servers, start(t, m))
		addresses = append(addresses, w.servers[len(w.servers)-1].address)
		w.pushes = append(w.pushes, w.newPushes(m, shards))
	}
	w.k = newKeeping(t, random, shards, addresses, grace)
	return w
}

func (w *keptWorld) newManager(int) *manager {
	m := newManager(w.t, fmt.Sprint("m", w.lives))
	w.lives++
	m.lag = 1 + w.random.Uint64N(3)
	broken := new(atomic.Bool)
	m.during = func(*manager, uint32, *edgedpb.Upstream) error {
		if broken.Swap(false) {
			return errors.New("broken on purpose")
		}
		return nil
	}
	w.broken = append(w.broken, broken)
	return m
}

func (w *keptWorld) newPushes(m *manager, shards int) (out []*pushes) {
	for r := range shards {
		out = append(out, &pushes{m: m, stream: uint32(r), counts: make([]int, shards)})
	}
	return out
}

func (w *keptWorld) begin() {
	w.k.begin()
	w.t.Cleanup(w.k.end)
	for _, m := range w.managers {
		for r := range w.k.shards {
			m.until(uint32(r), "the stream", func(b *book) bool { return b.stream != nil })
		}
	}
}

// step lets one thing happen.
func (w *keptWorld) step() {
	m := w.random.IntN(len(w.managers))
	switch n := w.random.IntN(12); {
	case n == 0:
		w.servers[m].kill()
		w.servers[m] = serve(w.t, listen(w.t, "tcp", w.servers[m].address), w.managers[m])
	case n == 1:
		w.broken[w.random.IntN(len(w.broken))].Store(true)
	case n == 2:
		w.k.upgrade(w.random.IntN(3) == 0)
	case n == 3 && w.k.moving:
		w.renew(m)
	case n < 7:
		w.k.crash(w.random)
	default:
		for range w.random.IntN(8) {
			w.pushes[m][w.random.IntN(len(w.k.shards))].push(w.random)
		}
		time.Sleep(time.Duration(w.random.IntN(3000)) * time.Microsecond)
	}
}

// renew has another Manager answer, sooner or later than the grace ends.
func (w *keptWorld) renew(m int) {
	w.servers[m].kill()
	w.dead = append(w.dead, w.managers[m])
	w.managers[m] = w.newManager(len(w.k.shards))
	w.pushes[m] = w.newPushes(w.managers[m], len(w.k.shards))
	time.Sleep(time.Duration(w.random.IntN(40)) * time.Millisecond)
	w.servers[m] = serve(w.t, listen(w.t, "tcp", w.servers[m].address), w.managers[m])
}

// settle waits until all pushes are through.
func (w *keptWorld) settle() {
	w.t.Helper()
	w.k.setLoad(false)
	end := time.Now().Add(patience)
	for _, streams := range w.pushes {
		for _, p := range streams {
			for shard, want := range p.counts {
				for got := -1; got != want; time.Sleep(time.Millisecond) {
					w.k.on(func(s *keptShard) {
						if s.number == shard {
							got = s.state.Next[p.name()]
						}
					})
					if time.Now().After(end) {
						w.t.Fatalf("shard %d got %d items of %s, want %d; %+v", shard, got, p.name(), want, w.k.relay.Stats())
					}
				}
			}
		}
	}
}

// sent returns how many numbers a shard has sent.
func (w *keptWorld) sent(shard, m int) (n int) {
	w.k.on(func(s *keptShard) {
		if s.number == shard {
			n = s.state.Sent[m]
		}
	})
	return n
}

// Wherever a gateway dies, and dies again, and is handed over in between: between it and Managers that give receipts all comes
// once and in order, both ways.
func TestCrashModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for run := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, run))
		shards, managers := 1+random.IntN(3), 1+random.IntN(2)
		t.Run(fmt.Sprintf("%d shards, %d managers, %d", shards, managers, run), func(t *testing.T) {
			w := newKeptWorld(t, random, shards, managers, time.Minute)
			w.begin()
			w.k.setLoad(true)
			for range 40 {
				w.step()
			}
			w.settle()
			for shard := range shards {
				for i, m := range w.managers {
					n := w.sent(shard, i)
					same(t, trimmed(m.untilPayloads(uint32(shard), n)), series(0, n))
				}
			}
		})
	}
}

// The same where Managers are replaced and go for good: what they have not confirmed reaches another one, at least once; and
// nothing that comes down is lost or doubled all the same.
func TestCrashModelOfManagersThatGo(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for run := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, run))
		shards, managers := 1+random.IntN(3), 1+random.IntN(3)
		t.Run(fmt.Sprintf("%d shards, %d managers, %d", shards, managers, run), func(t *testing.T) {
			w := newKeptWorld(t, random, shards, managers, time.Duration(1+random.IntN(40))*time.Millisecond)
			w.k.moving = true
			w.begin()
			w.k.setLoad(true)
			for range 40 {
				w.step()
			}
			w.settle()
			for shard := range shards {
				w.untilAll(uint32(shard), w.sent(shard, 0))
			}
		})
	}
}

// untilAll waits until every number of a shard came to some Manager.
func (w *keptWorld) untilAll(shard uint32, n int) {
	w.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		got := make(map[string]bool)
		for _, m := range append(w.dead, w.managers...) {
			for _, p := range m.payloads(shard) {
				got[p] = true
			}
		}
		if len(got) == n {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("shard %d: %d numbers came, want %d", shard, len(got), n)
		}
	}
}
