package client

import (
	"context"
	"errors"
	"time"

	"edged/wire"
)

// route says where a Client goes next, and when. It belongs to the life-cycle's goroutine, so that one address is tried at
// a time and the dispatch service is asked once at a time.
//
// Tries come in rounds. With Options.Addresses a round is one try; with a dispatch service it is a walk over the list,
// without a wait from one address to the next. A round ends when all of them have failed, when a link was up, or when a
// gateway asks for time; then comes a wait. Before the next round the service is asked again if the list has worn out:
// none of it worked, or it is older than its TTL. While the service does not answer the last list is used.
type route struct {
	count *counters
	dir   *Directory // nil: the addresses are fixed
	local Backoff    // as Options say

	addresses []string
	next      int  // of the addresses, taken as a ring
	left      int  // tries of the round; 0: the next one begins a round
	worn      bool // all of the last round failed
	failures  int  // rounds in a row without a link that held
	avoid     string

	listed    time.Time // when the list came; zero: never
	ttl       time.Duration
	backoff   Backoff
	heartbeat time.Duration // as the list says; 0: it does not
}

func newRoute(o *Options, dir *Directory, count *counters) route {
	return route{count: count, dir: dir, local: o.Backoff, backoff: o.Backoff, addresses: o.Addresses}
}

// address returns where to go now. It may take as long as the dispatch service may take to answer.
func (r *route) address(ctx context.Context) (string, error) {
	if r.left == 0 {
		if err := r.round(ctx); err != nil {
			return "", err
		}
	}
	r.left--
	a := r.addresses[r.next%len(r.addresses)]
	r.next++
	return a, nil
}

// round begins a round.
func (r *route) round(ctx context.Context) error {
	if r.dir == nil {
		r.left = 1
		return nil
	}
	if r.listed.IsZero() || r.worn || time.Since(r.listed) >= r.ttl {
		if err := r.ask(ctx); err != nil && r.listed.IsZero() {
			return err
		}
	}
	r.left = len(r.addresses)
	return nil
}

// ask gets a new list; the present one stays when there is none.
func (r *route) ask(ctx context.Context) error {
	r.count.lookups.Add(1)
	l, err := r.dir.Ask(ctx)
	if err != nil {
		r.count.lookupErrors.Add(1)
		return err
	}
	r.addresses, r.next, r.worn = r.addresses[:0], 0, false
	avoided := false
	for _, a := range l.Addresses {
		if a.Address == r.avoid {
			avoided = true
			continue
		}
		r.addresses = append(r.addresses, a.Address)
	}
	if avoided { // it is the last resort
		r.addresses = append(r.addresses, r.avoid)
	}
	r.listed, r.ttl, r.heartbeat = time.Now(), l.TTL, l.Heartbeat
	r.backoff = l.Backoff.Or(r.local)
	return nil
}

// outcome is how a try went.
type outcome struct {
	welcomed bool
	up       time.Duration // since WELCOME
	why      error         // of its end
}

// wait says when to try again after the try at an address. A link that did not outlive the wait before it counts as a
// failure: a gateway that greets and drops its clients is not to be stormed.
func (r *route) wait(address string, o outcome) time.Duration {
	r.avoid = ""
	if sentAway(o.why) {
		r.avoid = address
	}
	pause := r.pause(o.why)
	if !o.welcomed && pause == 0 && r.left > 0 {
		return 0
	}
	r.worn = !o.welcomed && r.left == 0
	r.left = 0 // a draining gateway says "elsewhere", and a dead one cannot: the next round goes on behind it
	if o.up > r.backoff.ceiling(r.failures) {
		r.failures = 0
	}
	wait := r.backoff.draw(r.failures)
	r.failures++
	return max(wait, pause)
}

// pause is the time for which we were asked to stay away.
func (r *route) pause(why error) time.Duration {
	var bye *ByeError
	if errors.As(why, &bye) {
		return bye.RetryAfter // the gateway has spread it already
	}
	var status *StatusError
	if errors.As(why, &status) {
		return min(status.RetryAfter, r.backoff.Max)
	}
	return 0
}

// sentAway says whether a gateway ended the link because it has no room for it.
func sentAway(why error) bool {
	var bye *ByeError
	return errors.As(why, &bye) && (bye.Reason == wire.ByeDraining || bye.Reason == wire.ByeOverloaded || bye.Reason == wire.ByeNoManager)
}

// final says whether a Client must not come back by itself after such an end.
func final(why error) bool {
	var bye *ByeError
	return errors.As(why, &bye) && (bye.Reason == wire.ByeReplaced || bye.Reason == wire.ByeLoginFailed)
}
