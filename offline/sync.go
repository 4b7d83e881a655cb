package offline

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// Point is how far a device of a user has everything.
type Point struct {
	User, Device string
	Version      uint64
}

// AheadError tells of a Point beyond the last version that was given out: the device errs, or Redis has lost the counter.
type AheadError struct {
	Point
	Last uint64
}

func (e *AheadError) Error() string {
	return fmt.Sprintf("device %q of user %q has version %d, and the last one is %d", e.Device, e.User, e.Version, e.Last)
}

// syncScript moves a device's version forward. KEYS: log, ver, sync. ARGV: device, version.
var syncScript = newScript(`
local v, bad = last()
if bad then return bad end
local s = redis.pcall('HGET', KEYS[3], ARGV[1])
bad = wrong(3, s, 'hash')
if bad then return bad end
local want, have = tonumber(ARGV[2]), s and version(s) or 0
if want > v then return redis.error_reply('AHEAD ' .. text(v)) end
if want > have or have > v then redis.call('HSET', KEYS[3], ARGV[1], ARGV[2]) end
return 0`)

// Sync stores how far devices have everything; a version never goes back. There is an error, or nil, for each point: a
// *ClashError, an *AheadError, ErrUser, or that Redis did not answer.
func (l *Log) Sync(ctx context.Context, points []Point) []error {
	errs := make([]error, len(points))
	var calls []call
	var at []int
	send := func() {
		for i, r := range syncScript.run(ctx, l.client, calls) {
			errs[at[i]] = syncError(points[at[i]], calls[i].keys, r.Error())
		}
		calls, at = calls[:0], at[:0]
	}
	for i, p := range points {
		if errs[i] = checkUser(p.User); errs[i] != nil {
			continue
		}
		calls = append(calls, call{
			keys: []string{logKey(p.User), verKey(p.User), syncKey(p.User)},
			args: []string{p.Device, strconv.FormatUint(p.Version, 10)},
		})
		at = append(at, i)
		if len(calls) == runCalls {
			send()
		}
	}
	if len(calls) > 0 {
		send()
	}
	return errs
}

func syncError(p Point, keys []string, err error) error {
	if said, ok := rueidis.IsRedisErr(err); ok {
		if last, ok := strings.CutPrefix(said.Error(), "AHEAD "); ok {
			n, _ := strconv.ParseUint(last, 10, 64)
			return &AheadError{p, n}
		}
	}
	if err == nil {
		return nil
	}
	return explain("sync", p.User, keys, err)
}
