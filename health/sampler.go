package health

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	"edged/nic"
)

// lookAgain is after how many ticks the interfaces are resolved even if nobody told of a change: their names are few, but
// a subscription may lose a message.
const lookAgain = 6

// sampler gathers what a tick needs. It is owned by the Monitor's goroutine.
type sampler struct {
	config  Config
	source  Source
	inputs  func() Inputs
	log     *slog.Logger
	signals *reader
	scorer  *Scorer

	sample  Sample   // reused
	names   []string // of the leaves; replaced, never changed, because snapshots share it
	age     int      // ticks since the interfaces were resolved
	denied  bool     // said that they cannot be
	unread  bool     // said that counters cannot be read
	missing []string // said that these are not there
}

// tick reads everything and scores it. polling says that nobody tells of changes.
func (s *sampler) tick(now time.Time, draining, polling bool) *Snapshot {
	if s.age++; polling || !s.sample.Resolved || s.age >= lookAgain {
		s.resolve()
	}
	if gone := s.read(); gone {
		s.resolve()
		s.read()
	}
	s.sample.At, s.sample.Draining = now, draining
	if s.inputs != nil {
		s.sample.Inputs = s.inputs()
	}
	s.signals.read(now, s.sample.Inputs.ReactorThreads, &s.sample.Signals)
	out := &Snapshot{NICs: s.names, Terms: make([]Term, 0, kinds)}
	s.scorer.Score(&s.sample, out)
	return out
}

// restate returns the last tick's findings in the state that holds now.
func (s *sampler) restate(now time.Time, draining bool) *Snapshot {
	out := &Snapshot{NICs: s.names}
	s.scorer.Restate(now, s.sample.Set, s.sample.Resolved, draining, out)
	return out
}

// resolve finds the interfaces. One that cannot be asked for leaves things as they were.
func (s *sampler) resolve() {
	s.age = 0
	set, err := s.source.Resolve(s.config.NICs)
	if err != nil {
		if !s.denied {
			s.log.Warn("interfaces cannot be listed", "error", err)
		}
		s.denied = true
		return
	}
	s.denied = false
	s.sample.Set, s.sample.Resolved = set, true
	names := make([]string, len(set.Leaves))
	for i := range set.Leaves {
		names[i] = set.Leaves[i].Name
	}
	if !slices.Equal(names, s.names) {
		s.log.Info("traffic is measured", "nics", names, "source", set.Source, "speed_mbit", set.SpeedMbit(),
			"pps_limit", s.config.PPSLimit, "bytes_limit", s.config.BytesLimit)
	}
	s.names = names
	if !slices.Equal(set.Missing, s.missing) && len(set.Missing) > 0 {
		s.log.Warn("configured interfaces are not there", "nics", set.Missing)
	}
	s.missing = set.Missing
}

// read reads the counters of all leaves, and says whether one of them is not there any more.
func (s *sampler) read() (gone bool) {
	s.sample.NICs = s.sample.NICs[:0]
	var failed error
	for _, leaf := range s.sample.Set.Leaves {
		counters, err := s.source.Read(leaf.Index, leaf.Name)
		s.sample.NICs = append(s.sample.NICs, Reading{Leaf: leaf, Counters: counters, At: time.Now(), Err: err})
		if errors.Is(err, nic.ErrGone) {
			gone = true
		} else if err != nil {
			failed = err
		}
	}
	if unread := failed != nil; unread != s.unread {
		s.unread = unread
		if unread {
			s.log.Warn("interface counters cannot be read", "error", failed)
		} else {
			s.log.Info("interface counters can be read again")
		}
	}
	return gone
}

func (s *sampler) close() error {
	s.signals.close()
	return s.source.Close()
}
