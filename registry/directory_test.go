package registry_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"edged/registry"
)

func b(text string) []byte { return []byte(text) }

// twin is the Directory as plainly as it can be said.
type twin map[string]map[string]registry.Link

func (w twin) put(user, device string, l registry.Link) (registry.Link, bool) {
	if w[user] == nil {
		w[user] = make(map[string]registry.Link)
	}
	old, found := w[user][device]
	w[user][device] = l
	if !found || old == l {
		return registry.Link{}, false
	}
	return old, true
}

func (w twin) remove(user, device string, l registry.Link) bool {
	if old, found := w[user][device]; !found || old != l {
		return false
	}
	delete(w[user], device)
	if len(w[user]) == 0 {
		delete(w, user)
	}
	return true
}

func (w twin) devices() (n int) {
	for _, u := range w {
		n += len(u)
	}
	return n
}

func byPlace(a, b registry.Link) int {
	return slices.Compare([]uint32{uint32(a.Shard), a.Place, a.Uniq}, []uint32{uint32(b.Shard), b.Place, b.Uniq})
}

// TestDirectoryModel does at random what gateways do, beside the twin. Few users and many devices make the ones with an index
// and those without come and go.
func TestDirectoryModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	d, w := registry.NewDirectory(), twin{}
	for step := range 60_000 {
		users, devices := 1+r.IntN(40), 1+r.IntN(100)
		user, device := fmt.Sprint("u", r.IntN(users)), fmt.Sprint("d", r.IntN(devices))
		link := registry.Link{Shard: r.IntN(2), Place: uint32(r.IntN(3)), Uniq: uint32(r.IntN(3))}
		switch r.IntN(5) {
		case 0, 1:
			old, replaced := d.Put(b(user), b(device), link)
			if wantOld, want := w.put(user, device, link); old != wantOld || replaced != want {
				t.Fatalf("step %d: Put gives %v, %v; want %v, %v", step, old, replaced, wantOld, want)
			}
		case 2, 3:
			if there, ok := d.Link(b(user), b(device)); ok && r.IntN(2) == 0 {
				link = there
			}
			if got, want := d.Remove(b(user), b(device), link), w.remove(user, device, link); got != want {
				t.Fatalf("step %d: Remove is %v, want %v", step, got, want)
			}
		default:
			compare(t, d, w, user, device)
		}
		if step%5000 == 0 && (d.Users() != len(w) || d.Devices() != w.devices()) {
			t.Fatalf("step %d: %d users and %d devices, want %d and %d", step, d.Users(), d.Devices(), len(w), w.devices())
		}
	}
}

func compare(t *testing.T, d *registry.Directory, w twin, user, device string) {
	t.Helper()
	link, ok := d.Link(b(user), b(device))
	if want, there := w[user][device]; link != want || ok != there {
		t.Fatalf("%s/%s is at %v, %v; want %v, %v", user, device, link, ok, want, there)
	}
	var want []registry.Link
	for _, l := range w[user] {
		want = append(want, l)
	}
	seats := make(map[string]registry.Link)
	for _, s := range d.Seats(b(user)) {
		seats[s.Device] = s.Link
	}
	if !maps.Equal(seats, w[user]) {
		t.Fatalf("%s sits at %v, want %v", user, seats, w[user])
	}
	got := d.Links(b(user), nil)
	slices.SortFunc(got, byPlace)
	slices.SortFunc(want, byPlace)
	if !slices.Equal(got, want) {
		t.Fatalf("%s is at %v, want %v", user, got, want)
	}
}

// TestDirectoryRace lets a hundred logins of one device race, each with the late end of what it replaced: one is left, it is
// the one that nobody replaced, and no end but its own removes it.
func TestDirectoryRace(t *testing.T) {
	const logins = 100
	for round := range 50 {
		d := registry.NewDirectory()
		var closed [logins]atomic.Int32 // how often a link was told to close
		var all sync.WaitGroup
		for i := range logins {
			all.Go(func() {
				old, replaced := d.Put(b("u"), b("phone"), registry.Link{Place: uint32(i), Uniq: 7})
				if replaced {
					closed[old.Place].Add(1)
					if d.Remove(b("u"), b("phone"), old) {
						t.Error("the late end of an old link removed the new one")
					}
				}
			})
		}
		all.Wait()
		links := d.Links(b("u"), nil)
		if len(links) != 1 || d.Users() != 1 || d.Devices() != 1 {
			t.Fatalf("round %d: %v is left of %d users", round, links, d.Users())
		}
		for i := range closed {
			want := int32(1)
			if uint32(i) == links[0].Place {
				want = 0
			}
			if got := closed[i].Load(); got != want {
				t.Fatalf("round %d: link %d was closed %d times, want %d; %v is left", round, i, got, want, links)
			}
		}
		if !d.Remove(b("u"), b("phone"), links[0]) || d.Users() != 0 {
			t.Fatal("the last link stays")
		}
	}
}

