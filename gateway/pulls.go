package gateway

import (
	"context"
	"sync"
)

// pull is one question to the log.
type pull struct {
	s            *shard
	r            *replay
	user, device string
	after        uint64
}

// pulls asks the log for all shards: a few questions at a time, in the order in which they came. Each replay has one here at
// most.
type pulls struct {
	log OfflineLog

	mu     sync.Mutex // guards what follows
	work   sync.Cond
	queue  []pull
	closed bool
}

// pullWorkers is how many questions are under way at a time; the Redis client puts them into one pipeline.
const pullWorkers = 16

func newPulls(log OfflineLog) *pulls {
	p := &pulls{log: log}
	p.work.L = &p.mu
	return p
}

func (p *pulls) ask(q pull) {
	p.mu.Lock()
	p.queue = append(p.queue, q)
	p.mu.Unlock()
	p.work.Signal()
}

func (p *pulls) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue)
}

func (p *pulls) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.work.Broadcast()
}

// next returns the next question that somebody waits for. While Redis hangs there are many of links that have ended since.
func (p *pulls) next() (q pull, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.closed {
		for len(p.queue) > 0 {
			q, p.queue[0] = p.queue[0], pull{}
			if p.queue = p.queue[1:]; !q.r.over.Load() {
				return q, true
			}
		}
		p.queue = nil
		p.work.Wait()
	}
	return pull{}, false
}

// run answers questions until close.
func (p *pulls) run(ctx context.Context) {
	for {
		q, ok := p.next()
		if !ok {
			return
		}
		limit, cancel := context.WithTimeout(ctx, replayWithin)
		answer, err := p.log.Pull(limit, q.user, q.device, q.after, replayPage)
		cancel()
		if !q.s.loop.Post(func() { q.s.pulled(q.r, answer, err) }) {
			return
		}
	}
}
