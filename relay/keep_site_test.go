package relay_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"edged/batch"
	"edged/handover"
	"edged/relay"
)

// keeping is a gateway all of whose state is in shared memory, over crashes and hand-overs. Its shards do their turns on
// goroutines of their own.
type keeping struct {
	t         testing.TB
	addresses []string
	grace     time.Duration
	moving    bool // items are for whoever is here; else each has its Manager
	memory    *handover.Memory
	relay     *relay.Relay
	shards    []*keptShard
	change    func(o *relay.Options)
	stop      chan struct{}
	wg        sync.WaitGroup

	standing sync.WaitGroup // shards in front of a crash
	crashing chan struct{}  // closed when they are to stand; nil: they are not
	mu       sync.Mutex     // guards crashing
}

// keptShard sends numbers, checks those that it gets, and writes down both.
type keptShard struct {
	k      *keeping
	number int
	random *rand.Rand
	wake   chan struct{}
	calls  chan func()

	// Owned by its goroutine, or by who has it stand.
	port    *relay.Port
	records *handover.Records
	state   keptState
	wait    []bool
	gone    []bool
	load    bool
	fuse    int // points that it passes before it stands
}

// keptState is what a shard writes down. Next has, of each series of a Manager's stream, which number comes next.
type keptState struct {
	Sent    []int
	Held    []string
	Next    map[string]int
	Carried map[int]relay.Carried
	Orphans bool // were asked for
}

const keptRing = 1 << 20

func newKeeping(t testing.TB, random *rand.Rand, shards int, addresses []string, grace time.Duration) *keeping {
	k := &keeping{t: t, addresses: addresses, grace: grace, stop: make(chan struct{})}
	for i := range shards {
		k.shards = append(k.shards, &keptShard{
			k: k, number: i, random: rand.New(rand.NewPCG(random.Uint64(), 0)),
			wake: make(chan struct{}, 1), calls: make(chan func()),
			state: keptState{Sent: make([]int, max(len(addresses), 1)), Next: map[string]int{}, Carried: map[int]relay.Carried{}},
		})
	}
	return k
}

// begin has the shards run.
func (k *keeping) begin() {
	k.begun(k.build(nil))
	for _, s := range k.shards {
		k.wg.Go(s.run)
	}
}

// end ends all, as a process's end does.
func (k *keeping) end() {
	close(k.stop)
	k.wg.Wait()
	kill(k.relay)
	_ = k.memory.Close()
}

// build makes memory and relay of the next process.
func (k *keeping) build(from *relay.Inheritance) (*handover.Memory, *relay.Relay) {
	memory, err := handover.NewMemory(handover.Geometry{
		Shards: len(k.shards), Records: 2, Blocks: 4096, Rings: len(k.addresses), RingBytes: keptRing,
	})
	if err != nil {
		k.t.Fatal(err)
	}
	o := relay.Options{
		Config: relay.Default(),
		Hello:  batch.GatewayHello{ID: "gw", Address: "192.0.2.7:8000", Protocol: 1, Epoch: 7},
		Shards: len(k.shards), ShardOf: shardOf, Inherit: from, Log: slog.New(slog.NewTextHandler(keptLog{k.t}, nil)),
		Wake: func(shard int) {
			select {
			case k.shards[shard].wake <- struct{}{}:
			default:
			}
		},
		UserShards: func(user, _ []byte) relay.Shards {
			n, _ := strconv.Atoi(string(user))
			return relay.Shards{uint64(n)}
		},
		Cast:  func(_ int, item []byte) any { return dataOf(k.t, asField(item))[0] },
		Rings: memory.Ring,
	}
	o.Config.Addresses, o.Config.Grace = k.addresses, k.grace
	if k.change != nil {
		k.change(&o)
	}
	start := lend(k.t, &o)
	r, err := relay.New(o)
	if err != nil {
		k.t.Fatal(err)
	}
	start(r)
	return memory, r
}

// keptLog writes to the test's log.
type keptLog struct{ t testing.TB }

