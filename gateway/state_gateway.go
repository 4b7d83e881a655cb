package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"edged/handover"
	"edged/offline"
	"edged/relay"
)

// The records of the section "gateway".
const (
	recordSelf     = 1 // epoch (u64), reactors (u16), capacity (u32), draining, id, advertise
	recordListener = 2 // in the order of the links' numbers: is it configured, name, address, where it really is, ping interval (u64, ns)
	recordSources  = 3 // the listener's number of each of netpoll's sources (u8)
	recordPassed   = 4 // of sockets that a supervisor has passed: name, descriptors (u32 each)
	recordPoint    = 5 // up to where a device has everything: user, device, version (u64)
	recordCounters = 6 // the counters of ownCounters
	recordStream   = 7 // shard (u16), the Manager's address, counters of relay.StreamStats
	recordInlet    = 8 // counters of relay.InletStats, in the order of the inlets
)

// ownCounters are those that no shard has.
type ownCounters struct{ Malformed, SyncsDropped uint64 }

// appendState appends the section "gateway". Everything stands still but the goroutine that stores how far devices have
// everything: of what it has under way the newest word is written, and may be stored twice.
func (g *Gateway) appendState(b []byte, used *[maxListeners + 1]bool) []byte {
	b = g.appendSelf(b, used)
	if known := g.sources.Load(); known != nil {
		b = record(b, recordSources, func(b []byte) []byte { return append(b, *known...) })
	}
	for name, fds := range g.passed {
		b = record(b, recordPassed, func(b []byte) []byte {
			b = text(b, name)
			for _, fd := range fds {
				b = u32(b, uint32(fd))
			}
			return b
		})
	}
	return g.appendStats(g.appendPoints(b))
}

// appendSelf appends who the gateway is and its listeners. used says of which there are links; nil: that is not known.
func (g *Gateway) appendSelf(b []byte, used *[maxListeners + 1]bool) []byte {
	b = record(b, recordSelf, func(b []byte) []byte {
		b = u32(u16(u64(b, g.epoch), uint16(len(g.shards))), uint32(g.capacity))
		return text(text(yesNo(b, g.draining.Load()), g.id), g.advertise)
	})
	for i, l := range g.listeners {
		if i >= len(g.addresses) && used != nil && !used[i] {
			l.Name = "" // nobody's any more; the numbers behind it stay
		}
		b = record(b, recordListener, func(b []byte) []byte {
			bound := ""
			if i < len(g.addresses) {
				bound = g.addresses[i]
			}
			b = text(text(text(yesNo(b, i < len(g.addresses)), l.Name), l.Address), bound)
			return u64(b, uint64(l.PingInterval))
		})
	}
	return b
}

func (g *Gateway) appendPoints(b []byte) []byte {
	if g.syncs == nil {
		return b
	}
	g.syncs.each(func(p offline.Point) {
		b = record(b, recordPoint, func(b []byte) []byte { return u64(text(text(b, p.User), p.Device), p.Version) })
	})
	return b
}

func (g *Gateway) appendStats(b []byte) []byte {
	own := ownCounters{Malformed: g.malformed.Load()}
	if g.syncs != nil {
		own.SyncsDropped = g.syncs.dropped.Load()
	}
	b = record(b, recordCounters, func(b []byte) []byte { return appendCounters(b, &own) })
	st := g.relayStats()
	for i := range st.Streams {
		x := &st.Streams[i]
		b = record(b, recordStream, func(b []byte) []byte {
			return appendCounters(text(u16(b, uint16(x.Shard)), x.Address), x)
		})
	}
	for i := range st.Inlets {
		b = record(b, recordInlet, func(b []byte) []byte { return appendCounters(b, &st.Inlets[i]) })
	}
	return b
}

// past is what a predecessor was, read from its state; nothing of it is taken over yet.
type past struct {
	epoch         uint64
	reactors      int
	capacity      int
	draining      bool
	id, advertise string

	listeners []pastListener
	sources   []byte
	passed    map[string][]int
	points    []offline.Point
	own       ownCounters
	streams   []relay.StreamStats // Shard and Address say of which
	inlets    []relay.InletStats

	claim   func(fd int) error
	revival *revival // nil: it handed over
	casts   pastCasts
	shards  []handover.Section // in their order, like loops
	loops   []handover.Section
	relay   handover.Section
}

type pastListener struct {
	Listener
	configured bool
	bound      string
	now        int // its number in the successor; -1: it has none, and no links
}

