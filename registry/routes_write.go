package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edged/redisconn"

	"github.com/redis/rueidis"
)

// turn writes one pipeline of what waits, and returns after what time to look again.
func (r *Routes) turn() time.Duration {
	w, now := &r.writer, time.Now()
	if r.lease.lost.Swap(false) {
		r.count(func(s *RoutesStats) { s.LeaseLost++ })
		w.walk.restart(now)
	}
	if !r.lease.held() {
		return restGap // routes without a lease are dead; a reader would remove them
	}
	if r.waiting.takeMissed() {
		w.walk.restart(now)
	}
	if !w.unsureAt.IsZero() && now.After(w.unsureAt) {
		for n := range w.unsure {
			r.waiting.add(n, unsure)
		}
		clear(w.unsure)
		w.unsureAt = time.Time{}
	}
	if r.waiting.size() < maxBatch {
		w.names = w.walk.due(now, w.names[:0])
		for _, n := range w.names {
			r.waiting.add(n, visit)
		}
	}
	if r.waiting.size() > 0 || len(w.events) > 0 && now.After(w.eventsAt) {
		if r.round(r.ctx) != nil {
			pause := w.pause
			w.pause = min(2*pause, longestPause)
			return pause
		}
		w.pause = firstPause
		if r.waiting.size() > 0 {
			return 0
		}
	}
	if w.walk.hurrying() {
		return hurryGap
	}
	return restGap
}

// task is a mark under way: what is to stand in Redis.
type task struct {
	mark
	link string // its ID; empty: no route
}

// round writes one pipeline of names and then their events. Names that had no answer wait again; the error is that of the
// first. Events that cannot be told hold no route up: in a Cluster their stream is at one node.
func (r *Routes) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	w := &r.writer
	w.batch = w.batch[:0]
	var id []byte
	for _, m := range r.waiting.take(maxBatch, nil) {
		t := task{mark: m}
		if l, ok := r.o.Directory.Link([]byte(m.User), []byte(m.Device)); ok {
			id = r.o.AppendLinkID(id[:0], l)
			t.link = string(id)
		}
		w.batch = append(w.batch, t)
	}
	err := r.write(ctx, w.batch)
	clear(w.batch)
	told := r.tellEvents(ctx)
	r.count(func(s *RoutesStats) {
		s.LastError = ""
		if all := errors.Join(err, told); all != nil {
			s.LastError = all.Error()
			s.Failures++
		}
	})
	if err == nil && len(w.unsure) > 0 && w.unsureAt.IsZero() {
		w.unsureAt = time.Now().Add(unsureGap)
	}
	return err
}

func (r *Routes) calls(batch []task) []call {
	calls := make([]call, 0, len(batch))
	for i := range batch {
		t := &batch[i]
		value, over := "", "0"
		if t.link != "" {
			value = r.prefix + t.link
		}
		if t.why&change != 0 {
			over = "1"
		}
		calls = append(calls, call{routeScript, routeKey(t.User), []string{t.Device, r.prefix, value, over, milliseconds(routeLife)}})
	}
	return calls
}

func (r *Routes) write(ctx context.Context, batch []task) (failed error) {
	if len(batch) == 0 {
		return nil
	}
	var again []mark
	var others []claim // another gateway's routes that the resync met
	for i, result := range run(ctx, r.o.Client, r.calls(batch)) {
		t := &batch[i]
		old, err := text(result)
		switch {
		case said(err, "WRONGTYPE"):
			r.count(func(s *RoutesStats) { s.Refused++ })
			if t.why&change != 0 {
				r.routed(t)
			}
		case err != nil:
			again = append(again, r.unanswered(t, err))
			if failed == nil {
				failed = fmt.Errorf("write a route: %w", err)
			}
		default:
			if other, met := r.settle(t, old); met {
				other.at = i
				others = append(others, other)
			}
		}
	}
	r.waiting.giveBack(again)
	if len(others) > 0 {
		failed = errors.Join(failed, r.meet(ctx, batch, others))
	}
	return failed
}

// unanswered notes that a write may be carried out yet, and returns what is to be tried again.
func (r *Routes) unanswered(t *task, err error) mark {
	m, w := t.mark, &r.writer
	var said *rueidis.RedisError
	if errors.Is(err, redisconn.ErrNotConnected) || errors.As(err, &said) {
		return m // it was not
	}
	m.why |= unsure
	w.unsureAt = time.Time{} // from the next answer on
	if len(w.unsure) < maxUnsures {
		w.unsure[t.Name] = struct{}{}
	} else {
		w.walk.restart(time.Now())
	}
	return m
}

