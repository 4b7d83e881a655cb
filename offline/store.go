package offline

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"edged/batch"

	"github.com/redis/rueidis"
)

// Message is one message for one user.
type Message struct {
	User      string
	MsgID     string // at most 255 bytes; empty: it is stored each time
	Payload   []byte // at most 1 MiB
	Ack       batch.Ack
	AllowGzip bool
	TTL       time.Duration // after At; 0: it is wanted for as long as it is kept
	At        time.Time     // when it was accepted, by the clock of Redis (an entry's ID in a stream tells); zero: now
}

// Stored is what became of one Message.
type Stored struct {
	Version   uint64 // 0 with an error
	Duplicate bool   // its msg_id was stored before, under this version
	Err       error  // ErrUser, ErrMsgID, ErrPayload, ErrAck, a *ClashError; another: repeat it, with the same msg_id
}

// Errors of messages that can never be stored.
var (
	ErrMsgID   = errors.New("the msg_id is longer than 255 bytes")
	ErrPayload = errors.New("the payload is larger than 1 MiB")
	ErrAck     = errors.New("the ack mode is unknown")
)

// Bounds of what is sent at once. They keep a script short for the others who wait for Redis, and a call within its limit.
const (
	groupMessages = 64
	groupBytes    = 256 << 10
	runCalls      = 1024
	runBytes      = 8 << 20
)

// storeScript stores messages of one user. KEYS: log, ver, seen. ARGV: count, age in ms, seen in s, seen_count; then for each
// message msg_id, when it expires, and the tail of its entry. "+5" expires 5 ms from now. It returns for each message its
// version, negative if that is a duplicate's, and then how many entries the caps removed.
//
// 2097152 is 2^21: see the package comment for the scores of seen.
var storeScript = newScript(`
local v, bad = last()
if bad then return bad end
local before, seconds = v, math.floor(now / 1000)
local reply, entries, marks, new = {}, {}, {}, {}

-- known returns the version under which a msg_id was stored, if it was. One from before versions began anew is not known.
local function known(id)
  local s = redis.pcall('ZSCORE', KEYS[3], id)
  local bad = wrong(3, s, 'sorted set')
  if bad or not s then return nil, bad end
  s = tonumber(s)
  local whole = math.floor(s)
  local found = before - (before - (s - whole) * 2097152) % 2097152
  if found >= 1 and found == math.floor(found) and seconds - whole <= tonumber(ARGV[3]) then return found end
end

for i = 5, #ARGV, 3 do
  local id, found = ARGV[i], nil
  if id ~= '' then
    found = new[id]
    if not found then
      found, bad = known(id)
      if bad then return bad end
    end
  end
  if found then
    reply[#reply + 1] = -found
  else
    v = v + 1
    if v > 9007199254740991 then return clash(2, 'version that could grow') end
    local expires = tonumber(ARGV[i + 1])
    if string.byte(ARGV[i + 1]) == 43 then expires = expires + now end
    reply[#reply + 1] = v
    entries[#entries + 1] = text(v)
    entries[#entries + 1] = struct.pack('>I1I8I8I8', 1, v, now, expires) .. ARGV[i + 2]
    if id ~= '' then
      new[id] = v
      marks[#marks + 1] = string.format('%.17g', seconds + v % 2097152 / 2097152)
      marks[#marks + 1] = id
    end
  end
end

local removed = 0
if v > before then
  redis.call('SET', KEYS[2], text(v))
  redis.call('ZADD', KEYS[1], unpack(entries))
  if v > tonumber(ARGV[1]) then removed = redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(v - ARGV[1])) end
  if math.floor(v / 16) > math.floor(before / 16) then removed = removed + age(ARGV[2]) end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  if #marks > 0 then
    redis.call('ZADD', KEYS[3], unpack(marks))
    redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. text(seconds - ARGV[3]))
    redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - ARGV[4])
    redis.call('EXPIRE', KEYS[3], ARGV[3] + 1)
  end
end
reply[#reply + 1] = removed
return reply`)

