package queue

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"edged/redisconn"

	"github.com/redis/rueidis"
)

const (
	keepEvery  = time.Second
	claimPages = 1000 // pending entries that are looked at in one go
	forgetGaps = 4    // claim_after times that: a consumer who has nothing pending is taken out of the group
)

// Backlog is how much there is to do, as Redis says.
type Backlog struct {
	At        time.Time     // when it was asked
	Length    int           // entries in the stream
	Waiting   int           // of them, those that nobody has read; -1 where Redis does not know
	Pending   int           // of them, those that were read and are not done
	Oldest    time.Duration // age of the oldest of both; 0: there is none
	Consumers int
	Dead      int // entries in edged:dead; -1: it is no stream
}

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

// keepScript shows the others that we live, trims, and forgets dead consumers. ARGV[4]: as claim_after, for those who have
// nothing pending. It returns the time, XLEN, entries nobody has read, pending ones, the oldest ID of both, consumers, entries trimmed.
//
// Reading behind the second highest ID there is reads nothing, but tells Redis that the consumer is there; the highest would mean
// ">". A consumer that has pending entries must stay, since those would go with it.
var keepScript = newScript(`
redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', 1, 'STREAMS', KEYS[1], '18446744073709551615-0')
local t = redis.call('TIME')
local group
for _, g in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local f = fields(g)
  if f.name == ARGV[1] then group = f end
end
local last = group['last-delivered-id']
local ms, seq = string.match(last, '^(%d+)-(%d+)$')
local after = tonumber(seq) < 9007199254740991 and ms .. '-' .. string.format('%.0f', seq + 1) or last
local pending = redis.call('XPENDING', KEYS[1], ARGV[1])
local oldest = pending[1] > 0 and pending[2] or ''
local keep = oldest == '' and after or oldest

local trimmed = redis.pcall('XTRIM', KEYS[1], 'MINID', '=', keep)
if type(trimmed) == 'table' and trimmed.err then -- before Redis 6.2
  local below = 0
  for _, e in ipairs(redis.call('XRANGE', KEYS[1], '-', keep, 'COUNT', 1000)) do
    if e[1] ~= keep then below = below + 1 end
  end
  trimmed = below > 0 and redis.call('XTRIM', KEYS[1], 'MAXLEN', redis.call('XLEN', KEYS[1]) - below) or 0
end

local left = 0
for _, c in ipairs(consumers()) do
  if c.pending == 0 and c.idle >= tonumber(ARGV[4]) and c.name ~= ARGV[2] then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], c.name)
  else
    left = left + 1
  end
end

local lag = group.lag
if not lag then lag = oldest == '' and redis.call('XLEN', KEYS[1]) or -1 end
if oldest == '' then
  local next = redis.call('XRANGE', KEYS[1], after, '+', 'COUNT', 1)
  if next[1] then oldest = next[1][1] end
end
return {t[1] * 1000 + math.floor(t[2] / 1000), redis.call('XLEN', KEYS[1]), lag, pending[1], oldest, left, trimmed}`)

// claimScript takes over pending entries of consumers that were silent for claim_after. ARGV[4]: how many; ARGV[5]: where to begin;
// ARGV[6]: how many to look at. It returns where to go on, empty at the end; the entries; and for each ID how often it was read.
// Those that were deleted from the stream are acknowledged.
var claimScript = newScript(`
local silence, most = tonumber(ARGV[3]), tonumber(ARGV[4])
local live = {}
for _, c in ipairs(consumers()) do
  if c.idle < silence or c.name == ARGV[2] then live[c.name] = true end
end
local ids, tries, next = {}, {}, ''
local page = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[5], '+', ARGV[6])
for i, p in ipairs(page) do
  if p[3] >= silence and not live[p[2]] then
    ids[#ids + 1] = p[1]
    tries[#tries + 1] = p[1]
    tries[#tries + 1] = p[4] + 1
  end
  if #ids == most or i == #page and i == tonumber(ARGV[6]) then
    next = p[1]
    break
  end
end
if #ids == 0 then return {next, {}, {}} end
local entries, found = {}, {}
for _, e in ipairs(redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(ids))) do
  if e and e[2] then
    entries[#entries + 1] = e
    found[e[1]] = true
  end
end
for _, id in ipairs(ids) do
  if not found[id] then redis.call('XACK', KEYS[1], ARGV[1], id) end
end
return {next, entries, tries}`)