// readPast takes the sections apart. It believes nothing.
func readPast(in *Inheritance) (*past, error) {
	p := &past{claim: in.Claim, revival: in.revival, passed: map[string][]int{}}
	known := false
	for _, s := range in.Sections {
		switch s.Kind() {
		case "gateway":
			known = true
			if err := eachRecord(s.Bytes, p.read); err != nil {
				return nil, fmt.Errorf("%w: %s: %w", errState, s.Name, err)
			}
		case "shard":
			p.shards = append(p.shards, s)
		case "netpoll":
			p.loops = append(p.loops, s)
		case "relay":
			p.relay = s
		}
	}
	if p.revival != nil {
		p.forgetListeners(&p.revival.used)
	}
	if !known || p.reactors == 0 || p.relay.Version == 0 {
		return nil, fmt.Errorf("%w: a section is missing", errState)
	}
	for kind, all := range map[string][]handover.Section{"shard": p.shards, "netpoll": p.loops} {
		if kind == "netpoll" && p.revival != nil {
			continue
		}
		if len(all) != p.reactors {
			return nil, fmt.Errorf("%w: %d sections %s for %d reactors", errState, len(all), kind, p.reactors)
		}
		for i, s := range all {
			if s.Name != fmt.Sprintf("%s/%d", kind, i) || s.Version != all[0].Version {
				return nil, fmt.Errorf("%w: section %s, version %d, is number %d of %s", errState, s.Name, s.Version, i, kind)
			}
		}
	}
	return p, nil
}

// forgetListeners forgets the listeners without links, as appendState does where it knows.
func (p *past) forgetListeners(used *[maxListeners + 1]bool) {
	for i := range p.listeners {
		if l := &p.listeners[i]; !l.configured && !used[i] {
			l.Name = ""
		}
	}
}

var errPastRecord = errors.New("a record is damaged")

// read takes one record in. What is wrong with one that tells of a device or of counters costs no more than that one.
func (p *past) read(kind byte, in *input) error {
	switch kind {
	case recordSelf:
		p.epoch, p.reactors, p.capacity, p.draining = in.u64(), int(in.u16()), int(in.u32()), in.flag()
		p.id, p.advertise = string(in.text()), string(in.text())
	case recordListener:
		l := pastListener{configured: in.flag(), now: -1}
		l.Name, l.Address, l.bound = string(in.text()), string(in.text()), string(in.text())
		l.PingInterval = time.Duration(in.u64())
		if l.Kind = "tcp"; l.PingInterval < 0 || l.PingInterval > maxTimeout || len(p.listeners) == maxListeners {
			in.bad = true
		}
		p.listeners = append(p.listeners, l)
	case recordSources:
		p.sources = bytes.Clone(in.rest)
	case recordPassed:
		name := string(in.text())
		for len(in.rest) > 0 && !in.bad {
			p.passed[name] = append(p.passed[name], int(in.u32()))
		}
	default:
		p.readLess(kind, in)
		return nil
	}
	if in.bad {
		return errPastRecord
	}
	return nil
}

func (p *past) readLess(kind byte, in *input) {
	switch kind {
	case recordPoint:
		at := offline.Point{User: string(in.text()), Device: string(in.text()), Version: in.u64()}
		if !in.bad {
			p.points = append(p.points, at)
		}
	case recordCounters:
		loadCounters(in, &p.own)
	case recordStream:
		var st relay.StreamStats
		st.Shard, st.Address = int(in.u16()), string(in.text())
		loadCounters(in, &st)
		p.streams = append(p.streams, st)
	case recordInlet:
		var st relay.InletStats
		loadCounters(in, &st)
		p.inlets = append(p.inlets, st)
	}
}

// relayStats is what the relay has counted, and what those did that this process has succeeded.
func (g *Gateway) relayStats() relay.Stats {
	st := g.relay.Stats()
	for i := range st.Streams {
		x := &st.Streams[i]
		at := slices.IndexFunc(g.before.streams, func(b relay.StreamStats) bool { return b.Shard == x.Shard && b.Address == x.Address })
		if at >= 0 {
			addCounters(x, &g.before.streams[at])
		}
	}
	for i := range min(len(st.Inlets), len(g.before.inlets)) {
		addCounters(&st.Inlets[i], &g.before.inlets[i])
	}
	return st
}

// before is what the processes have counted that this one has succeeded. Static after New.
type before struct {
	streams []relay.StreamStats
	inlets  []relay.InletStats
}
