package health

import (
	"time"

	"edged/nic"
)

// Sample is all that one tick knows.
type Sample struct {
	At       time.Time
	Set      nic.Set
	Resolved bool      // Set is what the kernel said; false: it could not be asked yet
	NICs     []Reading // of Set's leaves
	Inputs   Inputs
	Signals  Signals
	Draining bool
}

// Signals is what the kernel says of the box beside traffic. A zero field is unknown, and its term is skipped.
type Signals struct {
	SystemFiles  Gauge  // open files of the whole system
	TCPMem       Gauge  // pages of TCP memory against the mark at which pressure begins
	Memory       Gauge  // bytes of the box
	CgroupMemory Gauge  // bytes of the process's cgroup that cannot be reclaimed
	Conntrack    Gauge  // connections in the tracking table
	ReactorCPU   Gauge  // share of a CPU that the busiest reactor took, against 1
	Softirq      Gauge  // share of softirqs in the time of the CPU that has most of them, against 1
	MemoryStall  Gauge  // share of the time in which all work waited for memory, against 1
	TCPPressure  Events // TCP was short of memory
	Accept       Events // connections were refused because a queue was full
	Softnet      Events // packets were dropped because a CPU's backlog was full
}

// Gauge is how much of something is used. Limit 0: unknown or without limit.
type Gauge struct{ Used, Limit float64 }

// Events is a count that only grows, except when it starts again.
type Events struct {
	Total uint64
	Known bool
}

// Scorer turns samples into snapshots. It does no I/O, reads no clock, and allocates nothing once it has seen its leaves and
// its Snapshot has room for the terms. It is for one goroutine.
type Scorer struct {
	config  Config
	meter   meter
	terms   terms
	tick    uint64
	first   time.Time // of the first sample
	warm    bool
	blind   bool      // traffic is limited and cannot be measured
	asked   int       // ticks for which the interfaces have not been known
	seen    bool      // there was a leaf once
	away    time.Time // since when no Manager is there; zero: one is
	rates   rates     // the last that could be told
	rated   bool      // rates were told once
	scored  Snapshot  // of the last tick, as if the state were Up
	limited bool      // a limit on traffic is in force
	resumed bool      // scored is still what another process found
}

// NewScorer returns a Scorer for a valid configuration. note is told what an operator should know; it may be nil.
func NewScorer(c Config, note func(msg string, attrs ...any)) *Scorer {
	if note == nil {
		note = func(string, ...any) {}
	}
	return &Scorer{config: c, meter: newMeter(c, note), terms: terms{note: note}}
}

// Score takes in one tick's sample and fills out, whose Terms it reuses; NICs stays as it is.
func (s *Scorer) Score(in *Sample, out *Snapshot) {
	if s.tick++; s.tick == 1 {
		s.first = in.At
	}
	t := s.meter.take(in.NICs)
	s.seen = s.seen || t.leaves > 0
	if s.asked++; in.Resolved {
		s.asked = 0
	}
	if s.resumed = s.resumed && t.known == 0 && t.leaves > 0 && t.blind == 0; s.resumed {
		s.goOn(in, out)
		return
	}
	if t.known > 0 {
		s.rates, s.rated, s.warm = t.rates, true, true
	}
	unknown := t.blind > 0 || s.asked > patience
	if (unknown || in.Resolved && t.leaves == 0) && in.At.Sub(s.first) >= s.config.Interval/2 {
		s.warm = true // there is nothing to wait for
	}
	next := Snapshot{
		Terms: out.Terms[:0], Tick: s.tick, Links: in.Inputs.Links, Capacity: in.Inputs.Capacity,
		RxPPS: s.rates.rxPPS, TxPPS: s.rates.txPPS, RxBytes: s.rates.rxBytes, TxBytes: s.rates.txBytes,
		NICs: out.NICs, NICSource: in.Set.Source,
	}
	s.judge(in, t, &next)
	s.blind = unknown && s.limited
	s.scored = next
	s.state(in.At, in.Set, in.Resolved, in.Draining, &next)
	*out = next
}

// resume begins with what another process found on this box.
func (s *Scorer) resume(last Snapshot) {
	s.warm, s.resumed, s.scored = true, true, last
}

// goOn is Score while there is nothing newer than what another process found.
func (s *Scorer) goOn(in *Sample, out *Snapshot) {
	s.scored.Tick, s.scored.Links, s.scored.Capacity = s.tick, in.Inputs.Links, in.Inputs.Capacity
	s.Restate(in.At, in.Set, in.Resolved, in.Draining, out)
}

