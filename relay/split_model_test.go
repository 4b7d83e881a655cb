package relay

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"edged/batch"
)

// model drives splitters and shards at random, one step at a time, and remembers for each item where it has
// to come. Its users are numbers, its payloads the numbers of the items.
type model struct {
	t      *testing.T
	random *rand.Rand
	relay  *Relay
	ways   []*way
	on     map[string]Shards // the directory: as the shards have carried out the binds
	items  []sent
	shards []modelShard
}

// way is a stream's splitter or an Inlet.
type way struct {
	split  *splitter
	inlet  *Inlet
	unsure []sentBind // binds that were not given back
}

type sentBind struct {
	shard, item int
	user        string
}

// sent is what has to become of an item.
type sent struct {
	way      int
	what     string
	must     Shards // get it
	may      Shards // get it
	got      Shards
	cast     bool
	nobody   bool // goes to self alone, unless some get it that may, of which self can be one
	leftOut  bool
	bindUser string
}

// modelShard is what a shard has done.
type modelShard struct {
	last  []int // the item of each way that was carried out last
	binds []int // those of the event that is lent
}

func newModel(t *testing.T, random *rand.Rand, shards int) *model {
	m := &model{t: t, random: random, on: map[string]Shards{}, shards: make([]modelShard, shards)}
	m.relay = newTestRelay(shards, func(o *Options) {
		o.UserShards = m.userShards
		o.Cast = func(origin int, item []byte) any {
			if it := m.parse(item); string(it.Data) != "none" {
				return string(it.Data)
			}
			return nil
		}
	})
	for range 2 {
		s := newSplitter(m.relay, random.IntN(shards), len(m.ways))
		s.waiting = m.relay.life.kill.Done
		m.ways = append(m.ways, &way{split: &s})
	}
	for _, links := range []bool{true, false} {
		i := m.relay.NewInlet(links)
		m.ways = append(m.ways, &way{split: &i.split, inlet: i})
	}
	for i := range m.shards {
		m.shards[i].last = make([]int, len(m.ways))
	}
	return m
}

func (m *model) userShards(user, device []byte) Shards {
	if device != nil {
		return m.on[string(user)+"/"+string(device)]
	}
	return m.on[string(user)]
}

func (m *model) parse(item []byte) (it batch.DownItem) {
	if err := batch.ParseDownItem(item, &it); err != nil {
		m.t.Fatal(err)
	}
	return it
}

// item appends a random item for a way to a batch.
func (m *model) item(b []byte, w int) []byte {
	n := len(m.items)
	payload := fmt.Append(nil, n)
	way, shards := m.ways[w], len(m.shards)
	it := sent{way: w}
	shard := m.random.IntN(shards)
	link := batch.Link{Index: uint32(shard)<<24 | m.random.Uint32N(1<<24), Uniq: m.random.Uint32()}
	user := fmt.Sprint("user", m.random.IntN(8))
	everyone := func() (s Shards) {
		for i := range shards {
			s.Add(i)
		}
		return s
	}
	switch m.random.IntN(7) {
	case 0, 1:
		it.what, it.leftOut = "link", !way.split.links
		it.must.Add(shard)
		b = batch.AppendDataTo(b, batch.ToLink(link), uint64(n%2), payload)
	case 2:
		it.what, it.leftOut, it.bindUser = "bind", !way.split.links, user
		it.must.Add(shard)
		b = batch.AppendBind(b, link, uint64(n), batch.Bind{User: []byte(user), Device: []byte("d")})
		if !it.leftOut {
			way.unsure = append(way.unsure, sentBind{shard, n, user})
		}
	case 3, 4:
		it.what = "user " + user
		to := batch.ToUser(user)
		it.must = m.userShards([]byte(user), nil)
		if m.random.IntN(2) == 0 {
			device := []string{"d", "e", ""}[m.random.IntN(3)]
			to, it.must = batch.ToDevice(user, device), m.userShards([]byte(user), append([]byte{}, device...))
		}
		for _, u := range way.unsure {
			it.may.Add(u.shard)
			if u.user == user {
				it.must.Add(u.shard)
			}
		}
		if shards == 1 {
			it.must, it.may = Shards{}, Shards{}
		}
		it.nobody = it.must.Empty()
		b = batch.AppendDataTo(b, to, 0, payload)
	case 5:
		it.what, it.cast, it.must = "cast", true, everyone()
		to := batch.ToEveryone()
		if m.random.IntN(2) == 0 {
			to = batch.ToRoom("room")
		}
		b = batch.AppendDataTo(b, to, 0, payload)
	case 6:
		it.what, it.leftOut = "cast of nothing", true
		b = batch.AppendDataTo(b, batch.ToEveryone(), 0, []byte("none"))
	}
	m.items = append(m.items, it)
	return b
}

