package queue

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"edged/batch"
	"edged/bus"
	"edged/offline"
	"edged/redisconn"
	"edged/registry"
)

const (
	drainLimit = 5 * time.Second // for what was read when the service is to stop

	// Between reads that fail; doubles.
	firstReadPause = 20 * time.Millisecond
	readPause      = time.Second
)

// Options is what a Service works with. All are needed but Logger.
type Options struct {
	Config    Config
	Source    Source
	Offline   *offline.Log
	Reader    *registry.Reader
	Publisher *bus.Publisher
	Logger    *slog.Logger // nil: none
}

// Service takes messages from a Source and gets them to the gateways of their users.
type Service struct {
	// Static after New.
	config    Config
	source    Source
	offline   *offline.Log
	reader    *registry.Reader
	publisher *bus.Publisher
	log       *slog.Logger
	stages    [3]*stage
	links     [3]chan []*item // into each stage

	window  window
	router  router // owned by the second stage
	running sync.WaitGroup
	ended   atomic.Bool
	readErr atomic.Pointer[error]
	count   counters
}

// item is an entry on its way through the service. It belongs to one stage at a time.
type item struct {
	Entry
	Message
	size int       // bytes, in the window
	read time.Time // when
	key  key       // items of one key keep their order

	version uint64    // once it is stored; 0: it is not
	sent    []string  // gateways that got it, while it must be sent to others once more
	outcome outcome   // once it has one
	why     *BadError // with Dead
	written bool      // it is in edged:dead
}

// expired reports whether nobody wants the message any more, and otherwise how long it is wanted; 0: for ever.
func (i *item) expired(now time.Time) (left time.Duration, gone bool) {
	if i.TTL == 0 {
		return 0, false
	}
	left = i.TTL - i.Age - now.Sub(i.read)
	return left, left <= 0
}

// New returns a Service that does nothing before Run. The settings must be valid.
func New(o Options) *Service {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		config: o.Config, source: o.Source, offline: o.Offline, reader: o.Reader, publisher: o.Publisher, log: o.Logger,
		window: newWindow(o.Config.InFlight),
	}
	s.stages = [3]*stage{{name: "store", work: s.store}, {name: "deliver", work: s.deliver}, {name: "finish", work: s.finish}}
	for i := range s.links {
		s.links[i] = make(chan []*item, 1)
	}
	return s
}

// Run works until ctx ends, and then for at most 5 s on what it has read. What is not done by then comes again elsewhere.
func (s *Service) Run(ctx context.Context) {
	defer s.ended.Store(true)
	hard, cancel := context.WithCancel(context.Background())
	defer cancel()
	for i, st := range s.stages {
		s.running.Go(func() {
			st.run(hard, s.links[i])
			if i+1 < len(s.links) {
				close(s.links[i+1])
			}
		})
	}
	s.read(ctx, hard)
	close(s.links[0])
	limit := time.AfterFunc(drainLimit, cancel)
	defer limit.Stop()
	s.running.Wait()
}

// read feeds the first stage until ctx ends. A read under way is not given up: what it brings would lie about until another
// process takes this one for dead.
func (s *Service) read(ctx, hard context.Context) {
	pause := firstReadPause
	for {
		n := s.window.room(ctx, s.config.Batch)
		if n == 0 {
			return
		}
		entries, err := s.source.Read(hard, n)
		s.judgeRead(err)
		if err != nil {
			select {
			case <-time.After(jitter(pause)):
			case <-ctx.Done():
			}
			pause = min(2*pause, readPause)
			continue
		}
		pause = firstReadPause
		if items := s.window.add(entries); len(items) > 0 {
			s.count.read.Add(uint64(len(items)))
			s.parse(items)
			s.pass(hard, 0, items)
		}
	}
}

// judgeRead publishes how reading fares. That Redis is not there has a line of its own in the log already.
func (s *Service) judgeRead(err error) {
	if err == nil {
		s.readErr.Store(nil)
		return
	}
	s.count.readErrors.Add(1)
	old := s.readErr.Swap(&err)
	if !errors.Is(err, redisconn.ErrNotConnected) && (old == nil || (*old).Error() != err.Error()) {
		s.log.Warn("entries cannot be read", "err", err)
	}
}

// pass hands items to a stage, unless ctx ends first: then they stay with the Source.
func (s *Service) pass(ctx context.Context, to int, items []*item) {
	if len(items) == 0 {
		return
	}
	select {
	case s.links[to] <- items:
	case <-ctx.Done():
	}
}

