package demo

import (
	"hash/maphash"
	"strconv"
	"sync"

	"edged/sdk/manager"
	"edged/swarm"
)

// ledgers keeps account of what each link of a swarm sent. The streams of all gateways answer at the same time, each link by
// one of them, so the lock of a part guards its map alone.
type ledgers struct {
	once  sync.Once
	seed  maphash.Seed
	parts [64]struct {
		mu    sync.Mutex
		links map[manager.Link]*account
	}
}

// account belongs to the goroutine that handles its link's events.
type account struct {
	answerer swarm.Answerer
	buf      []byte
}

func (ls *ledgers) part(l manager.Link) int {
	ls.once.Do(func() { ls.seed = maphash.MakeSeed() })
	return int(maphash.Comparable(ls.seed, l) % uint64(len(ls.parts)))
}

func (ls *ledgers) of(l manager.Link) *account {
	p := &ls.parts[ls.part(l)]
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.links[l]
	if a == nil {
		if p.links == nil {
			p.links = map[manager.Link]*account{}
		}
		a = &account{}
		p.links[l] = a
	}
	return a
}

// answer does what the echo contract of package swarm asks for.
func (ls *ledgers) answer(e *manager.Event) {
	a := ls.of(e.Link)
	a.buf = a.answerer.Answer(a.buf[:0], e.Payload)
	p, _ := swarm.ParsePayload(a.buf)
	switch {
	case len(a.buf) == 0:
	case p.Op == swarm.OpPush:
		_ = e.Push(manager.Push{Payload: a.buf, MsgID: strconv.FormatUint(uint64(p.Answer), 10), Ack: manager.AckRequired})
	default:
		_ = e.Data(a.buf)
	}
}

func (ls *ledgers) forget(l manager.Link) {
	p := &ls.parts[ls.part(l)]
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// lost forgets every link of a gateway.
func (ls *ledgers) lost(g manager.Gateway) {
	for i := range ls.parts {
		p := &ls.parts[i]
		p.mu.Lock()
		for l := range p.links {
			if l.Gateway().Epoch == g.Epoch {
				delete(p.links, l)
			}
		}
		p.mu.Unlock()
	}
}
