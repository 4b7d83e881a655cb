package health

import (
	"log/slog"
	"time"
)

// Reader is a reader of signals for tests outside.
type Reader struct{ r *reader }

func NewReader(on Terms, root string, note func(msg string, attrs ...any)) Reader {
	return Reader{newReader(on, root, note)}
}

func (r Reader) Read(now time.Time, reactors []int) (s Signals) {
	r.r.read(now, reactors, &s)
	return s
}

func (r Reader) Close() { r.r.close() }

// Sampler is what a Monitor does each interval, without the Monitor.
type Sampler struct{ s *sampler }

// NewSampler returns one of a Source, or of this box.
func NewSampler(c Config, source Source, root string) (Sampler, error) {
	if source == nil {
		var err error
		if source, err = openBox(); err != nil {
			return Sampler{}, err
		}
	}
	log := slog.New(slog.DiscardHandler)
	s := &sampler{config: c, source: source, log: log, signals: newReader(c.Terms, root, log.Warn), scorer: NewScorer(c, nil)}
	s.resolve()
	return Sampler{s}, nil
}

// Tick samples as if no change of interfaces was to be looked for.
func (s Sampler) Tick(now time.Time) *Snapshot {
	s.s.age = 0
	return s.s.tick(now, false, false)
}

func (s Sampler) Close() error { return s.s.close() }
