package registry_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"edged/registry"
)

// TestDirectoryGrowsAndShrinks lets ten thousand users come and go in waves, some with hundreds of devices, and compares with a map.
func TestDirectoryGrowsAndShrinks(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	d, twin := registry.NewDirectory(), map[registry.Name]registry.Link{}
	users := func() map[string]int {
		m := map[string]int{}
		for n := range twin {
			m[n.User]++
		}
		return m
	}
	for wave := range 6 {
		for i := range 15000 {
			n := registry.Name{User: fmt.Sprint("user-", random.IntN(10000)), Device: fmt.Sprint("d", random.IntN(3))}
			if random.IntN(10) == 0 {
				n = registry.Name{User: "service", Device: fmt.Sprint("client ", random.IntN(1000))}
			}
			l := registry.Link{Shard: random.IntN(4), Place: uint32(i), Uniq: random.Uint32()}
			if random.IntN(5) < 2+wave%2*2 { // every other wave goes
				if was, ok := twin[n]; ok {
					l = was
				}
				_, want := twin[n]
				if got := d.Remove(b(n.User), b(n.Device), l); got != want {
					t.Fatalf("remove %v: %v, want %v", n, got, want)
				}
				delete(twin, n)
				continue
			}
			was, there := twin[n]
			if old, replaced := d.Put(b(n.User), b(n.Device), l); replaced != there || replaced && old != was {
				t.Fatalf("put %v: %v %v, want %v %v", n, old, replaced, was, there)
			}
			twin[n] = l
		}
		for n, l := range twin {
			if got, ok := d.Link(b(n.User), b(n.Device)); !ok || got != l {
				t.Fatalf("%v is at %v %v, want %v", n, got, ok, l)
			}
		}
		have := users()
		if d.Devices() != len(twin) || d.Users() != len(have) {
			t.Fatalf("%d devices of %d users, want %d of %d", d.Devices(), d.Users(), len(twin), len(have))
		}
		for u, n := range have {
			if got := len(d.Links(b(u), nil)); got != n {
				t.Fatalf("%s has %d links, want %d", u, got, n)
			}
		}
		for range 200 {
			if u := fmt.Sprint("user-", random.IntN(10000)); len(d.Links(b(u), nil)) != have[u] {
				t.Fatalf("%s has other links than %d", u, have[u])
			}
		}
	}
}

// TestDirectoryMemory: what a user who is logged in costs here, and that the garbage collector does not see him.
func TestDirectoryMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	d := registry.NewDirectory()
	const n = 100_000
	for i := range n {
		d.Put(fmt.Appendf(nil, "user-%06d", i), b("phone"), registry.Link{Place: uint32(i)})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each, objects := float64(after.HeapAlloc-before.HeapAlloc)/n, after.HeapObjects-before.HeapObjects
	t.Logf("%.0f bytes a link, %d objects", each, objects)
	if each > 100 || objects > 5000 {
		t.Errorf("%.0f bytes a link, %d objects for %d links", each, objects, n)
	}
	runtime.KeepAlive(d)
}
