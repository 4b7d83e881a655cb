package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"edged/redisconn"

	"github.com/redis/rueidis"
)

// The keys of PROTOCOL.md §3 that this package owns.
const (
	inKey   = "edged:in"
	deadKey = "edged:dead"
)

const (
	blockTime  = time.Second      // how long Redis is asked to wait for an entry
	readLimit  = 10 * time.Second // of any call that carries entries
	shortLimit = 3 * time.Second
)

// Stream is the Source over edged:in: a consumer of its group. What processes that died have left is claimed, what nobody needs
// any more is trimmed.
type Stream struct {
	// Static after NewStream.
	client   *redisconn.Client
	config   Config
	consumer string
	log      *slog.Logger

	// Owned by Read.
	grouped bool      // the group was there
	own     string    // where the walk through this consumer's own pending entries goes on; empty: it is over
	next    time.Time // when to look for what the dead have left

	// Published.
	offset           atomic.Int64 // clock of Redis less ours, in ms
	backlog          atomic.Pointer[Backlog]
	fault            atomic.Pointer[error] // of Keep
	claimed, trimmed atomic.Uint64
}

// NewStream returns the Stream of one process. The settings must be valid; the client stays the caller's.
func NewStream(client *redisconn.Client, c Config, log *slog.Logger) *Stream {
	s := &Stream{client: client, config: c, consumer: c.Consumer, log: log, own: firstID}
	if s.consumer == "" {
		host, _ := os.Hostname()
		s.consumer = fmt.Sprintf("%s-%d-%08x", host, os.Getpid(), rand.Uint32())
	}
	return s
}

// Consumer is the process's name in the group.
func (s *Stream) Consumer() string { return s.consumer }

// firstID is where a walk through pending entries begins.
const firstID = "-"

// Read returns entries: first those that this consumer has had and not finished, then those of the dead, then new ones.
func (s *Stream) Read(ctx context.Context, n int) ([]Entry, error) {
	entries, err := s.read(ctx, n)
	if err != nil {
		s.own = firstID // what Redis has given us may not have arrived
		if said(err, "NOGROUP") {
			s.grouped = false
		}
		return nil, fmt.Errorf("read %s: %w", inKey, err)
	}
	return entries, nil
}

func (s *Stream) read(ctx context.Context, n int) ([]Entry, error) {
	if !s.grouped {
		if err := s.makeGroup(ctx); err != nil {
			return nil, err
		}
	}
	if s.own != "" {
		entries, err := s.readOwn(ctx, n)
		if err != nil || len(entries) > 0 {
			return entries, err
		}
	}
	if time.Now().After(s.next) {
		entries, err := s.readDead(ctx, n)
		if err != nil || len(entries) > 0 {
			return entries, err
		}
	}
	return s.readNew(ctx, n)
}

// makeGroup makes the group, and the stream, where they are not there. It begins with the first entry: those that came before the
// group did, or that it had not done when it was lost, are for it too.
func (s *Stream) makeGroup(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, shortLimit)
	defer cancel()
	err := s.client.Do(ctx, func(b rueidis.Builder) rueidis.Completed {
		return b.XgroupCreate().Key(inKey).Group(s.config.Group).Id("0").Mkstream().Build()
	}).Error()
	switch {
	case err == nil:
		s.log.Info("consumer group made", "stream", inKey, "group", s.config.Group)
	case !said(err, "BUSYGROUP"):
		return err
	}
	s.grouped = true
	return nil
}

// readNew reads what nobody has read, and waits for it.
func (s *Stream) readNew(ctx context.Context, n int) ([]Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, blockTime+readLimit)
	defer cancel()
	m, err := s.client.Do(ctx, func(b rueidis.Builder) rueidis.Completed {
		return b.Xreadgroup().Group(s.config.Group, s.consumer).Count(int64(n)).Block(blockTime.Milliseconds()).Streams().Key(inKey).Id(">").Build()
	}).ToMessage()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s.parseStreams(m)
}

// parseStreams reads the answer to XREADGROUP about one stream: a map in RESP3, else pairs.
func (s *Stream) parseStreams(m rueidis.RedisMessage) ([]Entry, error) {
	if m.IsMap() {
		streams, err := m.AsMap()
		if err != nil {
			return nil, err
		}
		return s.parseEntries(streams[inKey])
	}
	streams, err := m.ToArray()
	if err != nil || len(streams) != 1 {
		return nil, fmt.Errorf("an answer of %d streams: %w", len(streams), err)
	}
	pair, err := streams[0].ToArray()
	if err != nil || len(pair) != 2 {
		return nil, fmt.Errorf("a stream of %d parts: %w", len(pair), err)
	}
	return s.parseEntries(pair[1])
}

