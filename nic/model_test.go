package nic_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"testing"

	"edged/nic"
	"edged/nic/nictest"
)

// style is how a driver of the model names what serves queue q; tx is empty where RX and TX share a vector.
type style struct {
	rx, tx string
	base   int // the first number
	others []string
	virtio string
	spare  bool // vectors without queue have names too
}

var styles = []style{
	{rx: "eth0-TxRx-%d", others: []string{"eth0"}},
	{rx: "i40e-eth0-TxRx-%d", others: []string{"i40e-0000:00:01.0:misc", "i40e-0000:00:01.0:fdir-TxRx-0"}},
	{rx: "eth0-Tx-Rx-%d", others: []string{"ena-mgmnt@pci:0000:00:01.0"}},
	{rx: "mlx5_comp%d@pci:0000:00:01.0", others: []string{"mlx5_async0@pci:0000:00:01.0"}, spare: true},
	{rx: "mana_q%d@pci:0000:00:01.0", others: []string{"mana_hwc@pci:0000:00:01.0"}, spare: true},
	{rx: "virtio3-input.%d", tx: "virtio3-output.%d", others: []string{"virtio3-config"}, virtio: "virtio3"},
	{rx: "eth0-rx-%d", tx: "eth0-tx-%d", others: []string{"", "eth0-event-2"}},
	{rx: "eth0-rx-%d", tx: "eth0-tx-%d", base: 1},
	{rx: "eth0-q%d-rx", tx: "eth0-q%d-tx"},
	{rx: "idpf-eth0-TxRx-%d", base: 1, others: []string{"idpf-Mailbox-0"}},
}

// TestNamesModel makes random devices whose vectors come in random order, and knows whose each is. One device in four lacks a
// vector that a queue needs: then nothing may be claimed of that direction.
func TestNamesModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 60 {
		s := styles[random.IntN(len(styles))]
		n := 1 + random.IntN(24)
		names := slices.Clone(s.others)
		for q := range n {
			names = append(names, fmt.Sprintf(s.rx, s.base+q))
			if s.tx != "" {
				names = append(names, fmt.Sprintf(s.tx, s.base+q))
			}
		}
		if s.spare {
			for q := range random.IntN(8) {
				names = append(names, fmt.Sprintf(s.rx, n+q))
			}
		}
		lost := ""
		if random.IntN(4) == 0 && n > 1 {
			lost = fmt.Sprintf(s.rx, s.base+random.IntN(n))
			names = slices.DeleteFunc(names, func(name string) bool { return name == lost })
		}
		random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		checkModel(t, s, names, n, lost)
		if t.Failed() {
			t.Fatalf("%d queues, lost %q, vectors %q", n, lost, names)
		}
	}
}

// checkModel maps the device and looks up each queue's vector by the name that the model gave it.
func checkModel(t *testing.T, s style, names []string, n int, lost string) {
	t.Helper()
	host, _ := card{names: names, rx: n, tx: n, virtio: s.virtio}.open(t)
	d, err := host.Map(t.Context(), eth0)
	if err != nil {
		t.Fatal(err)
	}
	claims(t, d)
	txStyle := s.tx
	if txStyle == "" {
		txStyle = s.rx
	}
	if d.Mapped != (lost == "") {
		t.Errorf("mapped %v: %s", d.Mapped, d.Why)
	}
	check := func(queues []nic.Queue, style string, known bool) {
		for i, q := range queues {
			want := 10 + slices.Index(names, fmt.Sprintf(style, s.base+i))
			if known && q.IRQ != want || !known && q.How != nic.Unmapped {
				t.Errorf("queue %d: %+v, want interrupt %d, known %v", i, q, want, known)
			}
		}
	}
	check(d.RX, s.rx, lost == "")
	check(d.TX, txStyle, lost == "" || s.tx != "")
}