// parse finds out what entries say.
func (s *Service) parse(items []*item) {
	now := time.Now()
	for _, i := range items {
		i.read = now
		m, err := Parse(i.Fields, s.config.PayloadMax)
		var why *BadError
		switch {
		case errors.As(err, &why):
			i.dead(why)
			continue
		case i.Tries > maxTries:
			i.dead(bad(TooManyAttempts, "entry", "was read %d times, and never done", i.Tries))
			continue
		}
		if m.MsgID == "" && (m.Offline || m.Ack == batch.AckRequired) {
			m.MsgID = i.ID // the same if it comes again
		}
		i.Message, i.key = m, keyOf(&m)
		if _, gone := i.expired(now); gone {
			i.outcome = Expired
		}
	}
}

// maxTries is how often an entry is read before it is taken for what ends the processes that read it.
const maxTries = 32

func (i *item) dead(why *BadError) { i.outcome, i.why = Dead, why }

// key is the same for messages that must not overtake each other: those for one user, for one room, for everyone.
type key struct {
	kind batch.TargetKind
	name string
}

func keyOf(m *Message) key {
	switch m.To.Kind {
	case batch.TargetRoom, batch.TargetEveryone:
		return key{m.To.Kind, m.To.Room}
	}
	return key{batch.TargetUser, m.To.User}
}

// store is the first stage: what is to be kept goes into the logs, and gets its version.
func (s *Service) store(ctx context.Context, items []*item) (failed []*item, err error) {
	var list []offline.Message
	var at []*item
	for _, i := range items {
		if i.outcome == 0 && i.Offline {
			left, _ := i.expired(time.Now())
			if i.TTL > 0 {
				left = max(left, time.Millisecond)
			}
			list = append(list, offline.Message{User: i.To.User, MsgID: i.MsgID, Payload: i.Payload, Ack: i.Ack, AllowGzip: !i.NoGzip, TTL: left})
			at = append(at, i)
		}
	}
	lost := make(map[*item]bool)
	if len(list) > 0 {
		limited, cancel := context.WithTimeout(ctx, readLimit)
		defer cancel()
		for k, r := range s.offline.Store(limited, list) {
			switch i := at[k]; {
			case r.Err == nil:
				i.version = r.Version
			case isFinal(r.Err):
				i.dead(bad(Clash, fieldTo, "%v", r.Err))
			default:
				lost[i], err = true, r.Err
			}
		}
	}
	on := items[:0:0]
	for _, i := range items {
		if lost[i] {
			failed = append(failed, i)
		} else {
			on = append(on, i)
		}
	}
	s.count.retries.Add(uint64(len(failed)))
	s.pass(ctx, 1, on)
	return failed, err
}

// isFinal reports whether a message can never be stored.
func isFinal(err error) bool {
	var clash *offline.ClashError
	return errors.As(err, &clash) || errors.Is(err, offline.ErrUser) || errors.Is(err, offline.ErrMsgID) ||
		errors.Is(err, offline.ErrPayload) || errors.Is(err, offline.ErrAck)
}

// finish is the last stage: the Source is told what is done.
func (s *Service) finish(ctx context.Context, items []*item) (failed []*item, err error) {
	err = s.refuse(ctx, items)
	ids := make([]string, 0, len(items))
	done := items[:0:0]
	for _, i := range items {
		if i.outcome == Dead && !i.written {
			failed = append(failed, i)
			continue
		}
		ids = append(ids, i.ID)
		done = append(done, i)
	}
	if len(ids) > 0 {
		if e := s.source.Done(ctx, ids); e != nil {
			s.count.retries.Add(uint64(len(items)))
			return items, e
		}
	}
	s.count.done(done, time.Now())
	s.window.remove(done)
	s.count.retries.Add(uint64(len(failed)))
	return failed, err
}

// refuse puts entries that can never be handled where a person finds them.
func (s *Service) refuse(ctx context.Context, items []*item) (err error) {
	var list []Refusal
	var at []*item
	for _, i := range items {
		if i.outcome == Dead && !i.written {
			list = append(list, Refusal{i.Entry, i.why})
			at = append(at, i)
		}
	}
	if len(list) == 0 {
		return nil
	}
	for k, e := range s.source.Refuse(ctx, list) {
		if e != nil {
			err = e
			continue
		}
		at[k].written = true
		if s.count.tell(at[k].why.Reason, time.Now()) {
			s.log.Warn("entry refused", "entry", at[k].ID, "reason", at[k].why.Reason.String(), "detail", at[k].why.Error())
		}
	}
	return err
}
