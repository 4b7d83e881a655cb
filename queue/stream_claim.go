package queue

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// maxClaim is how many entries one script takes over at most.
const maxClaim = 1000

// claimScript takes over pending entries. ARGV[4]: how many; ARGV[5]: empty for those of consumers that were silent for claim_after,
// else the ID from which on this consumer's own are wanted. It returns the last ID that it looked at, empty where there is no
// more; the entries; and for each ID how often it was read. Entries that were deleted from the stream are acknowledged.
//
// Whoever is silent has told nobody for claim_after that he lives (keepScript), so that an entry that takes long stays with the
// one who has it. XCLAIM and not XAUTOCLAIM, which came with Redis 6.2.
var claimScript = newScript(`
local most, from = tonumber(ARGV[4]), ARGV[5]
local ids, tries, last = {}, {}, ''

local function gather(name, from, silence)
  local page = redis.call('XPENDING', KEYS[1], ARGV[1], from, '+', most - #ids, name)
  for _, p in ipairs(page) do
    if p[3] >= silence then
      ids[#ids + 1] = p[1]
      tries[#tries + 1] = p[1]
      tries[#tries + 1] = tostring(p[4] + 1)
    end
  end
  if #ids == most then last = page[#page][1] end
end

if from ~= '' then
  gather(ARGV[2], from, 0)
else
  local silence = tonumber(ARGV[3])
  for _, c in ipairs(consumers()) do
    if c.pending > 0 and c.idle >= silence and c.name ~= ARGV[2] and #ids < most then gather(c.name, '-', silence) end
  end
end
if #ids == 0 then return {'', {}, {}} end

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
return {last, entries, tries}`)

// readOwn reads entries that this consumer has had: it was called so before it started, or an answer did not arrive.
func (s *Stream) readOwn(ctx context.Context, n int) ([]Entry, error) {
	entries, last, err := s.claim(ctx, n, s.own)
	if err != nil {
		return nil, err
	}
	s.own = ""
	if last != "" {
		s.own = following(last)
	}
	return entries, nil
}

// readDead takes over what silent consumers have left.
func (s *Stream) readDead(ctx context.Context, n int) ([]Entry, error) {
	entries, last, err := s.claim(ctx, n, "")
	if err != nil {
		return nil, err
	}
	if last == "" {
		s.next = time.Now().Add(jitter(s.config.ClaimAfter / 3))
	}
	if len(entries) > 0 {
		s.claimed.Add(uint64(len(entries)))
		s.log.Info("entries of a dead process taken over", "entries", len(entries))
	}
	return entries, nil
}

func (s *Stream) claim(ctx context.Context, n int, from string) (entries []Entry, last string, err error) {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	answer, err := claimScript.run(ctx, s.client, s.config.Group, s.consumer, ms(s.config.ClaimAfter), strconv.Itoa(min(n, maxClaim)), from).ToArray()
	if err != nil {
		return nil, "", err
	}
	if len(answer) != 3 {
		return nil, "", fmt.Errorf("claim: an answer of %d parts", len(answer))
	}
	if last, err = answer[0].ToString(); err != nil {
		return nil, "", err
	}
	tries, err := answer[2].AsStrSlice()
	if err != nil {
		return nil, "", err
	}
	if entries, err = s.parseEntries(answer[1]); err != nil {
		return nil, "", err
	}
	times := make(map[string]int, len(tries)/2)
	for i := 0; i+1 < len(tries); i += 2 {
		times[tries[i]], _ = strconv.Atoi(tries[i+1])
	}
	for i := range entries {
		entries[i].Tries = times[entries[i].ID]
	}
	return entries, last, nil
}

// following is the ID right behind one. Ranges that leave their first ID out came with Redis 6.2.
func following(id string) string {
	high, low := splitID(id)
	if low++; low == 0 {
		high++
	}
	return strconv.FormatUint(high, 10) + "-" + strconv.FormatUint(low, 10)
}
