package registry_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
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

// TestBookOfOneHash has users whose hashes are the same or fall into one place of the table, and who come, change and go.
func TestBookOfOneHash(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	book, twin := registry.NewBook(), map[string]map[string]registry.Link{}
	hash := func(user int) uint64 { return uint64(user%5) << 48 }
	devices := 0
	for step := range 40_000 {
		u := random.IntN(40)
		h, user, device := hash(u), fmt.Sprint("user ", u), fmt.Sprint("d", random.IntN(1+u*u/100))
		_, there := twin[user][device]
		switch {
		case there && random.IntN(2) == 0, there && step/2000%4 == 3: // every fourth time they only go
			book.Remove(h, b(user), b(device))
			devices--
			if delete(twin[user], device); len(twin[user]) == 0 {
				delete(twin, user)
			}
		case !there && step/2000%4 < 3:
			if twin[user] == nil {
				twin[user] = map[string]registry.Link{}
			}
			l := registry.Link{Shard: random.IntN(256), Place: random.Uint32N(1 << 24), Uniq: random.Uint32()}
			book.Put(h, b(user), b(device), l)
			twin[user][device] = l
			devices++
		}
		if l, ok := book.Find(h, b(user), b(device)); l != twin[user][device] || ok != (twin[user][device] != registry.Link{}) {
			t.Fatalf("step %d: %s %s is at %v, want %v", step, user, device, l, twin[user][device])
		}
		if got, want := slices.Sorted(slices.Values(book.Devices(h, b(user)))), slices.Sorted(maps.Keys(twin[user])); !slices.Equal(got, want) {
			t.Fatalf("step %d: %s has %v, want %v", step, user, got, want)
		}
		if u, n, _ := book.Count(); u != len(twin) || n != devices {
			t.Fatalf("step %d: %d users with %d devices, want %d with %d", step, u, n, len(twin), devices)
		}
	}
}

// TestBookStaysSmall lets devices come and go for long: what they leave is used again, and a crowd that has left gives back its room.
func TestBookStaysSmall(t *testing.T) {
	book := registry.NewBook()
	name := func(i int) []byte { return fmt.Appendf(nil, "user-%06d", i) }
	hash := func(i int) uint64 { return uint64(i) * 0x9e3779b97f4a7c15 }
	const n = 2000
	for i := range 50 * n {
		if i >= n {
			book.Remove(hash(i-n), name(i-n), b("phone"))
		}
		book.Put(hash(i), name(i), b("phone"), registry.Link{})
		if _, live, bytes := book.Count(); live > 500 && bytes > 60*live {
			t.Fatalf("%d bytes for %d devices", bytes, live)
		}
	}
	for i := 49 * n; i < 50*n; i++ {
		book.Remove(hash(i), name(i), b("phone"))
	}
	if users, live, bytes := book.Count(); users != 0 || live != 0 || bytes > 2048 {
		t.Errorf("%d users and %d devices are left, in %d bytes", users, live, bytes)
	}
}

// TestDirectoryLongNames has names whose lengths take one, two and three bytes, and several devices of each user.
func TestDirectoryLongNames(t *testing.T) {
	d := registry.NewDirectory()
	name := func(n int, c string) []byte { return b(strings.Repeat(c, n)) }
	lengths := []int{0, 1, 62, 63, 64, 65, 127, 128, 129, 8191, 8192, 16383, 16384, 65535}
	for place, u := range lengths {
		for uniq, n := range lengths {
			if old, replaced := d.Put(name(u, "u"), name(n, "d"), registry.Link{Place: uint32(place), Uniq: uint32(uniq)}); replaced {
				t.Fatalf("%d %d replaces %v", u, n, old)
			}
		}
	}
	for place, u := range lengths {
		for uniq, n := range lengths {
			want := registry.Link{Place: uint32(place), Uniq: uint32(uniq)}
			if l, ok := d.Link(name(u, "u"), name(n, "d")); !ok || l != want {
				t.Fatalf("%d %d is at %v %v, want %v", u, n, l, ok, want)
			}
			if !d.Remove(name(u, "u"), name(n, "d"), want) {
				t.Fatalf("%d %d does not go", u, n)
			}
		}
	}
	if d.Users() != 0 || d.Devices() != 0 {
		t.Errorf("%d users and %d devices are left", d.Users(), d.Devices())
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
	if each > 45 || objects > 2000 {
		t.Errorf("%.0f bytes a link, %d objects for %d links", each, objects, n)
	}
	runtime.KeepAlive(d)
}
