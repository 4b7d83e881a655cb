package offline

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"edged/redisconn"

	"github.com/redis/rueidis"
)

// The keys of PROTOCOL.md §3 that this package owns. A script gets the first two and one of the others.
func logKey(user string) string  { return "edged:log:{" + user + "}" }
func verKey(user string) string  { return "edged:ver:{" + user + "}" }
func seenKey(user string) string { return "edged:seen:{" + user + "}" }
func syncKey(user string) string { return "edged:sync:{" + user + "}" }

// prelude begins every script. KEYS: log, ver, and the third key of that script. Scripts read all keys before they write the
// first: Redis does not roll back, and what ends a script must not leave a version given out without its message. For the same
// reason the first write is one that Redis refuses when it is out of memory. Redis 5 and later replicates a script by its
// effects, so that TIME before a write is allowed.
const prelude = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

-- struct is a library of Redis. A server without it gets what is used of it: pack of '>I1I8I8I8' and unpack of '>I8'.
local struct = rawget(_G, 'struct') or {
  pack = function(_, first, ...)
    local packed = string.char(first)
    for _, v in ipairs({...}) do
      local bytes = {}
      for i = 8, 1, -1 do
        bytes[i] = v % 256
        v = math.floor(v / 256)
      end
      packed = packed .. string.char(unpack(bytes))
    end
    return packed
  end,
  unpack = function(_, s, at)
    local v = 0
    for i = at, at + 7 do v = v * 256 + string.byte(s, i) end
    return v
  end,
}

-- clash is the error for a key that is not what it should be; Go finds the key by its number.
local function clash(i, what) return redis.error_reply('CLASH ' .. i .. ' is no ' .. what) end

-- wrong returns the error to end with if r, read from key i by pcall, is one.
local function wrong(i, r, kind)
  if type(r) ~= 'table' or not r.err then return nil end
  if string.find(r.err, 'WRONGTYPE', 1, true) then return clash(i, kind) end
  return r
end

-- version reads a decimal one; nil: it is none.
local function version(s)
  local v = string.match(s, '^%d+$') and tonumber(s)
  return v and v <= 9007199254740991 and v or nil
end

local function text(v) return string.format('%.0f', v) end

-- last returns the last version given out, or nil and the error to end with. Without a counter the log knows.
local function last()
  local n = redis.pcall('ZCARD', KEYS[1])
  local bad = wrong(1, n, 'sorted set')
  if bad then return nil, bad end
  local s = redis.pcall('GET', KEYS[2])
  bad = wrong(2, s, 'string')
  if bad then return nil, bad end
  if s then
    local v = version(s)
    if v then return v end
    return nil, clash(2, 'version')
  end
  if n == 0 then return 0 end
  local top = tonumber(redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2])
  if top >= 0 and top <= 9007199254740991 and top == math.floor(top) then return top end
  return nil, clash(1, 'log: its highest score is no version')
end

-- age removes what was stored more than life ms ago, and entries that are none where they are the oldest. It returns how many
-- it removed, and the oldest version that is left, 0 if there is none. Times grow with versions, so that the first one
-- that is young enough is found by halving.
local function age(life)
  local removed, oldest, stored = 0, 0, nil
  while true do
    local e = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
    if not e[1] then return removed, 0 end
    oldest = tonumber(e[2])
    if #e[1] >= 17 and struct.unpack('>I8', e[1], 2) == oldest then
      stored = struct.unpack('>I8', e[1], 10)
      break
    end
    removed = removed + redis.call('ZREMRANGEBYRANK', KEYS[1], 0, 0)
  end
  if stored >= now - life then return removed, oldest end
  local low, high = 0, redis.call('ZCARD', KEYS[1])
  while high - low > 1 do
    local middle = math.floor((low + high) / 2)
    local e = redis.call('ZRANGE', KEYS[1], middle, middle)[1]
    if #e >= 17 and struct.unpack('>I8', e, 10) < now - life then low = middle else high = middle end
  end
  removed = removed + redis.call('ZREMRANGEBYRANK', KEYS[1], 0, low)
  local e = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  return removed, tonumber(e[2] or '0')
end
`

// script is a text that servers know by its sum once they have seen it.
type script struct{ text, sum string }

func newScript(body string) script {
	text := prelude + body
	sum := sha1.Sum([]byte(text))
	return script{text, hex.EncodeToString(sum[:])}
}

// call is one run of a script.
type call struct{ keys, args []string }

// run carries out the calls together and returns as many results. A server that does not know the script, because it was
// started anew or is another one now, gets its text. Calls then change places: two calls for one user must not be in one run.
func (s script) run(ctx context.Context, c *redisconn.Client, calls []call) []rueidis.RedisResult {
	results := c.DoMulti(ctx, func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, len(calls))
		for i, c := range calls {
			cmds[i] = b.Evalsha().Sha1(s.sum).Numkeys(int64(len(c.keys))).Key(c.keys...).Arg(c.args...).Build()
		}
		return cmds
	})
	var unknown []int
	for i := range results {
		if said, ok := rueidis.IsRedisErr(results[i].Error()); ok && said.IsNoScript() {
			unknown = append(unknown, i)
		}
	}
	if unknown == nil {
		return results
	}
	again := c.DoMulti(ctx, func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, len(unknown))
		for i, at := range unknown {
			c := calls[at]
			cmds[i] = b.Eval().Script(s.text).Numkeys(int64(len(c.keys))).Key(c.keys...).Arg(c.args...).Build()
		}
		return cmds
	})
	for i, at := range unknown {
		results[at] = again[i]
	}
	return results
}

// ClashError tells that a key of a user is not what it should be: another program wrote it.
type ClashError struct {
	User string
	Key  string
	What string // "is no sorted set"
}

func (e *ClashError) Error() string { return fmt.Sprintf("%q %s", e.Key, e.What) }

// explain makes an error of a call one for people, or a ClashError.
func explain(doing, user string, keys []string, err error) error {
	if said, ok := rueidis.IsRedisErr(err); ok {
		if rest, ok := strings.CutPrefix(said.Error(), "CLASH "); ok {
			number, what, _ := strings.Cut(rest, " ")
			if i, err := strconv.Atoi(number); err == nil && i >= 1 && i <= len(keys) {
				return &ClashError{User: user, Key: keys[i-1], What: what}
			}
		}
	}
	return fmt.Errorf("%s %q: %w", doing, user, err)
}

// ErrUser is the error for a user whose name makes no hash tag: empty, or beginning with a closing brace.
var ErrUser = errors.New("the user is empty or begins with }")

// checkUser keeps a user's keys in one slot of a Cluster.
func checkUser(user string) error {
	if user == "" || user[0] == '}' {
		return ErrUser
	}
	return nil
}