// leaveScript takes a consumer without pending entries out of the group.
var leaveScript = newScript(`
for _, c in ipairs(consumers()) do
  if c.name == ARGV[2] and c.pending == 0 then return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) end
end
return 0`)

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

// claim takes over what dead consumers have left, at most n entries.
func (s *Stream) claim(ctx context.Context, n int, now time.Time) ([]Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	answer, err := claimScript.run(ctx, s.client, s.config.Group, s.consumer, ms(s.config.ClaimAfter), strconv.Itoa(min(n, claimPages)),
		s.claimFrom, strconv.Itoa(claimPages)).ToArray()
	if err != nil || len(answer) != 3 {
		return nil, fmt.Errorf("claim: %d parts: %w", len(answer), err)
	}
	last, err := answer[0].ToString()
	if err != nil {
		return nil, err
	}
	entries, _, err := s.parseEntries(answer[1])
	if err != nil {
		return nil, err
	}
	tries, err := answer[2].AsStrSlice()
	if err != nil {
		return nil, err
	}
	times := make(map[string]int, len(tries)/2)
	for i := 0; i+1 < len(tries); i += 2 {
		times[tries[i]], _ = strconv.Atoi(tries[i+1])
	}
	for i := range entries {
		entries[i].Tries = times[entries[i].ID]
	}
	s.claimFrom = "-"
	if last != "" {
		s.claimFrom = following(last)
	} else {
		s.nextClaim = now.Add(jitter(s.config.ClaimAfter / 3))
	}
	if len(entries) > 0 {
		s.claimed.Add(uint64(len(entries)))
		s.log.Info("entries of a dead process taken over", "entries", len(entries))
	}
	return entries, nil
}

// following is the ID right behind one. Ranges without an end of theirs came with Redis 6.2.
func following(id string) string {
	high, low := splitID(id)
	if low++; low == 0 {
		high++
	}
	return strconv.FormatUint(high, 10) + "-" + strconv.FormatUint(low, 10)
}

// Keep looks after the stream once a second until ctx ends: it shows that this consumer lives, trims, and reads the Backlog.
func (s *Stream) Keep(ctx context.Context) {
	for ctx.Err() == nil {
		s.keep(ctx)
		select {
		case <-time.After(jitter(min(keepEvery, s.config.ClaimAfter/4))):
		case <-ctx.Done():
		}
	}
}

func (s *Stream) keep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, shortLimit)
	defer cancel()
	asked := time.Now()
	answer, err := keepScript.run(ctx, s.client, s.config.Group, s.consumer, ms(s.config.ClaimAfter), ms(forgetGaps*s.config.ClaimAfter)).ToArray()
	if err != nil || len(answer) != 7 {
		return // Read finds the same, and says so
	}
	var n [7]int64
	for i := range answer {
		if i != 4 {
			n[i], _ = answer[i].AsInt64()
		}
	}
	took := time.Since(asked)
	s.offset.Store(n[0] - asked.Add(took/2).UnixMilli())
	b := &Backlog{At: asked, Length: int(n[1]), Waiting: int(n[2]), Pending: int(n[3]), Consumers: int(n[5]), Dead: -1}
	if oldest, _ := answer[4].ToString(); oldest != "" {
		b.Oldest = max(time.Duration(n[0]-millis(oldest))*time.Millisecond, 0)
	}
	dead, err := s.client.Do(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Xlen().Key(deadKey).Build() }).AsInt64()
	if err == nil {
		b.Dead = int(dead)
	}
	s.trimmed.Add(uint64(n[6]))
	s.backlog.Store(b)
}

// Leave takes this consumer out of the group if it has done all that it read.
func (s *Stream) Leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, shortLimit)
	defer cancel()
	return leaveScript.run(ctx, s.client, s.config.Group, s.consumer).Error()
}

// Backlog is what Keep saw last, false when it has not seen anything yet.
func (s *Stream) Backlog() (Backlog, bool) {
	b := s.backlog.Load()
	if b == nil {
		return Backlog{}, false
	}
	return *b, true
}

func ms(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// jitter keeps processes that were started together from doing everything together.
func jitter(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2) }

// Counts returns how many entries this process took over from dead ones, and how many it trimmed.
func (s *Stream) Counts() (claimed, trimmed uint64) { return s.claimed.Load(), s.trimmed.Load() }
