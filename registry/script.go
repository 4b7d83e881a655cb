package registry

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

	"edged/redisconn"

	"github.com/redis/rueidis"
)

// The keys of PROTOCOL.md §3 that this package owns.
const presenceKey = "edged:presence"

func routeKey(user string) string    { return "edged:route:{" + user + "}" }
func leaseKey(gateway string) string { return "edged:lease:{" + gateway + "}" }

// routeLife is after what time without a write or a visit of the resync the routes of a user are gone.
const routeLife = 24 * time.Hour

// script is a text for the server and the name by which it knows it.
type script struct{ text, sha string }

func newScript(text string) *script {
	sum := sha1.Sum([]byte(text))
	return &script{text, hex.EncodeToString(sum[:])}
}

// Every script keeps to one key, and so to one slot of a Cluster.
var (
	// routeScript sets or removes one route and returns what was there. ARGV: device; what our routes begin with; the route,
	// or nothing to remove ours; whether to write over one that is not ours; life in ms. A route that is not ours is never
	// removed.
	routeScript = newScript(`
local old = redis.call('HGET', KEYS[1], ARGV[1])
local ours = old and string.sub(old, 1, #ARGV[2]) == ARGV[2]
if ARGV[3] == '' then
  if ours then redis.call('HDEL', KEYS[1], ARGV[1]) end
  return old
end
if old and not ours and ARGV[4] ~= '1' then return old end
if old ~= ARGV[3] then redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return old`)

	// deadScript removes the route of device ARGV[1] if it is still ARGV[2], and returns whether it was.
	deadScript = newScript(`
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])`)

	// renewScript gives the lease to epoch ARGV[1] for ARGV[2] ms, unless a higher epoch has it, and returns what was there.
	// Epochs are compared as text, because a number of Lua holds 53 bits of them. What is no epoch, or never ends, is
	// written over.
	renewScript = newScript(`
local old = redis.pcall('GET', KEYS[1])
if type(old) == 'table' then old = '?' end
if old and #old <= 20 and string.match(old, '^%d+$') and redis.call('PTTL', KEYS[1]) > 0 then
  if #old > #ARGV[1] or (#old == #ARGV[1] and old > ARGV[1]) then return old end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return old`)

	// releaseScript deletes the lease if it is that of epoch ARGV[1].
	releaseScript = newScript(`
local old = redis.pcall('GET', KEYS[1])
if old ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)
)

// call is one call of a script.
type call struct {
	script *script
	key    string
	args   []string
}

// run carries out calls together. Those whose script the server does not know, because it is new or was restarted, are sent
// once more with the text.
func run(ctx context.Context, c *redisconn.Client, calls []call) []rueidis.RedisResult {
	results := c.DoMulti(ctx, func(b rueidis.Builder) rueidis.Commands {
		commands := make(rueidis.Commands, 0, len(calls))
		for _, s := range calls {
			commands = append(commands, b.Evalsha().Sha1(s.script.sha).Numkeys(1).Key(s.key).Arg(s.args...).Build())
		}
		return commands
	})
	var unknown []int
	for i := range results {
		if said(results[i].Error(), "NOSCRIPT") {
			unknown = append(unknown, i)
		}
	}
	if unknown == nil {
		return results
	}
	for i, r := range c.DoMulti(ctx, func(b rueidis.Builder) rueidis.Commands {
		commands := make(rueidis.Commands, 0, len(unknown))
		for _, at := range unknown {
			s := calls[at]
			commands = append(commands, b.Eval().Script(s.script.text).Numkeys(1).Key(s.key).Arg(s.args...).Build())
		}
		return commands
	}) {
		results[unknown[i]] = r
	}
	return results
}

// said reports whether err is an error of Redis itself that begins with a word.
func said(err error, word string) bool {
	var e *rueidis.RedisError
	return errors.As(err, &e) && !e.IsNil() && strings.HasPrefix(e.Error(), word)
}

// text reads an answer that may be nil: empty then.
func text(r rueidis.RedisResult) (string, error) {
	s, err := r.ToString()
	if rueidis.IsRedisNil(err) {
		return "", nil
	}
	return s, err
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
