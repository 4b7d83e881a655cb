package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"edged/redisconn"

	"github.com/redis/rueidis"
)

// Gateway is one gateway as its report shows it.
type Gateway struct {
	ID, Address     string
	SLB             string // the load balancer; equal to Address where the gateway is its own
	State           string
	Availability    float64       // 0 to 1; 0 unless State is StateUp
	Links, Capacity int           // Capacity 0: unknown
	Age             time.Duration // of the report, by the time that the server still lets it live
	Boot            string        // the process
	Seq             uint64        // of the report
}

// Fleet is all gateways whose reports live and make sense, by ID.
type Fleet struct {
	Gateways []Gateway
	// Broken names, a sentence each and in order, what is wrong: reports that are left out, members of a load balancer
	// without a report, load balancers that cannot be read, and IDs under which two processes report.
	Broken []string
	At     time.Time // when the reading began
}

// FleetStats is what a FleetReader has counted.
type FleetStats struct {
	BadMessages uint64 // on edged:state, that named no gateway or state
	LostWatches uint64 // subscriptions to edged:state that ended and were made again
}

// FleetReader reads the reports for a dispatch service. Its methods may be called by any goroutine; Reads wait for each other.
type FleetReader struct {
	client redis
	life   time.Duration // of a report
	log    *slog.Logger

	badMessages, lostWatches atomic.Uint64

	mu     sync.Mutex          // guards what follows
	twins  twins               // who wrote the reports
	gone   map[string][]string // load balancer → members that the last Read found without a report there
	broken []string            // of the last Read
}

// redis is what of redisconn.Client is in use here.
type redis interface {
	Do(context.Context, func(rueidis.Builder) rueidis.Completed) rueidis.RedisResult
	DoMulti(context.Context, func(rueidis.Builder) rueidis.Commands) []rueidis.RedisResult
	Receive(context.Context, []string, func(channel, message string)) error
}

// NewFleetReader returns a reader of reports that are written every interval. What is broken is logged when it breaks and
// when it is whole again.
func NewFleetReader(c *redisconn.Client, interval time.Duration, log *slog.Logger) *FleetReader {
	return newFleetReader(c, interval, log)
}

func newFleetReader(c redis, interval time.Duration, log *slog.Logger) *FleetReader {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &FleetReader{client: c, life: life(interval), log: log, twins: newTwins(life(interval))}
}

// Stats returns the counters.
func (r *FleetReader) Stats() FleetStats {
	return FleetStats{BadMessages: r.badMessages.Load(), LostWatches: r.lostWatches.Load()}
}

// Read returns the fleet as it is in Redis now. It takes three round trips, however many gateways there are: names of load
// balancers, their members, the reports. Whatever one gateway or load balancer has wrong is in Broken and leaves the others
// as they are; an error means that Redis did not answer for all of it, and that nothing may be concluded from what is missing.
//
// A gateway counts once, under the load balancer that its report names. Members that had no report there for ten lives are
// removed.
func (r *FleetReader) Read(ctx context.Context) (Fleet, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &tour{fleet: Fleet{At: time.Now()}, balancersOf: make(map[string][]string), gone: make(map[string][]string)}
	names, err := r.balancers(ctx)
	if err == nil {
		err = r.members(ctx, names, t)
	}
	if err == nil {
		err = r.reports(ctx, t)
	}
	if err != nil {
		return Fleet{}, err
	}
	r.twins.forget(t.fleet.At)
	slices.Sort(t.fleet.Broken)
	r.gone = t.gone
	r.tell(t.fleet.Broken)
	return t.fleet, nil
}

// tour is one Read under way.
type tour struct {
	fleet       Fleet
	balancersOf map[string][]string // gateway → the load balancers that list it
	gone        map[string][]string // see FleetReader
}

func (t *tour) broken(format string, args ...any) {
	t.fleet.Broken = append(t.fleet.Broken, fmt.Sprintf(format, args...))
}

func (r *FleetReader) balancers(ctx context.Context) ([]string, error) {
	names, err := r.client.Do(ctx, func(b rueidis.Builder) rueidis.Completed {
		return b.Smembers().Key(balancersKey).Build()
	}).AsStrSlice()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", balancersKey, err)
	}
	slices.Sort(names)
	return names, nil
}

// members fills balancersOf. Before it looks at a load balancer it removes the members that are long gone, as the last Read
// found them: so that needs no round trip of its own.
func (r *FleetReader) members(ctx context.Context, names []string, t *tour) error {
	type question struct {
		name  string
		prune bool
	}
	var asked []question
	oldest := milliseconds(livesPerMember * r.life)
	results := r.client.DoMulti(ctx, func(b rueidis.Builder) rueidis.Commands {
		asked = asked[:0]
		var cmds rueidis.Commands
		for _, name := range names {
			if gone := r.gone[name]; len(gone) > 0 {
				cmds = append(cmds, eval(b, pruneScript, balancerKey(name), append([]string{oldest}, gone...)...))
				asked = append(asked, question{name, true})
			}
			cmds = append(cmds, b.Zrange().Key(balancerKey(name)).Min("0").Max("-1").Build())
			asked = append(asked, question{name, false})
		}
		return cmds
	})
	for i, q := range asked {
		if q.prune {
			if _, ok := said(results[i].Error()); ok {
				t.broken("load balancer %s: members that are long gone cannot be removed", shown(q.name))
			}
			continue // whatever else it was, the next result tells
		}
		ids, err := results[i].AsStrSlice()
		if isWrongType(err) {
			t.broken("load balancer %s: %s is no sorted set", shown(q.name), shown(balancerKey(q.name)))
			continue
		}
		if err != nil {
			return fmt.Errorf("read load balancer %s: %w", shown(q.name), err)
		}
		for _, id := range ids {
			t.balancersOf[id] = append(t.balancersOf[id], q.name)
		}
	}
	return nil
}

