package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"edged/redisconn"
)

// ErrFull says that the stream is as long as it may get by writers who ask.
var ErrFull = errors.New("the stream is full")

// Writer puts messages into edged:in.
type Writer struct {
	client *redisconn.Client
	maxLen string
}

// NewWriter returns a Writer over the client, which stays the caller's.
func NewWriter(client *redisconn.Client, c Config) *Writer {
	return &Writer{client, strconv.Itoa(c.MaxLen)}
}

// writeScript adds entries, all of them or none. ARGV: the greatest length; then for each entry how many texts it has, and those.
// It returns the IDs, or nothing where the stream would get longer.
var writeScript = newScript(`
local texts, n = 1, 0
while ARGV[texts + 1] do
  texts = texts + 1 + tonumber(ARGV[texts + 1])
  n = n + 1
end
if redis.call('XLEN', KEYS[1]) + n > tonumber(ARGV[1]) then return false end
local ids, at = {}, 2
for i = 1, n do
  local last = at + tonumber(ARGV[at])
  ids[i] = redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 1, last))
  at = last + 1
end
return ids`)

// Write puts messages into the stream in their order, all of them or none, and returns their IDs there. They are as durable then as Redis
// is told to be. After an error other than ErrFull they may be there or not: whoever repeats the call with the same msg_ids does no harm.
func (w *Writer) Write(ctx context.Context, messages []Message) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	args := append(make([]string, 0, 1+9*len(messages)), w.maxLen)
	var fields []Field
	for i := range messages {
		fields = messages[i].AppendFields(fields[:0])
		args = append(args, strconv.Itoa(2*len(fields)))
		for _, f := range fields {
			args = append(args, f.Name, f.Value)
		}
	}
	m, err := writeScript.run(ctx, w.client, args...).ToMessage()
	if m.IsNil() {
		return nil, ErrFull
	}
	var ids []string
	if err == nil {
		ids, err = m.AsStrSlice()
	}
	if err == nil && len(ids) != len(messages) {
		err = fmt.Errorf("%d IDs for %d messages", len(ids), len(messages))
	}
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", inKey, err)
	}
	return ids, nil
}