func (s *Stream) parseEntries(m rueidis.RedisMessage) ([]Entry, error) {
	list, err := m.ToArray()
	if err != nil {
		return nil, err
	}
	now := s.now()
	entries := make([]Entry, len(list))
	for i := range list {
		e := &entries[i]
		if err := parseEntry(&list[i], e); err != nil {
			return nil, err
		}
		e.Age = max(time.Duration(now-millis(e.ID))*time.Millisecond, 0)
	}
	return entries, nil
}

// parseEntry reads an ID and the names and values behind it.
func parseEntry(m *rueidis.RedisMessage, e *Entry) error {
	pair, err := m.ToArray()
	if err != nil || len(pair) != 2 {
		return fmt.Errorf("an entry of %d parts: %w", len(pair), err)
	}
	if e.ID, err = pair[0].ToString(); err != nil {
		return err
	}
	texts, err := pair[1].ToArray()
	if err != nil || len(texts)%2 != 0 {
		return fmt.Errorf("%d names and values: %w", len(texts), err)
	}
	e.Tries = 1
	e.Fields = make([]Field, len(texts)/2)
	for i := range e.Fields {
		f := &e.Fields[i]
		if f.Name, err = texts[2*i].ToString(); err != nil {
			return err
		}
		if f.Value, err = texts[2*i+1].ToString(); err != nil {
			return err
		}
	}
	return nil
}

// now is the clock of Redis in Unix milliseconds, as Keep saw it last.
func (s *Stream) now() int64 { return time.Now().UnixMilli() + s.offset.Load() }

// splitID returns the two parts of an entry's ID.
func splitID(id string) (ms, seq uint64) {
	high, low, _ := strings.Cut(id, "-")
	ms, _ = strconv.ParseUint(high, 10, 64)
	seq, _ = strconv.ParseUint(low, 10, 64)
	return ms, seq
}

// millis is the time in an entry's ID, in Unix milliseconds. Whoever chooses an ID with another number there gets an entry that
// is very old, or does not age.
func millis(id string) int64 {
	ms, _ := splitID(id)
	return int64(min(ms, math.MaxInt64))
}

// Done acknowledges entries to the group.
func (s *Stream) Done(ctx context.Context, ids []string) error {
	ctx, cancel := context.WithTimeout(ctx, shortLimit)
	defer cancel()
	err := s.client.Do(ctx, func(b rueidis.Builder) rueidis.Completed {
		return b.Xack().Key(inKey).Group(s.config.Group).Id(ids...).Build()
	}).Error()
	if said(err, "WRONGTYPE") {
		return nil // with the stream its entries are gone
	}
	return err
}

// Refuse writes entries to edged:dead, which in a Cluster is at another node than edged:in: an entry is therefore there before it
// is Done, and if the process dies in between, twice.
func (s *Stream) Refuse(ctx context.Context, entries []Refusal) []error {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	results := s.client.DoMulti(ctx, func(b rueidis.Builder) rueidis.Commands {
		commands := make(rueidis.Commands, 0, len(entries))
		for i := range entries {
			e := &entries[i]
			c := b.Xadd().Key(deadKey).Maxlen().Almost().Threshold(strconv.Itoa(s.config.DeadMax)).Id("*").FieldValue()
			for _, f := range e.Fields {
				c = c.FieldValue(cut(f.Name), cut(f.Value))
			}
			// Last, because of a name that comes twice most readers keep the last.
			commands = append(commands, c.FieldValue("reason", e.Why.Reason.String()).FieldValue("detail", e.Why.Error()).FieldValue("entry", e.ID).Build())
		}
		return commands
	})
	errs := make([]error, len(entries))
	for i := range results {
		if err := results[i].Error(); err != nil {
			errs[i] = fmt.Errorf("write %s: %w", deadKey, err)
		}
	}
	return errs
}

// cut bounds what an entry that could not be handled goes on to take.
func cut(s string) string { return s[:min(len(s), maxPayload)] }

// said reports whether err is Redis' own word, beginning so.
func said(err error, beginning string) bool {
	var e *rueidis.RedisError
	return errors.As(err, &e) && strings.HasPrefix(e.Error(), beginning)
}