// reports reads the remaining life and the hash of every gateway that is listed.
func (r *FleetReader) reports(ctx context.Context, t *tour) error {
	ids := make([]string, 0, len(t.balancersOf))
	for id := range t.balancersOf {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	results := r.client.DoMulti(ctx, func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, 0, 2*len(ids))
		for _, id := range ids {
			cmds = append(cmds, b.Pttl().Key(gatewayKey(id)).Build(), b.Hmget().Key(gatewayKey(id)).Field(neededFields[:]...).Build())
		}
		return cmds
	})
	for i, id := range ids {
		if err := r.report(id, results[2*i], results[2*i+1], t); err != nil {
			return fmt.Errorf("read the report of gateway %s: %w", shown(id), err)
		}
	}
	return nil
}

// The answers of PTTL other than a time, since Redis 2.8.
const (
	noKey  = -2
	noLife = -1
)

// report judges one gateway. The error says that Redis did not answer.
func (r *FleetReader) report(id string, rest, hash rueidis.RedisResult, t *tour) error {
	fields, err := reportFields(hash)
	if isWrongType(err) {
		t.broken("gateway %s: its report is no hash", shown(id))
		return nil
	}
	if err != nil {
		return err
	}
	left, err := rest.AsInt64()
	if err != nil {
		return err
	}
	switch {
	case left == noKey:
		for _, name := range t.balancersOf[id] {
			t.gone[name] = append(t.gone[name], id)
			t.broken("gateway %s of load balancer %s: no report", shown(id), shown(name))
		}
		return nil
	case left == noLife, time.Duration(left)*time.Millisecond > r.longest():
		t.broken("gateway %s: its report does not expire within %v, so that nothing says how old it is", shown(id), r.longest())
		return nil
	}
	g, err := ParseReport(id, fields)
	if err != nil {
		t.broken("gateway %s: its report is broken: %v", shown(id), err)
		return nil
	}
	g.Age = max(r.life-time.Duration(left)*time.Millisecond, 0)
	if others := r.twins.see(t.fleet.At, &g); others != "" {
		t.broken("gateway %s: two processes report under this ID: %s", shown(id), others)
	}
	for _, name := range t.balancersOf[id] {
		if name != g.SLB {
			t.gone[name] = append(t.gone[name], id)
		}
	}
	t.fleet.Gateways = append(t.fleet.Gateways, g)
	return nil
}

// reportFields takes the needed fields that are there out of an answer of HMGET.
func reportFields(hash rueidis.RedisResult) (map[string]string, error) {
	values, err := hash.ToArray()
	if err != nil {
		return nil, err
	}
	if len(values) != len(neededFields) {
		return nil, fmt.Errorf("%d values for %d fields", len(values), len(neededFields))
	}
	fields := make(map[string]string, len(values))
	for i, v := range values {
		if text, err := v.ToString(); err == nil {
			fields[neededFields[i]] = text
		}
	}
	return fields, nil
}

// said returns what Redis itself said was wrong.
func said(err error) (string, bool) {
	var e *rueidis.RedisError
	if errors.As(err, &e) && !e.IsNil() {
		return e.Error(), true
	}
	return "", false
}

func isWrongType(err error) bool {
	text, ok := said(err)
	return ok && strings.HasPrefix(text, "WRONGTYPE")
}

// maxLogged bounds the lines that one Read logs.
const maxLogged = 20

// tell logs what is broken now and was not at the last Read, and the other way round.
func (r *FleetReader) tell(broken []string) {
	fresh := missingIn(r.broken, broken)
	for i, why := range fresh {
		if i == maxLogged {
			r.log.Warn("and more that is wrong in Redis", "number", len(fresh)-i)
			break
		}
		r.log.Warn("wrong in Redis", "what", why)
	}
	if mended := missingIn(broken, r.broken); len(mended) > 0 {
		r.log.Info("no longer wrong in Redis", "number", len(mended), "what", mended[0])
	}
	r.broken = broken
}

// missingIn returns those of list that are not in other. Both are sorted.
func missingIn(other, list []string) []string {
	var missing []string
	for _, s := range list {
		if _, found := slices.BinarySearch(other, s); !found {
			missing = append(missing, s)
		}
	}
	return missing
}

// longest is the longest life that a report may have left: some of our own, and at least that of a gateway with the longest
// interval that there is, a minute.
func (r *FleetReader) longest() time.Duration { return max(livesPerMember*r.life, life(time.Minute)) }