// Store gives each message a version of its user and puts it into that user's log, those of one user in their order. The
// results stand in the order of the messages. One that cannot be stored leaves the others as they are; but where Redis did
// not answer for a message, the later ones of the same user are not tried, and fail likewise.
func (l *Log) Store(ctx context.Context, messages []Message) []Stored {
	results := make([]Stored, len(messages))
	for round := l.group(messages, results); len(round) > 0; {
		n := runLength(round)
		l.storeRun(ctx, round[:n], results)
		var more []*group
		for _, g := range round[:n] {
			if g.err == nil && g.next != nil {
				more = append(more, g.next)
			}
		}
		round = append(round[n:], more...)
	}
	return results
}

// group is messages of one user that one script stores.
type group struct {
	call
	user  string
	at    []int // places of the messages in the caller's list
	bytes int
	err   error
	next  *group // later messages of the user, to be sent when this group has its answer
}

// group sorts the messages by user, and refuses those that can never be stored. It returns the first group of each user.
func (l *Log) group(messages []Message, results []Stored) []*group {
	var firsts []*group
	latest := make(map[string]*group, len(messages))
	for i := range messages {
		m := &messages[i]
		if err := m.check(); err != nil {
			results[i].Err = err
			l.refused.Add(1)
			continue
		}
		g := latest[m.User]
		if g == nil || len(g.at) == groupMessages || g.bytes+len(m.Payload) > groupBytes {
			fresh := &group{user: m.User}
			fresh.keys = []string{logKey(m.User), verKey(m.User), seenKey(m.User)}
			fresh.args = append(make([]string, 0, 7), l.count, l.age, l.seen, l.seenCount)
			if g == nil {
				firsts = append(firsts, fresh)
			} else {
				g.next = fresh
			}
			latest[m.User], g = fresh, fresh
		}
		tail := appendTail(make([]byte, 0, 2+len(m.MsgID)+len(m.Payload)), m.Ack, m.AllowGzip, m.MsgID, m.Payload)
		g.args = append(g.args, m.MsgID, m.expires(), rueidis.BinaryString(tail))
		g.at = append(g.at, i)
		g.bytes += len(tail)
	}
	return firsts
}

func (m *Message) check() error {
	switch {
	case len(m.MsgID) > maxMsgID:
		return ErrMsgID
	case len(m.Payload) > maxPayload:
		return ErrPayload
	case m.Ack < batch.AckNone || m.Ack > batch.AckSampled:
		return ErrAck
	}
	return checkUser(m.User)
}

// expires is the time as storeScript wants it.
func (m *Message) expires() string {
	switch {
	case m.TTL <= 0:
		return "0"
	case m.At.IsZero():
		return "+" + strconv.FormatInt(max(m.TTL.Milliseconds(), 1), 10)
	}
	return strconv.FormatInt(max(m.At.Add(m.TTL).UnixMilli(), 1), 10)
}

// runLength returns how many of the groups go together, at least one.
func runLength(groups []*group) int {
	bytes := 0
	for i, g := range groups {
		bytes += g.bytes
		if i == runCalls || i > 0 && bytes > runBytes {
			return i
		}
	}
	return len(groups)
}

// storeRun sends groups of different users.
func (l *Log) storeRun(ctx context.Context, groups []*group, results []Stored) {
	calls := make([]call, len(groups))
	for i, g := range groups {
		calls[i] = g.call
	}
	for i, r := range storeScript.run(ctx, l.client, calls) {
		g := groups[i]
		versions, err := r.AsIntSlice()
		if err == nil && len(versions) != len(g.at)+1 {
			err = fmt.Errorf("%d answers for %d messages", len(versions), len(g.at))
		}
		if err != nil {
			g.err = explain("store for", g.user, g.keys, err)
			l.giveUp(g, results)
			continue
		}
		l.removed.Add(uint64(versions[len(g.at)]))
		for j, at := range g.at {
			if v := versions[j]; v > 0 {
				results[at].Version = uint64(v)
				l.stored.Add(1)
			} else {
				results[at] = Stored{Version: uint64(-v), Duplicate: true}
				l.duplicates.Add(1)
			}
		}
	}
}

// giveUp gives a group's error to its messages, and to the groups behind it.
func (l *Log) giveUp(g *group, results []Stored) {
	counter := &l.failed
	var clash *ClashError
	if errors.As(g.err, &clash) {
		counter = &l.refused
	}
	for err := g.err; g != nil; g = g.next {
		for _, at := range g.at {
			results[at].Err = err
		}
		counter.Add(uint64(len(g.at)))
	}
}
