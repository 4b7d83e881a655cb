package gateway

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"edged/handover"
	"edged/registry"
	"edged/wire"
)

// goldenSection is a section of the golden state of the present version.
func goldenSection(t testing.TB, kind string) []byte {
	t.Helper()
	file, err := os.ReadFile(filepath.Join("testdata", "state.v1"))
	if err != nil {
		t.Fatal(err)
	}
	sections, err := handover.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sections {
		if s.Kind() == kind {
			return bytes.Clone(s.Bytes)
		}
	}
	t.Fatal("no section ", kind)
	return nil
}

// tryLoad loads a section into a shard, uses what came of it, and ends all links: nothing may be left. It returns how many
// links there were, and false if the section was refused.
func (b *golden) tryLoad(section []byte) (links int, ok bool) {
	b.Helper()
	b.on(func() {
		b.g.past = &past{}
		defer func() { b.g.past = nil }()
		links, ok = b.useLoaded(section)
	})
	return links, ok
}

// useLoaded is tryLoad on the shard's thread.
func (b *golden) useLoaded(section []byte) (links int, ok bool) {
	b.g.directory = registry.NewDirectory()
	x := b.another()
	if x.load(section, func(was int) int { return min(was, 0) - min(was, 1) }) != nil {
		return 0, false
	}
	shards := b.g.shards
	b.g.shards = []*shard{x}
	b.g.settleRivals()
	b.g.shards = shards
	x.inheritItems()
	x.endTorn(x.takeover)
	x.resync()
	x.managers.walk(x)
	x.syncDue(x.now())
	links = x.links.Len()
	for range 1000 {
		x.runWalks()
	}
	x.links.Each(0, x.links.Cap(), func(place, uniq uint32, l *link) {
		x.stateOf(place, uniq, l)
		x.forget(place, uniq, l, ending{reason: wire.ByeDraining})
	})
	x.runWalks()
	if n := x.links.Len() + x.sessions.Len() + x.deadlines.Len() + x.waiting.n + x.rooms.Len() + x.windows.Len() + x.windows.Bytes() +
		x.orders.Len() + x.orders.Held() + len(x.slow.starving) + len(x.syncing.stuck) + b.g.directory.Devices() + len(x.casting.walks) +
		x.casting.bytes + x.casting.joins; n != 0 {
		b.Errorf("left behind: %+v, %d devices, %+v", x.stats(), b.g.directory.Devices(), x.casting)
	}
	for i := range x.managers.list {
		b.port.managers[i].queue = nil
	}
	return links, true
}

// stateOf writes a link that was loaded once more.
func (s *shard) stateOf(place, uniq uint32, l *link) { _ = s.appendLink(nil, place, uniq, l, true) }

// TestDamagedSections changes bytes of a shard's section, and nothing that frames its records.
func TestDamagedSections(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	good := goldenSection(t, "shard")
	b := newGoldenBench(t)
	if n, ok := b.tryLoad(good); n != goldenLinks || !ok {
		t.Fatalf("%d links, %v", n, ok)
	}
	whole, fewer, refused := 0, 0, 0
	for range 3000 {
		bad := bytes.Clone(good)
		all := records(t, bad)
		for range 1 + random.IntN(3) {
			body := all[random.IntN(len(all))]
			body[random.IntN(len(body))] = byte(random.Uint32())
		}
		switch n, ok := b.tryLoad(bad); {
		case !ok:
			refused++
		case n == goldenLinks:
			whole++
		default:
			fewer++
		}
	}
	if whole == 0 || fewer == 0 || refused == 0 {
		t.Errorf("%d as before, %d with fewer links, %d refused", whole, fewer, refused)
	}
}

// TestCutSections: a link's record that ends anywhere costs that link.
func TestCutSections(t *testing.T) {
	good := goldenSection(t, "shard")
	b := newGoldenBench(t)
	for rest, at := good, 0; len(rest) > 0; {
		r, next, err := handover.Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		for cut := range len(r.Body) {
			if r.Body[0] != recordLink {
				break
			}
			bad := append(bytes.Clone(good[:at+handoverHead+cut]), next...)
			binary.LittleEndian.PutUint32(bad[at:], uint32(cut))
			if n, ok := b.tryLoad(bad); n != goldenLinks-1 || !ok {
				t.Fatalf("record at %d cut to %d bytes: %d links, %v", at, cut, n, ok)
			}
		}
		at += len(rest) - len(next)
		rest = next
	}
}

func FuzzLoadShard(f *testing.F) {
	b := newGoldenBench(f)
	f.Add(goldenSection(f, "shard"))
	f.Fuzz(func(t *testing.T, section []byte) {
		b.TB = t
		b.tryLoad(section)
	})
}

func FuzzReadPast(f *testing.F) {
	f.Add(goldenSection(f, "gateway"))
	f.Fuzz(func(t *testing.T, section []byte) {
		p, err := readPast(&Inheritance{Sections: []handover.Section{
			{Name: "gateway", Version: 1, Bytes: section}, {Name: "relay", Version: 1},
			{Name: "shard/0", Version: 1}, {Name: "netpoll/0", Version: 1},
		}})
		if err == nil && (p.reactors != 1 || len(p.listeners) > maxListeners) {
			t.Errorf("%+v", p)
		}
	})
}
