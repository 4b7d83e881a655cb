package health

import "math"

// kind numbers the terms in the order in which ties are decided.
type kind int

const (
	kindPPS kind = iota
	kindPPSRx
	kindPPSTx
	kindBytes
	kindBytesRx
	kindBytesTx
	kindLinks
	kindManager
	kindFds
	kindTCPMem
	kindTCPPressure
	kindMemory
	kindAccept
	kindSoftnet
	kindNICDrops
	kindConntrack
	kindReactorCPU
	kindSoftirq
	kindPSI
	kinds
)

var kindNames = [kinds]string{
	"pps", "pps_rx", "pps_tx", "bytes", "bytes_rx", "bytes_tx", "links", "manager", "fds", "tcp_mem", "tcp_pressure", "memory",
	"accept", "softnet", "nic_drops", "conntrack", "reactor_cpu", "softirq", "psi",
}

// How the parts weigh.
const (
	smoothing   = 0.3 // weight of the last interval in the average
	holdTicks   = 3   // how long a cap holds after its last event
	capTrouble  = 0.2 // memory or CPU is short
	capDrops    = 0.3 // packets or connections are lost
	stallLimit  = 0.05
	softirqFull = 0.8
	memoryTail  = 0.2 // the part of the memory that counts: the rest is there to be used
	step        = 0.01
)

// minimum is the smallest of the terms of one tick.
type minimum struct {
	raw, smooth float64
	reason      kind
	terms       []Term
}

// terms remembers of each term what the next tick needs.
type terms struct {
	note    func(msg string, attrs ...any)
	average [kinds]average
	last    [kinds]value
	caps    [kinds]hold
	events  [kinds]Events
}

type average struct {
	value float64
	has   bool
}

// value is what a term was when it could last be told.
type value struct {
	raw, smooth float64
	age         int // ticks since
	has         bool
}

// hold is a cap that is in force for some more ticks.
type hold struct {
	left int
	on   bool // in force at the last tick
}

// smoothed returns the larger of a rate and its average, which moves only with a new measurement.
func (t *terms) smoothed(k kind, rate float64, measured bool) float64 {
	a := &t.average[k]
	switch {
	case !finite(rate):
		return rate
	case !a.has:
		a.value, a.has = rate, true
	case measured:
		a.value += smoothing * (rate - a.value)
	}
	return max(rate, a.value)
}

// put adds a term by its raw and its smoothed value. What is not a number is unknown: the term stays what it was, for as
// long as patience allows.
func (t *terms) put(m *minimum, k kind, raw, smooth float64) {
	last := &t.last[k]
	if finite(raw) && finite(smooth) {
		*last = value{raw: clamp(raw), smooth: clamp(smooth), has: true}
	} else {
		if last.age == 0 {
			t.note("term is not a number", "term", kindNames[k])
		}
		if last.age++; !last.has || last.age > patience {
			return
		}
	}
	m.raw = min(m.raw, last.raw)
	if last.smooth < m.smooth {
		m.smooth, m.reason = last.smooth, k
	}
	m.terms = append(m.terms, Term{kindNames[k], last.smooth})
}

// gauge adds 1 − used/limit.
func (t *terms) gauge(m *minimum, k kind, g Gauge) {
	if g.Limit > 0 {
		left := 1 - g.Used/g.Limit
		t.put(m, k, left, left)
	}
}

// cap adds a term that is 1, but level after an event and for holdTicks more ticks.
func (t *terms) cap(m *minimum, k kind, level float64, event bool) {
	h := &t.caps[k]
	if event {
		h.left = holdTicks + 1
	}
	value := 1.0
	if h.left > 0 {
		value = level
		h.left--
	}
	t.put(m, k, value, value)
	if on := value < 1; on != h.on {
		h.on = on
		t.note("cap on availability", "term", kindNames[k], "holds", on, "cap", level)
	}
}

// increased says whether events were counted since the last tick. A counter that went back was reset.
func (t *terms) increased(k kind, e Events) bool {
	last := t.events[k]
	if !e.Known {
		return false
	}
	t.events[k] = e
	return last.Known && e.Total > last.Total
}

func clamp(v float64) float64 { return min(max(v, 0), 1) }

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// quantised rounds down to a step. The small addend keeps a whole number of steps from falling to the one below.
func quantised(v float64) float64 { return math.Floor(v/step+1e-9) / (1 / step) }
