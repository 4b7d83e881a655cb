package registry

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"edged/redisconn"

	"github.com/redis/rueidis"
)

// Event is a user's device that came or went, as edged:presence tells it. Events are told at least once, and up to Config.Events
// of them are kept.
type Event struct {
	ID string // of the entry, to read on from
	Name
	Online  bool
	Gateway string
	Epoch   uint64
	Uniq    uint32 // of the link; 0 at the end of a link that Redis no longer knew
}

// eventOf is the event of a route.
func eventOf(n Name, online bool, r Route) Event {
	return Event{Name: n, Online: online, Gateway: r.Gateway, Epoch: r.Epoch, Uniq: r.uniq()}
}

// At returns when Redis took the event, by its clock and to the millisecond; the zero time if the ID is none of its.
func (e *Event) At() time.Time {
	ms, _, _ := strings.Cut(e.ID, "-")
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(n)
}

const (
	online  = "online"
	offline = "offline"
)

// writeEvents adds events to the stream and returns how many of them, from the first on, need not be tried again: also those that
// Redis refused.
func writeEvents(ctx context.Context, c *redisconn.Client, keep int, events []Event) (done int, err error) {
	results := c.DoMulti(ctx, func(b rueidis.Builder) rueidis.Commands {
		commands := make(rueidis.Commands, 0, len(events))
		for i := range events {
			e := &events[i]
			word := offline
			if e.Online {
				word = online
			}
			commands = append(commands, b.Xadd().Key(presenceKey).Maxlen().Almost().Threshold(strconv.Itoa(keep)).Id("*").
				FieldValue().FieldValue("event", word).FieldValue("user", e.User).FieldValue("device", e.Device).
				FieldValue("gateway", e.Gateway).FieldValue("epoch", strconv.FormatUint(e.Epoch, 10)).
				FieldValue("uniq", strconv.FormatUint(uint64(e.Uniq), 10)).Build())
		}
		return commands
	})
	for i := range results {
		if err := results[i].Error(); err != nil && !said(err, "WRONGTYPE") {
			return i, fmt.Errorf("%s: %w", presenceKey, err)
		}
	}
	return len(results), nil
}

// Events returns up to limit events after the entry with the ID after, oldest first: "0" is before all that are kept, "$" behind
// them. It waits up to wait for the first; none came where the slice is empty. Entries of others in the stream are left out.
// The second result is the ID to go on from, so that who began with "$" misses nothing between two calls.
func (r *Reader) Events(ctx context.Context, after string, limit int, wait time.Duration) ([]Event, string, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+attemptLimit)
	defer cancel()
	if after == "$" {
		newest, err := r.newest(ctx)
		if err != nil {
			return nil, after, err
		}
		after = newest
	}
	streams, err := r.client.Do(ctx, func(b rueidis.Builder) rueidis.Completed {
		return b.Xread().Count(int64(limit)).Block(max(wait.Milliseconds(), 1)).Streams().Key(presenceKey).Id(after).Build()
	}).AsXRead()
	if rueidis.IsRedisNil(err) {
		return nil, after, nil
	}
	if err != nil {
		return nil, after, fmt.Errorf("read %s: %w", presenceKey, err)
	}
	var events []Event
	for _, entry := range streams[presenceKey] {
		after = entry.ID
		if e, ok := parseEvent(entry); ok {
			events = append(events, e)
		}
	}
	return events, after, nil
}

// newest returns the ID of the last entry, "0" where there is none.
func (r *Reader) newest(ctx context.Context) (string, error) {
	entries, err := r.client.Do(ctx, func(b rueidis.Builder) rueidis.Completed {
		return b.Xrevrange().Key(presenceKey).End("+").Start("-").Count(1).Build()
	}).AsXRange()
	if err != nil && !rueidis.IsRedisNil(err) {
		return "", fmt.Errorf("read %s: %w", presenceKey, err)
	}
	if len(entries) == 0 {
		return "0", nil
	}
	return entries[0].ID, nil
}

func parseEvent(entry rueidis.XRangeEntry) (Event, bool) {
	f := entry.FieldValues
	epoch, badEpoch := strconv.ParseUint(f["epoch"], 10, 64)
	uniq, badUniq := strconv.ParseUint(f["uniq"], 10, 32)
	_, hasUser := f["user"]
	_, hasDevice := f["device"]
	e := Event{
		ID: entry.ID, Name: Name{f["user"], f["device"]}, Online: f["event"] == online, Gateway: f["gateway"],
		Epoch: epoch, Uniq: uint32(uniq),
	}
	ok := badEpoch == nil && badUniq == nil && hasUser && hasDevice && e.Gateway != "" && (e.Online || f["event"] == offline)
	return e, ok
}