// Restate fills out with the last tick's findings in the state that holds now, which is how a change is told between two
// ticks; NICs stays as it is.
func (s *Scorer) Restate(at time.Time, set nic.Set, resolved, draining bool, out *Snapshot) {
	names := out.NICs
	*out = s.scored
	out.NICs, out.NICSource = names, set.Source
	s.state(at, set, resolved, draining, out)
}

// state lets the state of the box win over the terms.
func (s *Scorer) state(at time.Time, set nic.Set, resolved, draining bool, out *Snapshot) {
	out.At, out.State = at, Up
	switch {
	case draining:
		out.State, out.Reason = Draining, Draining
	case s.down(set, resolved):
		out.State, out.Reason = Down, NICDown
	case !s.warm:
		out.State, out.Reason = Warming, Warming
	case s.blind:
		out.Reason = NICUnknown
	default:
		return
	}
	out.Availability, out.Raw = 0, 0
}

// down says whether no interface can carry traffic. A box that never had one, where none was asked for, is not down: its
// clients are on the box itself.
func (s *Scorer) down(set nic.Set, resolved bool) bool {
	for i := range set.Leaves {
		if set.Leaves[i].Up {
			return false
		}
	}
	return len(set.Leaves) > 0 || resolved && (s.seen || !s.config.auto())
}

// judge finds the smallest of the terms.
func (s *Scorer) judge(in *Sample, t total, out *Snapshot) {
	m := minimum{raw: 1, smooth: 1, reason: -1, terms: out.Terms}
	s.traffic(&m, in, t, out)
	s.gateway(&m, in)
	s.box(&m, in, t)
	out.Terms, out.Raw, out.Availability = m.terms, m.raw, quantised(m.smooth)
	switch {
	case m.reason >= 0:
		out.Reason = kindNames[m.reason]
	case s.limited && len(m.terms) > 0:
		out.Reason = m.terms[0].Name
	default:
		out.Reason = NoLimit
	}
}

// gateway judges what the gateway says of itself.
func (s *Scorer) gateway(m *minimum, in *Sample) {
	on, i := s.config.Terms, &in.Inputs
	if on.Links {
		s.terms.gauge(m, kindLinks, Gauge{float64(i.Links), float64(i.Capacity)})
	}
	if !i.ManagersConfigured || i.ManagerUp {
		s.away = time.Time{}
	} else if s.away.IsZero() {
		s.away = in.At
	}
	if on.Manager && i.ManagersConfigured {
		left := 1.0
		if !s.away.IsZero() && in.At.Sub(s.away) >= i.ManagerGrace {
			left = 0
		}
		s.terms.put(m, kindManager, left, left)
	}
	if on.Fds {
		s.terms.gauge(m, kindFds, fuller(Gauge{float64(i.Files), float64(i.FilesLimit)}, in.Signals.SystemFiles))
	}
}

// box judges what the kernel says.
func (s *Scorer) box(m *minimum, in *Sample, t total) {
	on, k, terms := s.config.Terms, &in.Signals, &s.terms
	if on.TCPMem {
		terms.gauge(m, kindTCPMem, k.TCPMem)
		terms.cap(m, kindTCPPressure, capTrouble, terms.increased(kindTCPPressure, k.TCPPressure))
	}
	if g := fuller(k.Memory, k.CgroupMemory); on.Memory && g.Limit > 0 {
		left := (g.Limit - g.Used) / (g.Limit * memoryTail)
		terms.put(m, kindMemory, left, left)
	}
	if on.Accept {
		terms.cap(m, kindAccept, capDrops, terms.increased(kindAccept, k.Accept))
	}
	if on.Softnet {
		terms.cap(m, kindSoftnet, capDrops, terms.increased(kindSoftnet, k.Softnet))
	}
	if on.NICDrops {
		terms.cap(m, kindNICDrops, capDrops, t.missing)
	}
	if on.Conntrack {
		terms.gauge(m, kindConntrack, k.Conntrack)
	}
	if on.ReactorCPU {
		if g := k.ReactorCPU; g.Limit > 0 {
			used := g.Used / g.Limit
			terms.put(m, kindReactorCPU, 1-used, 1-terms.smoothed(kindReactorCPU, used, true))
		}
		terms.cap(m, kindSoftirq, capTrouble, k.Softirq.Limit > 0 && k.Softirq.Used/k.Softirq.Limit > softirqFull)
	}
	if on.PSI {
		terms.cap(m, kindPSI, capTrouble, k.MemoryStall.Limit > 0 && k.MemoryStall.Used/k.MemoryStall.Limit > stallLimit)
	}
}

// fuller returns the gauge with less room left; one without limit has all of it.
func fuller(a, b Gauge) Gauge {
	switch {
	case a.Limit <= 0:
		return b
	case b.Limit <= 0 || a.Used/a.Limit >= b.Used/b.Limit:
		return a
	}
	return b
}