// TestDirectoryParallel has many users come and go on many threads at once, under the race detector.
func TestDirectoryParallel(t *testing.T) {
	d := registry.NewDirectory()
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 2000 {
				user, device := b(fmt.Sprint("u", i%97)), b(fmt.Sprint("d", w))
				l := registry.Link{Shard: w, Place: uint32(i)}
				d.Put(user, device, l)
				if got, ok := d.Link(user, device); !ok || got != l {
					t.Errorf("%s/%s is at %v, want %v", user, device, got, l)
				}
				if !d.Remove(user, device, l) {
					t.Errorf("%s/%s was not there", user, device)
				}
			}
		})
	}
	all.Wait()
	if d.Users() != 0 || d.Devices() != 0 {
		t.Errorf("%d users and %d devices are left", d.Users(), d.Devices())
	}
}

func TestDirectoryTakesNoMemoryToLookUp(t *testing.T) {
	d := registry.NewDirectory()
	for i := range 3 {
		d.Put(b("someone with a long name, longer than a small buffer"), b(fmt.Sprint("device ", i)), registry.Link{Place: uint32(i)})
	}
	user, device, nobody := b("someone with a long name, longer than a small buffer"), b("device 1"), b("nobody of that name is here at all, whoever asks")
	dst := make([]registry.Link, 0, 8)
	if n := testing.AllocsPerRun(100, func() {
		dst = d.Links(user, dst[:0])
		if len(dst) != 3 {
			t.Error(dst)
		}
		dst = d.Links(nobody, dst[:0])
		if _, ok := d.Link(user, device); !ok {
			t.Error("not there")
		}
	}); n != 0 {
		t.Errorf("%v allocations a look-up", n)
	}
}

// TestDirectoryKeepsNoSlice overwrites what was handed in.
func TestDirectoryKeepsNoSlice(t *testing.T) {
	d := registry.NewDirectory()
	user, device := b("user"), b("phone")
	d.Put(user, device, registry.Link{Place: 1})
	copy(user, "XXXX")
	copy(device, "XXXXX")
	if _, ok := d.Link(b("user"), b("phone")); !ok {
		t.Error("the name changed with its caller's slice")
	}
}

func BenchmarkDirectoryLinks(bench *testing.B) {
	d := registry.NewDirectory()
	users := make([][]byte, 100_000)
	for i := range users {
		users[i] = fmt.Appendf(nil, "user-%d", i)
		d.Put(users[i], b("phone"), registry.Link{Place: uint32(i)})
	}
	dst := make([]registry.Link, 0, 4)
	bench.ReportAllocs()
	i := 0
	for bench.Loop() {
		dst = d.Links(users[i%len(users)], dst[:0])
		i += 7919
	}
}

func BenchmarkDirectoryLogin(bench *testing.B) {
	d := registry.NewDirectory()
	bench.ReportAllocs()
	i := 0
	for bench.Loop() {
		user := fmt.Appendf(nil, "user-%d", i%100_000)
		d.Put(user, b("phone"), registry.Link{Place: uint32(i)})
		i++
	}
}

func BenchmarkDirectoryChurn(bench *testing.B) {
	d := registry.NewDirectory()
	const n = 100_000
	user := make([]byte, 0, 32)
	for i := range n {
		d.Put(fmt.Appendf(user, "user-%d", i), b("phone"), registry.Link{Place: uint32(i)})
	}
	phone := b("phone")
	bench.ReportAllocs()
	for i := n; bench.Loop(); i++ {
		d.Put(fmt.Appendf(user, "user-%d", i), phone, registry.Link{Place: uint32(i % n)})
		d.Remove(fmt.Appendf(user, "user-%d", i-n), phone, registry.Link{Place: uint32(i % n)})
	}
}
