package health

import "edged/nic"

// framing is what the wire carries around each packet beside what interfaces count: preamble, start of frame, FCS and the
// gap between frames. It fills a link, but not the allowance of a cloud.
const framing = 24

// load is what is held against one limit, per second.
type load struct {
	kind  kind
	value float64 // as measured
	wire  float64 // what the limit is about: value, or value with framing
	limit float64 // 0: none
}

// traffic judges the rates against every limit that is set.
func (s *Scorer) traffic(m *minimum, in *Sample, t total, out *Snapshot) {
	c, r := &s.config, &s.rates
	mode := c.LimitMode.PPS
	packets := [...]load{
		plain(kindPPS, direction(mode, r.rxPPS, r.txPPS), c.PPSLimit),
		plain(kindPPSRx, r.rxPPS, c.PPSLimitRx),
		plain(kindPPSTx, r.txPPS, c.PPSLimitTx),
	}
	bytes := [...]load{
		s.bytes(in.Set, t),
		plain(kindBytesRx, r.rxBytes, c.BytesLimitRx),
		plain(kindBytesTx, r.txBytes, c.BytesLimitTx),
	}
	s.limited = false
	for i := range packets {
		s.hold(m, &packets[i], t)
	}
	for i := range bytes {
		s.hold(m, &bytes[i], t)
	}
	out.PPS, out.PPSLimit = tightest(packets[:])
	out.Bytes, out.BytesLimit = tightest(bytes[:])
}

// hold adds the term of one load.
func (s *Scorer) hold(m *minimum, l *load, t total) {
	smooth := s.terms.smoothed(l.kind, l.wire, t.measured)
	if l.limit <= 0 {
		return
	}
	s.limited = true
	if s.rated || t.leaves == 0 {
		s.terms.put(m, l.kind, 1-l.wire/l.limit, 1-smooth/l.limit)
	}
}

// bytes returns the load that limit_mode is about. Its limit is the configured one; else the link speed, which counts for
// each direction and for all that fills the wire. A configured limit of a box that has lost an interface is not more than
// what the links that are left can carry.
func (s *Scorer) bytes(set nic.Set, t total) load {
	c, r := &s.config, &s.rates
	mode := c.LimitMode.Bytes
	l := plain(kindBytes, direction(mode, r.rxBytes, r.txBytes), c.BytesLimit)
	speed := realSpeed(set)
	switch {
	case speed == 0:
	case l.limit == 0:
		if mode == modeSum {
			mode = modeMax
		}
		l.value = direction(mode, r.rxBytes, r.txBytes)
		l.wire = direction(mode, r.rxBytes+framing*r.rxPPS, r.txBytes+framing*r.txPPS)
		l.limit = speed
	case t.lost:
		l.limit = min(l.limit, speed)
	}
	return l
}

// realSpeed returns bytes per second in one direction, 0 where the speed of a leaf that is up means nothing.
func realSpeed(set nic.Set) float64 {
	for i := range set.Leaves {
		if set.Leaves[i].Up && !set.Leaves[i].Physical {
			return 0
		}
	}
	return float64(set.SpeedMbit()) * 1e6 / 8
}

func plain(k kind, value float64, limit int64) load {
	return load{kind: k, value: value, wire: value, limit: float64(limit)}
}

// direction counts as a limit mode says.
func direction(mode string, rx, tx float64) float64 {
	switch mode {
	case modeMax:
		return max(rx, tx)
	case modeRx:
		return rx
	case modeTx:
		return tx
	}
	return rx + tx
}

// tightest returns the load that fills most of its limit; without any limit the first one.
func tightest(loads []load) (value, limit float64) {
	best := &loads[0]
	for i := range loads {
		if l := &loads[i]; l.limit > 0 && (best.limit <= 0 || l.wire*best.limit > best.wire*l.limit) {
			best = l
		}
	}
	return best.value, best.limit
}