func (l keptLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// asField puts the tag and the length before an item.
func asField(item []byte) []byte {
	return append(append([]byte{1<<3 | 2}, varint(len(item))...), item...)
}

func varint(n int) (b []byte) {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// begun lets a new process live; its shards do their first turn, in which they write down everything.
func (k *keeping) begun(memory *handover.Memory, r *relay.Relay) {
	k.memory, k.relay = memory, r
	for _, s := range k.shards {
		s.port, s.records = r.Port(s.number), memory.Records(s.number)
		s.wait, s.gone, s.fuse = make([]bool, len(k.addresses)), make([]bool, len(k.addresses)), -1
	}
	r.Start()
	for _, s := range k.shards {
		s.orphans()
		s.commit()
	}
}

// crash throws the process away, each shard somewhere in its turn, and begins the next one with what the memory has.
func (k *keeping) crash(random *rand.Rand) {
	k.t.Helper()
	stand := make(chan struct{})
	k.standing.Add(len(k.shards))
	k.mu.Lock()
	for _, s := range k.shards {
		s.fuse = random.IntN(30)
	}
	k.crashing = stand
	k.mu.Unlock()
	k.standing.Wait()
	kill(k.relay)
	old := reopen(k.t, k.memory)
	_ = k.memory.Close()
	k.mu.Lock()
	k.crashing = nil
	k.mu.Unlock()
	k.begun(k.build(k.revive(old)))
	_ = old.Close()
	close(stand)
}

// reopen is how the next process gets a memory.
func reopen(t testing.TB, m *handover.Memory) *handover.Memory {
	t.Helper()
	fd, err := syscall.Dup(m.FD())
	if err != nil {
		t.Fatal(err)
	}
	old, err := handover.OpenMemory(fd)
	if err != nil {
		t.Fatal(err)
	}
	return old
}

// revive reads what a dead process left.
func (k *keeping) revive(old *handover.Memory) *relay.Inheritance {
	k.t.Helper()
	version, state, err := relay.RecoverState(old.Ring, len(k.shards), len(k.addresses))
	if err != nil {
		k.t.Fatal(err)
	}
	from := &relay.Inheritance{Version: version, State: state, Resumed: true}
	for _, s := range k.shards {
		_, b, err := old.Records(s.number).Get(0, nil, nil)
		if err != nil {
			k.t.Fatal(err)
		}
		s.state = keptState{}
		if err := json.Unmarshal(b, &s.state); err != nil {
			k.t.Fatal(err)
		}
		for _, i := range slices.Sorted(maps.Keys(s.state.Carried)) {
			from.Carried = append(from.Carried, s.state.Carried[i])
		}
	}
	return from
}

// upgrade hands over as a whole process does, or, with fail, goes on.
func (k *keeping) upgrade(fail bool) {
	k.t.Helper()
	ctx, cancel := limit()
	defer cancel()
	if err := k.relay.Hold(ctx); err != nil {
		k.t.Fatal(err)
	}
	var standing, going sync.WaitGroup
	standing.Add(len(k.shards))
	next := make(chan struct{})
	going.Go(func() {
		k.on(func(s *keptShard) {
			for s.port.Pending() {
				s.turn()
			}
			standing.Done()
			<-next
		})
	})
	standing.Wait()
	err := k.relay.Freeze(ctx)
	var state []byte
	if err == nil {
		state, err = k.relay.AppendState(nil, relay.StateVersion)
	}
	if err != nil {
		k.t.Fatal(err)
	}
	if fail {
		k.relay.Thaw()
	} else {
		memory, heir := k.build(&relay.Inheritance{Version: relay.StateVersion, State: state, Resumed: true})
		kill(k.relay)
		_ = k.memory.Close()
		for _, s := range k.shards {
			s.state.Carried = map[int]relay.Carried{} // all that was carried out is receipted
		}
		k.begun(memory, heir)
	}
	close(next)
	going.Wait()
}

// on runs f on every shard's goroutine, and waits.
func (k *keeping) on(f func(s *keptShard)) {
	var wg sync.WaitGroup
	for _, s := range k.shards {
		wg.Go(func() {
			done := make(chan struct{})
			s.calls <- func() { defer close(done); f(s) }
			<-done
		})
	}
	wg.Wait()
}

func (k *keeping) setLoad(on bool) { k.on(func(s *keptShard) { s.load = on }) }

func (s *keptShard) run() {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		s.turn()
		select {
		case f := <-s.calls:
			f()
		case <-s.wake:
		case <-tick.C:
		case <-s.k.stop:
			return
		}
	}
}

// dead is what a turn is left with where its process dies.
type dead struct{}

// point is one of the places in a turn where the process may die.
func (s *keptShard) point() {
	s.k.mu.Lock()
	stand := s.k.crashing
	s.fuse--
	die := stand != nil && s.fuse < 0
	s.k.mu.Unlock()
	if die {
		s.k.standing.Done()
		<-stand
		panic(dead{})
	}
}

// turn does what a turn of the gateway does, as far as it gets.
func (s *keptShard) turn() {
	defer func() {
		if v := recover(); v != nil && v != any(dead{}) {
			panic(v)
		}
	}()
	for range 1 + s.random.IntN(8) {
		s.point()
		e, ok := s.port.Next()
		if !ok {
			break
		}
		s.take(e)
	}
	s.point()
	if s.load {
		s.send()
	}
	s.sendHeld()
	s.point()
	s.commit()
	s.point()
}

func (s *keptShard) commit() {
	s.port.Carried(func(stream int, seq uint64, index uint32) {
		s.state.Carried[stream] = relay.Carried{
			Shard: s.number, From: stream / s.port.Managers(), Address: s.k.addresses[stream%s.port.Managers()], Seq: seq, Index: index,
		}
	})
	b, err := json.Marshal(&s.state)
	if err != nil || !s.records.PutAll(0, nil, b) {
		s.k.t.Errorf("%d bytes do not fit, or %v", len(b), err)
	}
	s.point()
	s.records.Commit()
	s.point()
	s.port.Commit()
}

// take carries out an event.
func (s *keptShard) take(e relay.Event) {
	switch e.Kind {
	case relay.EventItems:
		for _, p := range dataOf(s.k.t, e.Items) {
			s.check(p)
		}
	case relay.EventCast:
		s.check(e.Cast.(string))
	case relay.EventRoom:
		s.wait[e.Manager] = false
	case relay.EventUp, relay.EventNew, relay.EventGone:
		s.gone[e.Manager] = e.Kind == relay.EventGone
		if !s.k.moving && e.Kind != relay.EventUp {
			s.k.t.Errorf("shard %d: %v of %d", s.number, e.Kind, e.Manager)
		}
		s.reroute(e)
	}
}

// check looks at what came: "series n0 n1 …", the numbers by shard.
func (s *keptShard) check(payload string) {
	words := strings.Fields(payload)
	n, err := strconv.Atoi(words[1+s.number])
	if want := s.state.Next[words[0]]; n != want || err != nil {
		s.k.t.Errorf("shard %d: %q came when %d was to come, %v", s.number, payload, want, err)
	}
	s.state.Next[words[0]] = n + 1
}

// send sends some numbers.
func (s *keptShard) send() {
	for range s.random.IntN(4) {
		if s.k.moving {
			s.state.Held = append(s.state.Held, strconv.Itoa(s.state.Sent[0]))
			s.state.Sent[0]++
			continue
		}
		s.sendOne(s.random.IntN(len(s.k.addresses)))
	}
}

// sendOne sends the next numbers of a Manager, one at times with a long tail.
func (s *keptShard) sendOne(m int) {
	if s.wait[m] {
		return
	}
	b := s.port.Take(m)
	if b == nil {
		s.wait[m] = true
		return
	}
	for range 1 + s.random.IntN(5) {
		pad := 0
		if s.random.IntN(20) == 0 {
			pad = s.random.IntN(40000)
		}
		b.Items = s.appendMessage(b.Items, fmt.Sprint(s.state.Sent[m], strings.Repeat(".", pad)))
		s.state.Sent[m]++
	}
	s.port.Send(m, b)
}

func (s *keptShard) appendMessage(b []byte, payload string) []byte {
	return batch.AppendMessage(b, batch.Link{Index: uint32(s.number)<<24 | 5, Uniq: 9}, nil, 3, []byte(payload))
}

// sendHeld sends what is held to one that is here.
func (s *keptShard) sendHeld() {
	for i, m := 0, s.random.IntN(len(s.k.addresses)); i < len(s.k.addresses) && len(s.state.Held) > 0; i, m = i+1, (m+1)%len(s.k.addresses) {
		if s.gone[m] || s.wait[m] {
			continue
		}
		b := s.port.Take(m)
		if b == nil {
			s.wait[m] = true
			continue
		}
		n := min(len(s.state.Held), 200)
		for _, p := range s.state.Held[:n] {
			b.Items = s.appendMessage(b.Items, p)
		}
		s.state.Held = slices.Clone(s.state.Held[n:])
		s.port.Send(m, b)
	}
}

// reroute has what was not confirmed sent again: as it is, or later.
func (s *keptShard) reroute(e relay.Event) {
	for _, b := range e.Lost {
		if !s.gone[e.Manager] && s.random.IntN(4) == 0 {
			s.port.Send(e.Manager, b)
			continue
		}
		s.state.Held = append(s.state.Held, numbersOf(s.k.t, b.Items)...)
	}
}

// orphans takes what a predecessor left for Managers that are not here.
func (s *keptShard) orphans() {
	for _, b := range s.k.relay.Orphans(s.number) {
		s.state.Held = append(s.state.Held, numbersOf(s.k.t, b.Items)...)
	}
}

func numbersOf(t testing.TB, items []byte) (out []string) {
	t.Helper()
	it := batch.UpItems(items)
	for {
		item, _, ok := it.Next()
		if !ok {
			break
		}
		var u batch.UpItem
		if err := batch.ParseUpItem(item, &u); err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.TrimRight(string(u.Payload), "."))
	}
	if it.Err() != nil {
		t.Fatal(errors.Join(it.Err()))
	}
	return out
}
