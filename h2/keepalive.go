package h2

import (
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// prober notices a peer that has fallen silent.
type prober struct {
	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	stopped bool
	asked   int64 // what Call.waiting was when the last probe went out
	askedAt time.Duration
}

// start is called once, before the call is anybody's.
func (p *prober) start(c *Call) {
	if c.options.KeepAlive <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(c.options.KeepAlive, c.look)
}

func (p *prober) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	if p.timer != nil {
		p.timer.Stop()
	}
}

// look is what the timer does.
func (c *Call) look() {
	switch c.probe.judge(c.waiting.Load(), c.now(), &c.options) {
	case ask:
		c.mu.Lock()
		c.answer(http2.FramePing, 0, 0, 0, 0)
		c.mu.Unlock()
		c.flush()
	case giveUp:
		c.abort(http2.ErrCodeCancel, lost("keepalive ping failed to receive ACK within timeout"))
	}
}

type judgement int

const (
	leave judgement = iota
	ask
	giveUp
)

// judge decides what a silence asks for, and when to look again. since is the value of Call.waiting.
func (p *prober) judge(since int64, now time.Duration, o *Options) judgement {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return leave
	}
	silent := now - time.Duration(since)
	switch {
	case since == 0:
		p.timer.Reset(o.KeepAlive)
	case since == p.asked && now-p.askedAt < o.KeepAliveTimeout:
		p.timer.Reset(o.KeepAliveTimeout - (now - p.askedAt))
	case since == p.asked:
		p.stopped = true
		return giveUp
	case silent < o.KeepAlive:
		p.timer.Reset(o.KeepAlive - silent)
	default:
		p.asked, p.askedAt = since, now
		p.timer.Reset(min(o.KeepAlive, o.KeepAliveTimeout))
		return ask
	}
	return leave
}
