package dispatch

import (
	"time"

	"github.com/redis/rueidis"
)

// The keys and the channel of PROTOCOL.md §3 that this package owns.
const (
	balancersKey   = "edged:slbs"
	dispatchersKey = "edged:dispatchers"
	sumKey         = "edged:sum"
	stateChannel   = "edged:state"
)

func gatewayKey(id string) string    { return "edged:gw:{" + id + "}" }
func balancerKey(name string) string { return "edged:slb:" + name }

const (
	livesPerReport = 3  // report intervals for which a report lives
	livesPerMember = 10 // lives after which a member without a report is removed
)

// life is how long a report lives that is written every interval.
func life(interval time.Duration) time.Duration { return livesPerReport * interval }

// Every script keeps to one key, and so to one slot of a Cluster. Times are the server's (TIME): no two machines' clocks are
// ever compared. Redis 5 and later replicates a script by its effects, so that TIME before a write is allowed.
const (
	// writeScript replaces the report and gives it its life in one step: no report is ever left without one, and no field of
	// another version stays. A report of the same boot that is newer than this one stands: an attempt that was given up, and
	// that a server carries out when it has stopped hanging, must not undo what came later. It returns who wrote before.
	// ARGV: life in ms, boot, seq, fields and values.
	writeScript = `
local old = redis.pcall('HMGET', KEYS[1], 'boot', 'seq', 'address')
if old.err then old = {} end
if old[1] == ARGV[2] and (tonumber(old[2]) or 0) >= tonumber(ARGV[3]) then return {} end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {old[1] or '', old[2] or '', old[3] or ''}`

	// removeScript deletes the report if it is ours or broken, and returns 0 if another process has written it.
	removeScript = `
local boot = redis.pcall('HGET', KEYS[1], 'boot')
if type(boot) == 'string' and boot ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1`

	// memberScript lists ARGV[1] with the present time.
	memberScript = `
local t = redis.call('TIME')
return redis.call('ZADD', KEYS[1], t[1] * 1000 + math.floor(t[2] / 1000), ARGV[1])`

	// pruneScript removes those of the members ARGV[2] and on that were last listed more than ARGV[1] ms ago.
	pruneScript = `
local t = redis.call('TIME')
local oldest = t[1] * 1000 + math.floor(t[2] / 1000) - ARGV[1]
local removed = 0
for i = 2, #ARGV do
  local at = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if at and tonumber(at) < oldest then removed = removed + redis.call('ZREM', KEYS[1], ARGV[i]) end
end
return removed`

	// liveScript lists ARGV[1] with the present time, drops who was not heard of for ARGV[2] ms, and counts the rest. Times to
	// come, as a server with another clock leaves them behind, are dropped too.
	liveScript = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + ARGV[2], '+inf')
return redis.call('ZCARD', KEYS[1])`

	// sumScript replaces the whole hash by names and availabilities (ARGV in turn), each with the present time.
	sumScript = `
local t = redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
redis.call('DEL', KEYS[1])
for i = 1, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ' ' .. now) end
return #ARGV / 2`
)

// eval calls a script of one key. Its text travels each time: it is short, and a server that lost its cache of scripts
// would make a second round trip of it.
func eval(b rueidis.Builder, script, key string, args ...string) rueidis.Completed {
	return b.Eval().Script(script).Numkeys(1).Key(key).Arg(args...).Build()
}
