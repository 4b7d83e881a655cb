package queue

import (
	"context"
	"crypto/sha1"
	"encoding/hex"

	"edged/redisconn"

	"github.com/redis/rueidis"
)

// prelude begins the scripts. KEYS: edged:in. ARGV: group, consumer, claim_after in ms.
const prelude = `
local function fields(flat)
  local t = {}
  for i = 1, #flat, 2 do t[flat[i]] = flat[i + 1] end
  return t
end

local function consumers()
  local list = redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
  for i, c in ipairs(list) do list[i] = fields(c) end
  return list
end
`

// script is a text that servers know by its sum once they have seen it.
type script struct{ text, sum string }

func newScript(body string) script {
	text := prelude + body
	sum := sha1.Sum([]byte(text))
	return script{text, hex.EncodeToString(sum[:])}
}

// run carries the script out. A server that does not know it, because it was started anew or is another one now, gets its text.
func (s script) run(ctx context.Context, c *redisconn.Client, args ...string) rueidis.RedisResult {
	r := c.Do(ctx, func(b rueidis.Builder) rueidis.Completed {
		return b.Evalsha().Sha1(s.sum).Numkeys(1).Key(inKey).Arg(args...).Build()
	})
	if e, ok := rueidis.IsRedisErr(r.Error()); ok && e.IsNoScript() {
		r = c.Do(ctx, func(b rueidis.Builder) rueidis.Completed {
			return b.Eval().Script(s.text).Numkeys(1).Key(inKey).Arg(args...).Build()
		})
	}
	return r
}