// deliver sends a random batch by a random way.
func (m *model) deliver() {
	w := m.random.IntN(len(m.ways))
	var b []byte
	for range m.random.IntN(6) {
		if m.random.IntN(5) == 0 {
			b = batch.AppendDownstreamSeq(b, 5, 0)
		}
		b = m.item(b, w)
	}
	way := m.ways[w]
	if way.inlet != nil {
		if err := way.inlet.Deliver(b, 0); err != nil {
			m.t.Fatal(err)
		}
		return
	}
	in := m.relay.buffers.Get().(*inbound)
	in.b = append(in.b[:0], b...)
	if n, ok := way.split.deliver(in, batch.DownItems(in.b)); !ok || n != batch.DownItems(b).Count() {
		m.t.Fatalf("%d items, %v", n, ok)
	}
}

// turn has a shard take its next event. What the event before it lent is given back by that.
func (m *model) turn(shard int) bool {
	s := &m.shards[shard]
	e, ok := m.relay.ports[shard].Next()
	for _, n := range s.binds {
		way := m.ways[m.items[n].way]
		for i, u := range way.unsure {
			if u.item == n {
				way.unsure = append(way.unsure[:i], way.unsure[i+1:]...)
				break
			}
		}
	}
	s.binds = nil
	if !ok {
		return false
	}
	if e.Kind == EventCast {
		m.took(shard, e, e.Cast.(string), true)
		return true
	}
	items := batch.DownItems(e.Items)
	for item, _, ok := items.Next(); ok; item, _, ok = items.Next() {
		it := m.parse(item)
		if it.Op != batch.OpBind {
			m.took(shard, e, string(it.Data), false)
			continue
		}
		m.took(shard, e, fmt.Sprint(it.Ref), false)
		s.binds = append(s.binds, int(it.Ref))
		for _, name := range []string{string(it.Bind.User), string(it.Bind.User) + "/" + string(it.Bind.Device)} {
			set := m.on[name]
			set.Add(shard)
			m.on[name] = set
		}
	}
	return true
}

// took checks an item that came to a shard.
func (m *model) took(shard int, e Event, number string, cast bool) {
	var n int
	if _, err := fmt.Sscan(number, &n); err != nil {
		m.t.Fatalf("item %q: %v", number, err)
	}
	it := &m.items[n]
	s := &m.shards[shard]
	switch {
	case it.got.Has(shard):
		m.t.Fatalf("item %d (%s) came twice to shard %d", n, it.what, shard)
	case n < s.last[it.way]:
		m.t.Fatalf("item %d (%s) came to shard %d after item %d", n, it.what, shard, s.last[it.way])
	case cast != it.cast:
		m.t.Fatalf("item %d (%s): cast %v", n, it.what, cast)
	case m.ways[it.way].split.manager != e.Manager:
		m.t.Fatalf("item %d (%s) of way %d came from Manager %d", n, it.what, it.way, e.Manager)
	}
	s.last[it.way] = n
	it.got.Add(shard)
}

// finish checks that every item came where it had to.
func (m *model) finish() {
	for i := range m.shards {
		for m.turn(i) {
		}
	}
	for n := range m.items {
		it := &m.items[n]
		if it.leftOut {
			if !it.got.Empty() {
				m.t.Fatalf("item %d (%s) came to %v", n, it.what, it.got)
			}
			continue
		}
		most := it.must
		most.Union(it.may)
		var self Shards
		self.Add(m.ways[it.way].split.self)
		if it.nobody && it.got == self {
			it.must, most = self, self
		}
		least, allowed := it.must, it.got
		least.Union(it.got)
		allowed.Union(most)
		if least != it.got || allowed != most || it.got.Empty() {
			m.t.Fatalf("item %d (%s) came to %v, must %v, may %v", n, it.what, it.got, it.must, it.may)
		}
	}
	for i, p := range m.relay.ports {
		if held := p.quota.held.Load(); held != 0 {
			m.t.Errorf("shard %d: %d bytes are held", i, held)
		}
	}
	m.items = nil
	for i := range m.shards {
		clear(m.shards[i].last)
	}
}

// However batches and turns of the shards fall together, every shard gets what it must, in its order.
func TestSplitModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for _, shards := range []int{1, 2, 3, 5, 70} {
		t.Run(fmt.Sprint("shards=", shards), func(t *testing.T) {
			m := newModel(t, rand.New(rand.NewPCG(seed, uint64(shards))), shards)
			for range 300 {
				clear(m.on)
				for range m.random.IntN(60) {
					if m.random.IntN(3) == 0 {
						m.deliver()
					} else {
						m.turn(m.random.IntN(shards))
					}
				}
				m.finish()
			}
		})
	}
}