// TestMoveEverything moves each interrupt of each box and finds its queues on the new CPU, and everything else where it was.
func TestMoveEverything(t *testing.T) {
	for _, name := range nictest.Names() {
		m := nictest.Open(t, name)
		for _, leaf := range m.Leaves(t) {
			before, err := m.Host.Map(t.Context(), leaf)
			if err != nil {
				t.Fatal(err)
			}
			moved := map[int]int{}
			for i, q := range before.RX {
				if q.IRQ == 0 {
					continue
				}
				moved[q.IRQ] = 200 + i
				if err := m.Host.SetAffinity(q.IRQ, []int{200 + i}); err != nil {
					t.Errorf("%s: %s: %v", name, leaf.Name, err)
				}
			}
			after, err := m.Host.Map(t.Context(), leaf)
			if err != nil || after.Mapped != before.Mapped || after.Why != before.Why {
				t.Errorf("%s: %s: mapped %v (%s), %v", name, leaf.Name, after.Mapped, after.Why, err)
			}
			for i, q := range slices.Concat(after.RX, after.TX) {
				want := slices.Concat(before.RX, before.TX)[i]
				if cpu, ok := moved[q.IRQ]; ok {
					want.CPUs, want.Node = []int{cpu}, -1
				}
				if !reflect.DeepEqual(q, want) {
					t.Errorf("%s: %s: %+v, want %+v", name, leaf.Name, q, want)
				}
			}
		}
	}
}

// TestAnswersRecord has answers survive the form in which they are kept.
func TestAnswersRecord(t *testing.T) {
	for _, name := range nictest.Names() {
		m := nictest.Open(t, name)
		for _, leaf := range m.Leaves(t) {
			a, err := m.Driver.Ask(t.Context(), leaf)
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(a)
			var again nic.Answers
			if err == nil {
				err = json.Unmarshal(text, &again)
			}
			if err != nil || !reflect.DeepEqual(a, again) {
				t.Errorf("%s: %s: %s, %v", name, leaf.Name, text, err)
			}
		}
	}
}

// TestMapTogether has several goroutines map and set one box; each sees a whole map.
func TestMapTogether(t *testing.T) {
	m := nictest.Open(t, "mlx5")
	leaf := m.Leaves(t)[0]
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range 5 {
				if d, err := m.Host.Map(t.Context(), leaf); err != nil || !d.Mapped || len(d.RX) != 32 {
					t.Errorf("%+v, %v", d, err)
				}
				if err := m.Host.SetCoalesce(t.Context(), leaf, nic.Coalesce{Has: nic.RXUsecs, RXUsecs: 10*i + n}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if sets := m.Driver.Sets(); len(sets) != 20 {
		t.Errorf("%d changes of 20", len(sets))
	}
}

// TestMapLeavesNothing counts open files before and after.
func TestMapLeavesNothing(t *testing.T) {
	leaf := nic.Leaf{Index: 1, Name: "lo", Up: true}
	before := openFiles(t)
	for range 50 {
		if _, err := (nic.Host{}).Map(t.Context(), leaf); err != nil {
			t.Fatal(err)
		}
		_, _ = nic.Host{}.QueueStats(t.Context(), leaf)
		if err := (nic.Host{}).SetRings(t.Context(), leaf, 1, 1); err == nil {
			t.Fatal("lo has rings")
		}
	}
	after := openFiles(t)
	for fd := range before {
		delete(after, fd)
	}
	if len(after) > 1 { // the runtime may have opened its epoll
		t.Errorf("left open: %v", slices.Collect(maps.Values(after)))
	}
}

// openFiles returns what this process has open, by descriptor.
func openFiles(t *testing.T) map[int]string {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	open := map[int]string{}
	for _, e := range dir {
		fd, _ := strconv.Atoi(e.Name())
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil { // else it was the directory's own
			open[fd] = to
		}
	}
	return open
}

// BenchmarkMap is the cost of a map of 32 queue pairs, the kernel's answers not counted.
func BenchmarkMap(b *testing.B) {
	m := nictest.Open(b, "mlx5")
	leaf := m.Leaves(b)[0]
	for b.Loop() {
		if _, err := m.Host.Map(b.Context(), leaf); err != nil {
			b.Fatal(err)
		}
	}
}
