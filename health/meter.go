package health

import (
	"math"
	"time"

	"edged/nic"
)

// patience is how many ticks a value that could not be measured is taken to be what it was.
const patience = 3

// Reading is what one tick read of one interface.
type Reading struct {
	Leaf     nic.Leaf
	Counters nic.Counters
	At       time.Time // right after the counters were read
	Err      error     // Counters are not there
}

// rates are what the leaves carry, per second. Packets are those on the wire as far as that can be told.
type rates struct {
	rxPPS, txPPS, rxBytes, txBytes float64
}

// meter turns the counters of the leaves into rates.
type meter struct {
	shortest, longest time.Duration // an interval outside says nothing about now: the process was stopped, or the box
	mostPPS           float64       // rates above are a counter's fault
	mostBytes         float64
	note              func(msg string, attrs ...any)
	leaves            []baseline
}

// baseline is what is remembered of a leaf from one tick to the next.
type baseline struct {
	leaf     nic.Leaf
	counters nic.Counters
	at       time.Time // of counters; zero: there are none
	rates    rates
	known    bool // rates were measured once
	unknown  int  // ticks since they were measured, or since the leaf was first seen
	missing  bool // the device missed more packets in the last interval than it may
	narrow   bool // said that its counters have 32 bits
	absurd   bool // said that its rates cannot be
	everUp   bool
	present  bool // in the sample that is being taken in
}

// total is what a sample says of all leaves.
type total struct {
	rates
	leaves   int
	known    int  // leaves whose rates are in the sum
	measured bool // at least one of them is of this interval
	blind    int  // leaves that are up and whose rates have been unknown for too long
	missing  bool // a leaf misses packets
	lost     bool // a leaf was up and is not any more
}

// A frame of least size takes 84 bytes of the wire, so this many a second fit into 400 Gb/s.
const (
	fastestBytes = 400e9 / 8
	fastestPPS   = fastestBytes / 84
)

func newMeter(c Config, note func(string, ...any)) meter {
	pps := max(c.PPSLimit, c.PPSLimitRx, c.PPSLimitTx)
	bytes := max(c.BytesLimit, c.BytesLimitRx, c.BytesLimitTx)
	return meter{
		shortest:  c.Interval / 5,
		longest:   3 * c.Interval,
		mostPPS:   4 * max(float64(pps), fastestPPS),
		mostBytes: 4 * max(float64(bytes), fastestBytes),
		note:      note,
	}
}

// take takes in one reading of every leaf; leaves that are not among them are forgotten.
func (m *meter) take(readings []Reading) total {
	for i := range m.leaves {
		m.leaves[i].present = false
	}
	for i := range readings {
		b := m.find(&readings[i].Leaf, readings)
		if b.take(m, &readings[i]) {
			b.unknown = 0
		} else {
			b.unknown++
		}
	}
	kept := m.leaves[:0]
	for i := range m.leaves {
		if m.leaves[i].present {
			kept = append(kept, m.leaves[i])
		}
	}
	m.leaves = kept
	return m.total()
}

// find returns what is remembered of a leaf: by its index, because names change, else by its name, because an interface
// that was made again has a new index and new counters but likely the same traffic.
func (m *meter) find(leaf *nic.Leaf, readings []Reading) *baseline {
	for i := range m.leaves {
		if m.leaves[i].leaf.Index == leaf.Index {
			return &m.leaves[i]
		}
	}
	for i := range m.leaves {
		b := &m.leaves[i]
		if b.leaf.Name == leaf.Name && !b.present && !indexIn(b.leaf.Index, readings) {
			return b
		}
	}
	m.leaves = append(m.leaves, baseline{leaf: *leaf, unknown: -1})
	return &m.leaves[len(m.leaves)-1]
}

func indexIn(index int, readings []Reading) bool {
	for i := range readings {
		if readings[i].Leaf.Index == index {
			return true
		}
	}
	return false
}

