package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

const (
	keepEvery = time.Second
	forgotten = 4 // times claim_after: a consumer so long silent that has nothing pending is taken out of the group
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

local trimmed = redis.pcall('XTRIM', KEYS[1], 'MINID', '~', keep, 'LIMIT', 100000) -- more would hold the others up
if type(trimmed) == 'number' and trimmed < 100000 then trimmed = trimmed + redis.call('XTRIM', KEYS[1], 'MINID', '=', keep) end
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

// leaveScript takes a consumer without pending entries out of the group.
var leaveScript = newScript(`
for _, c in ipairs(consumers()) do
  if c.name == ARGV[2] and c.pending == 0 then return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) end
end
return 0`)

// Keep looks after the stream once a second until ctx ends: it shows that this consumer lives, trims, and reads the Backlog.
func (s *Stream) Keep(ctx context.Context) {
	for ctx.Err() == nil {
		s.look(ctx, keepScript)
		select {
		case <-time.After(jitter(min(keepEvery, s.config.ClaimAfter/4))):
		case <-ctx.Done():
		}
	}
}

// look runs keepScript, and publishes what it says.
func (s *Stream) look(ctx context.Context, keep script) {
	ctx, cancel := context.WithTimeout(ctx, shortLimit)
	defer cancel()
	asked := time.Now()
	answer, err := keep.run(ctx, s.client, s.config.Group, s.consumer, ms(s.config.ClaimAfter), ms(forgotten*s.config.ClaimAfter)).ToArray()
	if err == nil && len(answer) != 7 {
		err = fmt.Errorf("an answer of %d parts", len(answer))
	}
	if err != nil {
		err = fmt.Errorf("look after %s: %w", inKey, err)
		s.fault.Store(&err)
		return
	}
	s.fault.Store(nil)
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

// Err returns what keeps Keep from its work, nil where nothing does.
func (s *Stream) Err() error {
	if e := s.fault.Load(); e != nil {
		return *e
	}
	return nil
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