// settle draws the conclusions from what stood in Redis before. It returns another gateway's route that was left there.
func (r *Routes) settle(t *task, old string) (other claim, met bool) {
	before, err := ParseRoute(old)
	ours := err == nil && before.Gateway == r.o.Gateway && before.Epoch == r.o.Epoch
	own := Route{Device: t.Device, Gateway: r.o.Gateway, Epoch: r.o.Epoch, Link: t.link}
	visited := t.why&change == 0
	switch {
	case t.link == "" && ours:
		r.count(func(s *RoutesStats) { s.Removed++ })
		r.event(eventOf(t.Name, false, before))
	case t.link == "" && old == "" && t.why&unsure != 0:
		r.event(eventOf(t.Name, false, own)) // removed already, it may be by a write of ours whose answer was lost
	case t.link == "":
	case ours && before.Link == t.link:
		if t.why&unsure != 0 {
			r.event(eventOf(t.Name, true, own))
		}
		if t.why&(change|unsure) != 0 {
			r.routed(t)
		}
	case visited && old != "" && !ours:
		before.Device = t.Device
		return claim{name: t.Name, value: old, route: before}, true
	default:
		r.count(func(s *RoutesStats) { s.Written++ })
		r.event(eventOf(t.Name, true, own))
		r.routed(t)
		if err == nil && before.Gateway != r.o.Gateway {
			before.Device = t.Device
			r.evict(t.Name, before)
		}
	}
	if visited {
		r.count(func(s *RoutesStats) { s.Visited++ })
	}
	return claim{}, false
}

// meet decides about routes of other gateways: a dead one is written over, and a live one stays.
func (r *Routes) meet(ctx context.Context, batch []task, others []claim) (failed error) {
	var again []mark
	for i, v := range r.reader.judge(ctx, others) {
		t := &batch[others[i].at]
		switch {
		case v.err != nil:
			again = append(again, t.mark)
			failed = v.err
		case !v.live:
			again = append(again, mark{t.Name, change})
		default:
			r.count(func(s *RoutesStats) { s.Elsewhere++ })
			r.evict(t.Name, Route{Device: t.Device, Gateway: r.o.Gateway, Epoch: r.o.Epoch, Link: t.link})
		}
	}
	r.waiting.giveBack(again)
	return failed
}

// routed tells that a route stands from now on, or that it cannot.
func (r *Routes) routed(t *task) {
	if r.o.Routed != nil && t.link != "" {
		r.o.Routed(t.User, t.Device)
	}
}

func (r *Routes) evict(n Name, route Route) {
	if !r.o.Config.Exclusive || r.o.Evicted == nil {
		return
	}
	r.count(func(s *RoutesStats) { s.Evicted++ })
	r.o.Evicted(n.User, n.Device, route)
}

func (r *Routes) event(e Event) {
	w := &r.writer
	if len(w.events) >= maxEvents {
		gone := len(w.events) / 10
		w.events = append(w.events[:0], w.events[gone:]...)
		r.count(func(s *RoutesStats) { s.EventsDropped += uint64(gone) })
	}
	w.events = append(w.events, e)
}

// tellEvents writes the events that wait, but not within a second after a failure.
func (r *Routes) tellEvents(ctx context.Context) error {
	w := &r.writer
	if len(w.events) == 0 || time.Now().Before(w.eventsAt) {
		return nil
	}
	done, err := writeEvents(ctx, r.o.Client, r.o.Config.Events, w.events)
	w.events = append(w.events[:0], w.events[done:]...)
	if err != nil {
		w.eventsAt = time.Now().Add(longestPause)
	}
	return err
}

// removeAll removes the routes of everybody, and returns how many it did not come to.
func (r *Routes) removeAll(ctx context.Context) (left int) {
	names := make([]Name, 0, r.o.Directory.Devices())
	for _, m := range r.waiting.take(r.waiting.size(), nil) {
		names = append(names, m.Name)
	}
	for i := range parts {
		names = r.o.Directory.names(i, names)
	}
	for len(names) > 0 {
		n := min(len(names), maxBatch)
		if r.remove(ctx, names[:n]) != nil {
			return len(names)
		}
		names = names[n:]
	}
	return 0
}

func (r *Routes) remove(ctx context.Context, names []Name) error {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	batch := make([]task, 0, len(names))
	for _, n := range names {
		batch = append(batch, task{mark: mark{n, change}})
	}
	return errors.Join(r.write(ctx, batch), r.tellEvents(ctx))
}