// take measures the interval that ends with r, and says whether that could be done.
func (b *baseline) take(m *meter, r *Reading) bool {
	b.present = true
	if b.leaf.Index != r.Leaf.Index || b.leaf.Perm != r.Leaf.Perm {
		b.at = time.Time{}
	}
	b.leaf = r.Leaf
	b.everUp = b.everUp || r.Leaf.Up
	if r.Err != nil {
		return false
	}
	before, since := b.counters, b.at
	b.counters, b.at = r.Counters, r.At
	if since.IsZero() {
		return false
	}
	dt := r.At.Sub(since)
	if dt < m.shortest || dt > m.longest {
		return false
	}
	return b.measure(m, before, dt.Seconds())
}

// measure computes the rates from the counters as they were and are.
func (b *baseline) measure(m *meter, before nic.Counters, seconds float64) bool {
	now := &b.counters
	d, ok := difference(&before, now)
	if !ok {
		return false // a counter went back: the device was reset
	}
	if !b.narrow && (now.RxBytes < before.RxBytes || now.TxBytes < before.TxBytes) {
		b.narrow = true
		m.note("interface counts bytes in 32 bits: its load cannot be told above this rate", "nic", b.leaf.Name, "bytes_per_second", int64(math.MaxUint32/seconds))
	}
	got := rates{
		rxPPS:   wirePackets(d.RxPackets, d.RxBytes, b.leaf.MTU) / seconds,
		txPPS:   wirePackets(d.TxPackets, d.TxBytes, b.leaf.MTU) / seconds,
		rxBytes: float64(d.RxBytes) / seconds,
		txBytes: float64(d.TxBytes) / seconds,
	}
	if max(got.rxPPS, got.txPPS) > m.mostPPS || max(got.rxBytes, got.txBytes) > m.mostBytes {
		if !b.absurd {
			b.absurd = true
			m.note("interface claims an impossible rate", "nic", b.leaf.Name, "bytes_per_second", max(got.rxBytes, got.txBytes))
		}
		return false
	}
	b.absurd = false
	b.rates, b.known = got, true
	missed := float64(d.RxMissed) + float64(d.RxFifo)
	b.missing = missed > 0.001*(float64(d.RxPackets)+missed)
	return true
}

func (m *meter) total() total {
	t := total{leaves: len(m.leaves)}
	for i := range m.leaves {
		b := &m.leaves[i]
		if b.known && b.unknown <= patience {
			t.rxPPS += b.rates.rxPPS
			t.txPPS += b.rates.txPPS
			t.rxBytes += b.rates.rxBytes
			t.txBytes += b.rates.txBytes
			t.known++
			t.measured = t.measured || b.unknown == 0
			t.missing = t.missing || b.unknown == 0 && b.missing
		}
		if b.leaf.Up && b.unknown > patience {
			t.blind++
		}
		t.lost = t.lost || b.everUp && !b.leaf.Up
	}
	return t
}

// difference returns what was counted between two readings. ok is false where a counter went back.
func difference(before, now *nic.Counters) (d nic.Counters, ok bool) {
	ok = true
	sub := func(before, now uint64) uint64 {
		n, fine := counted(before, now)
		ok = ok && fine
		return n
	}
	d.RxPackets = sub(before.RxPackets, now.RxPackets)
	d.TxPackets = sub(before.TxPackets, now.TxPackets)
	d.RxBytes = sub(before.RxBytes, now.RxBytes)
	d.TxBytes = sub(before.TxBytes, now.TxBytes)
	d.RxMissed = sub(before.RxMissed, now.RxMissed)
	d.RxFifo = sub(before.RxFifo, now.RxFifo)
	return d, ok
}

// counted returns how far a counter went. Back from the last quarter of 32 bits to the first one it has wrapped, otherwise
// it was reset, and ok is false.
func counted(before, now uint64) (n uint64, ok bool) {
	switch {
	case now >= before:
		return now - before, true
	case before > 0xC0000000 && before <= math.MaxUint32 && now < 0x40000000:
		return now + 1<<32 - before, true
	}
	return 0, false
}

// wirePackets estimates how many packets passed the wire: with TSO, GSO or hardware GRO the kernel counts one for up to 64
// KiB, but no packet on the wire is larger than the MTU and an Ethernet header.
func wirePackets(packets, bytes uint64, mtu int) float64 {
	if mtu <= 0 {
		return float64(packets)
	}
	largest := uint64(mtu) + 14
	least := bytes / largest
	if bytes%largest != 0 {
		least++
	}
	return float64(max(packets, least))
}
