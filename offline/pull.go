package offline

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// Pulled is the answer of a Pull.
type Pulled struct {
	Entries []Entry // in the order of versions
	After   uint64  // the version behind which they were looked for
	Oldest  uint64  // the oldest version that the log still has; 0: none
	Last    uint64  // the last version given out to the user; 0: none. Unless there is More, Entries go up to it
	Synced  uint64  // what is stored for the device; 0: nothing
	More    bool    // there is more than the caller wanted
}

// Bounds of one answer of Redis, in messages and bytes of entries. The last entry may go beyond the bytes by its chunk.
const (
	pageMessages = 1024
	pageBytes    = 1 << 20
)

// pullScript reads a page. KEYS: log, ver, sync. ARGV: device; the version, or score, behind which to begin; "1" if it is the
// first page; how many messages, how many bytes; age in ms. It returns eight numbers and the entries: last version, oldest
// version, stored version of the device, version behind which it began, now in ms, how many entries were too old, 1 if there
// are more, and the score to go on from.
var pullScript = newScript(`
local v, bad = last()
if bad then return bad end
local s = redis.pcall('HGET', KEYS[3], ARGV[1])
bad = wrong(3, s, 'hash')
if bad then return bad end
local synced = s and version(s) or 0
if synced > v then synced = 0 end
local from = ARGV[2]
if ARGV[3] == '1' then
  if from == '0' then from = text(synced) end
  if tonumber(from) > v then from = '0' end
end
local began = from
local removed, oldest = age(ARGV[6])
local most, room, taken, more = tonumber(ARGV[4]), tonumber(ARGV[5]), 0, 0
local reply = {0, 0, 0, 0, 0, 0, 0, 0}
while true do
  local want = math.min(64, most - taken + 1)
  local list = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. from, '+inf', 'LIMIT', taken, want)
  for _, e in ipairs(list) do
    if taken == most or room <= 0 then
      more = 1
      break
    end
    taken = taken + 1
    room = room - #e
    reply[8 + taken] = e
  end
  if more == 1 or #list < want then break end
end
if more == 1 then from = redis.call('ZSCORE', KEYS[1], reply[8 + taken]) end
reply[1], reply[2], reply[3], reply[4] = text(v), text(oldest), text(synced), began
reply[5], reply[6], reply[7], reply[8] = text(now), text(removed), text(more), from
return reply`)

// Pull returns the messages of a user whose version is higher than after, at most limit of them, or all if limit is 0. With
// after 0 it goes by the version that is stored for the device (Sync); where there is none, or one that is higher than
// any given out, by the start of the log. After that version Entries has no holes but those of the caps: a first version
// higher than After + 1 tells that messages are gone, and so does a later step by more than 1, when the caps took them while
// it read. Entries that are Expired are among them.
//
// Messages that are stored while it reads may be among them or not. An error is a *ClashError, ErrUser, or that Redis did not
// answer for all of it.
func (l *Log) Pull(ctx context.Context, user, device string, after uint64, limit int) (Pulled, error) {
	if err := checkUser(user); err != nil {
		return Pulled{}, err
	}
	var p Pulled
	if none, err := l.nothing(ctx, user); none || err != nil {
		return p, err
	}
	from, first := strconv.FormatUint(after, 10), "1"
	for {
		want := pageMessages
		if limit > 0 {
			want = min(want, limit-len(p.Entries))
		}
		c := call{
			keys: []string{logKey(user), verKey(user), syncKey(user)},
			args: []string{device, from, first, strconv.Itoa(want), strconv.Itoa(pageBytes), l.age},
		}
		page, err := readPage(pullScript.run(ctx, l.client, []call{c})[0])
		if err != nil {
			return Pulled{}, explain("pull for", user, c.keys, err)
		}
		if first == "1" {
			p.After, p.Oldest, p.Synced = page.began, page.oldest, page.synced
		}
		l.take(&p, page)
		p.Last, p.More = page.last, page.more
		if !page.more || limit > 0 && len(p.Entries) >= limit {
			return p, nil
		}
		from, first = page.next, "0"
	}
}

// nothing reports that nothing was ever stored for a user, as is so for most who log in: a plain command costs Redis a fifth of
// the script.
func (l *Log) nothing(ctx context.Context, user string) (bool, error) {
	keys := []string{logKey(user), verKey(user), syncKey(user)}
	n, err := l.client.Do(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Exists().Key(keys...).Build() }).AsInt64()
	if err != nil {
		return false, explain("pull for", user, keys, err)
	}
	return n == 0, nil
}

// page is an answer of pullScript.
type page struct {
	last, oldest, synced, began uint64
	now                         time.Time
	removed                     uint64
	more                        bool
	next                        string
	entries                     []rueidis.RedisMessage
}

const pageHead = 8 // values before the entries

func readPage(r rueidis.RedisResult) (page, error) {
	values, err := r.ToArray()
	if err != nil {
		return page{}, err
	}
	if len(values) < pageHead {
		return page{}, fmt.Errorf("%d values in a page", len(values))
	}
	var errs []error
	number := func(i int) uint64 {
		s, err := values[i].ToString()
		if err != nil {
			errs = append(errs, err)
			return 0
		}
		n, err := strconv.ParseFloat(s, 64) // where it goes on may be behind what is no entry
		if err != nil {
			errs = append(errs, err)
		}
		return uint64(n)
	}
	next, err := values[7].ToString()
	p := page{
		last: number(0), oldest: number(1), synced: number(2), began: number(3), now: time.UnixMilli(int64(number(4))),
		removed: number(5), more: number(6) == 1, next: next, entries: values[pageHead:],
	}
	return p, errors.Join(append(errs, err)...)
}

// take appends a page's entries. What is none, or out of order, another program wrote.
func (l *Log) take(p *Pulled, page page) {
	l.removed.Add(page.removed)
	before := p.After
	if n := len(p.Entries); n > 0 {
		before = p.Entries[n-1].Version
	} else if p.Entries == nil {
		p.Entries = make([]Entry, 0, len(page.entries))
	}
	taken := 0
	for i := range page.entries {
		b, err := page.entries[i].AsBytes()
		var e Entry
		if err == nil {
			e, err = ParseEntry(b)
		}
		if err != nil || e.Version <= before || e.Version > page.last {
			l.garbage.Add(1)
			continue
		}
		e.Expired = !e.Expires.IsZero() && !e.Expires.After(page.now)
		p.Entries = append(p.Entries, e)
		before = e.Version
		taken++
	}
	l.pulled.Add(uint64(taken))
}
