package registry

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"edged/redisconn"

	"github.com/redis/rueidis"
)

// Reader finds users in Redis. Its methods may be called by any goroutine.
type Reader struct {
	client *redisconn.Client // static after NewReader
	keep   int               // static: events in the stream
	dead   atomic.Uint64     // routes removed
	leases leases
}

// NewReader returns a reader. It remembers nothing but leases, each for a second at most.
func NewReader(c *redisconn.Client, config Config) *Reader {
	return &Reader{client: c, keep: config.Events, leases: leases{known: make(map[string]held)}}
}

// Dead returns how many dead routes this Reader has removed.
func (r *Reader) Dead() uint64 { return r.dead.Load() }

// Found is what LookupAll says about one user.
type Found struct {
	Routes []Route // none: the user is offline
	Err    error   // Redis did not answer, or the user's key is not ours: nothing is known
}

// Lookup returns the live routes of one user, one for each device that is online, in no order. A dead one, whose gateway's
// lease is gone or has another epoch, is removed. An error says that it is not known where the user is.
func (r *Reader) Lookup(ctx context.Context, user string) ([]Route, error) {
	f := r.LookupAll(ctx, []string{user})[0]
	return f.Routes, f.Err
}

// LookupAll is Lookup of many users in one round trip, one more for leases that were not read within the last second, and one
// for dead routes. There are as many results as users.
func (r *Reader) LookupAll(ctx context.Context, users []string) []Found {
	found := make([]Found, len(users))
	results := r.client.DoMulti(ctx, func(b rueidis.Builder) rueidis.Commands {
		commands := make(rueidis.Commands, 0, len(users))
		for _, user := range users {
			commands = append(commands, b.Hgetall().Key(routeKey(user)).Build())
		}
		return commands
	})
	var all []claim
	for i := range users {
		var err error
		if all, err = claims(i, users[i], results[i], all); err != nil {
			found[i].Err = fmt.Errorf("read the routes of a user: %w", err)
		}
	}
	verdicts := r.judge(ctx, all)
	var dead []claim
	for k, v := range verdicts {
		f := &found[all[k].at]
		switch {
		case v.err != nil:
			*f = Found{Err: v.err}
		case !v.live:
			dead = append(dead, all[k])
		case f.Err == nil:
			f.Routes = append(f.Routes, all[k].route)
		}
	}
	r.bury(ctx, dead)
	return found
}

// claim is a route whose gateway may be gone.
type claim struct {
	at    int // whose: index of the user
	name  Name
	value string
	route Route // Gateway is empty where value is no route
}

// claims appends what an answer to HGETALL holds.
func claims(at int, user string, r rueidis.RedisResult, dst []claim) ([]claim, error) {
	fields, err := r.AsStrMap()
	if err != nil {
		return dst, err
	}
	for device, value := range fields {
		route, _ := ParseRoute(value) // what is none is dead
		route.Device = device
		dst = append(dst, claim{at, Name{user, device}, value, route})
	}
	return dst, nil
}

// verdict is whether a route is live.
type verdict struct {
	live bool
	err  error // not known
}

// judge compares routes with their gateways' leases.
func (r *Reader) judge(ctx context.Context, list []claim) []verdict {
	verdicts := make([]verdict, len(list))
	if len(list) == 0 {
		return verdicts
	}
	gateways := make(map[string]held)
	for _, c := range list {
		gateways[c.route.Gateway] = held{}
	}
	delete(gateways, "")
	r.leases.read(ctx, r.client, gateways)
	for i, c := range list {
		lease := gateways[c.route.Gateway]
		verdicts[i] = verdict{lease.epoch != "" && lease.epoch == epochOf(c.value), lease.err}
	}
	return verdicts
}

// bury removes dead routes and says that their devices are offline. What fails is left to the next who looks.
func (r *Reader) bury(ctx context.Context, dead []claim) {
	if len(dead) == 0 {
		return
	}
	calls := make([]call, 0, len(dead))
	for _, c := range dead {
		calls = append(calls, call{deadScript, routeKey(c.name.User), []string{c.name.Device, c.value}})
	}
	var events []Event
	for i, result := range run(ctx, r.client, calls) {
		if n, err := result.AsInt64(); err != nil || n == 0 {
			continue // another reader was first, or a new route stands there
		}
		r.dead.Add(1)
		if dead[i].route.Gateway != "" {
			events = append(events, eventOf(dead[i].name, false, dead[i].route))
		}
	}
	if len(events) > 0 {
		_, _ = writeEvents(ctx, r.client, r.keep, events) // events of the dead are told once or never
	}
}

const (
	leaseMemory = time.Second // how long a lease is believed without being read again, and never beyond its own end
	maxLeases   = 10_000      // remembered; more gateways than there are, and less than a broken key can name
)

// leases remembers which gateways live. A missing one is not remembered.
type leases struct {
	mu    sync.Mutex
	known map[string]held
}

// held is a lease as it was read; without epoch there is none.
type held struct {
	epoch string
	until time.Time
	err   error // it could not be read
}

// read fills in the leases of gateways.
func (l *leases) read(ctx context.Context, c *redisconn.Client, gateways map[string]held) {
	var ask []string
	now := time.Now()
	l.mu.Lock()
	for id := range gateways {
		if h, ok := l.known[id]; ok && now.Before(h.until) {
			gateways[id] = h
		} else {
			ask = append(ask, id)
		}
	}
	l.mu.Unlock()
	if ask == nil {
		return
	}
	results := c.DoMulti(ctx, func(b rueidis.Builder) rueidis.Commands {
		commands := make(rueidis.Commands, 0, 2*len(ask))
		for _, id := range ask {
			commands = append(commands, b.Pttl().Key(leaseKey(id)).Build(), b.Get().Key(leaseKey(id)).Build())
		}
		return commands
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.known)+len(ask) > maxLeases {
		clear(l.known)
	}
	for i, id := range ask {
		h := readLease(now, results[2*i], results[2*i+1])
		gateways[id] = h
		if h.epoch != "" {
			l.known[id] = h
		} else {
			delete(l.known, id)
		}
	}
}

// readLease takes the time to live first, so that a lease which ends between the two answers is not there. A key that is no
// lease counts as none: its gateway writes over it.
func readLease(now time.Time, pttl, get rueidis.RedisResult) held {
	left, err := pttl.AsInt64()
	if err != nil {
		return held{err: fmt.Errorf("read a lease: %w", err)}
	}
	epoch, err := text(get)
	if err != nil && !said(err, "WRONGTYPE") {
		return held{err: fmt.Errorf("read a lease: %w", err)}
	}
	memory := leaseMemory
	if left >= 0 {
		memory = min(memory, time.Duration(left)*time.Millisecond)
	}
	return held{epoch: epoch, until: now.Add(memory)}
}
