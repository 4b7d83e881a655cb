package queue

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"edged/batch"
	"edged/registry"
)

// publicationBytes is about how large the batches are that gateways get.
const publicationBytes = 32 << 10

// router turns a batch of items into publications. Its state lives as long as one batch; the memory is kept.
type router struct {
	users   []string
	place   map[string]int // of a user in users
	open    map[string]*publication
	all     []*publication
	waiting sync.WaitGroup
}

// publication is a Downstream batch for one gateway, or for all.
type publication struct {
	gateway string // empty: all
	bytes   []byte
	items   []*item

	// Written by the Publisher before waiting is done.
	receivers int64
	err       error
}

// deliver is the second stage: it finds where users are, and publishes to their gateways. All of it has an outcome when it
// returns, so that the next batch cannot overtake.
func (s *Service) deliver(ctx context.Context, items []*item) (failed []*item, err error) {
	limited, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	r := &s.router
	r.begin(items)
	var found []registry.Found
	if len(r.users) > 0 {
		found = s.reader.LookupAll(limited, r.users)
	}
	now := time.Now()
	lost := make(map[*item]error)
	for _, i := range items {
		if i.outcome == 0 {
			if e := s.route(limited, i, found, now); e != nil {
				lost[i], err = e, e
			}
		}
	}
	s.flush(limited)
	r.waiting.Wait()
	for _, p := range r.all {
		s.count.published(p)
		for _, i := range p.items {
			if p.err != nil {
				lost[i], err = p.err, p.err
			}
		}
	}
	r.remember(lost)
	on := items[:0:0]
	for _, i := range items {
		if lost[i] != nil {
			i.outcome = 0
			failed = append(failed, i)
		} else {
			on = append(on, i)
		}
	}
	s.count.retries.Add(uint64(len(failed)))
	s.pass(ctx, 2, on)
	return failed, err
}

// begin forgets the last batch and gathers the users of this one.
func (r *router) begin(items []*item) {
	clear(r.users)
	r.users = r.users[:0]
	if r.place == nil {
		r.place, r.open = make(map[string]int), make(map[string]*publication)
	}
	clear(r.place)
	clear(r.open)
	clear(r.all)
	r.all = r.all[:0]
	for _, i := range items {
		if i.outcome != 0 || i.To.User == "" {
			continue
		}
		if _, there := r.place[i.To.User]; !there {
			r.place[i.To.User] = len(r.users)
			r.users = append(r.users, i.To.User)
		}
	}
}

// remember notes which gateways have got items that must be sent to others once more.
func (r *router) remember(lost map[*item]error) {
	if len(lost) == 0 {
		return
	}
	for _, p := range r.all {
		for _, i := range p.items {
			if p.err == nil && lost[i] != nil {
				i.sent = append(i.sent, p.gateway)
			}
		}
	}
}

// route adds the item to a publication for each gateway that needs it. An error says that it must be tried again.
func (s *Service) route(ctx context.Context, i *item, found []registry.Found, now time.Time) error {
	left, gone := i.expired(now)
	if gone && i.version == 0 {
		i.outcome = Expired
		return nil
	}
	push := batch.Push{Payload: i.Payload, MsgID: []byte(i.MsgID), Ack: i.Ack, AllowGzip: !i.NoGzip, Version: i.version}
	if i.TTL > 0 { // what is stored goes out all the same: the gateway needs its version
		push.TTLMs = uint32(min(max(left.Milliseconds(), 1), math.MaxUint32))
	}
	if i.To.User == "" {
		i.outcome = Delivered
		s.add(ctx, "", i, push)
		return nil
	}
	f := &found[s.router.place[i.To.User]]
	if f.Err != nil {
		if said(f.Err, "WRONGTYPE") {
			return s.lostRoute(i, f.Err)
		}
		return f.Err
	}
	i.outcome = Nobody
	if i.version != 0 {
		i.outcome = Stored
	}
	for k, route := range f.Routes {
		if i.To.Kind == batch.TargetDevice && route.Device != i.To.Device || sameGateway(f.Routes[:k], route.Gateway) && i.To.Kind == batch.TargetUser {
			continue
		}
		i.outcome = Delivered
		if !slices.Contains(i.sent, route.Gateway) {
			s.add(ctx, route.Gateway, i, push)
		}
	}
	return nil
}

// lostRoute ends an item whose user's routes cannot be read, now or ever. What is stored will be pulled.
func (s *Service) lostRoute(i *item, err error) error {
	if i.version != 0 {
		i.outcome = Stored
		return nil
	}
	i.dead(bad(Clash, fieldTo, "%v", err))
	return nil
}

func sameGateway(routes []registry.Route, gateway string) bool {
	for _, r := range routes {
		if r.Gateway == gateway {
			return true
		}
	}
	return false
}

// add puts a push into the open publication for a gateway, and sends that when it is full.
func (s *Service) add(ctx context.Context, gateway string, i *item, push batch.Push) {
	r := &s.router
	p := r.open[gateway]
	if p == nil {
		p = &publication{gateway: gateway}
		r.open[gateway] = p
	}
	p.bytes = batch.AppendPush(p.bytes, i.To, 0, push)
	p.items = append(p.items, i)
	if len(p.bytes) >= publicationBytes {
		delete(r.open, gateway)
		s.publish(ctx, p)
	}
}

// flush sends what is open.
func (s *Service) flush(ctx context.Context) {
	for _, p := range s.router.open {
		s.publish(ctx, p)
	}
}

func (s *Service) publish(ctx context.Context, p *publication) {
	r := &s.router
	r.all = append(r.all, p)
	r.waiting.Add(1)
	done := func(receivers int64, err error) {
		p.receivers, p.err = receivers, err
		r.waiting.Done()
	}
	var err error
	if p.gateway == "" {
		err = s.publisher.ToAll(ctx, p.bytes, done)
	} else {
		err = s.publisher.To(ctx, p.gateway, p.bytes, done)
	}
	if err != nil {
		done(0, err)
	}
	p.bytes = nil
}

// errStopped is why a service that has ended is not ready.
var errStopped = errors.New("the service has stopped")

// Healthy is nil until Run has ended.
func (s *Service) Healthy() error {
	if s.ended.Load() {
		return errStopped
	}
	return nil
}

// Ready is nil while messages go through: what was tried last went well.
func (s *Service) Ready() error {
	if s.ended.Load() {
		return errStopped
	}
	if e := s.readErr.Load(); e != nil {
		return *e
	}
	for _, st := range s.stages {
		if err := st.err(); err != nil {
			return err
		}
	}
	return nil
}
