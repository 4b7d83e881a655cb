package gateway

import (
	"errors"
	"fmt"
	"strconv"

	"edged/batch"
	"edged/netpoll"
	"edged/wire"
)

// Slow is the [slow] section: what is done with a message for a link that does not take its output.
type Slow struct {
	Bytes    int    `toml:"bytes"`    // output of a link that may wait here; one more message always fits
	Messages int    `toml:"messages"` // of them, counted from when the kernel takes no more
	Data     string `toml:"data"`     // DATA: "close", "refuse", "drop-oldest"
	Push     string `toml:"push"`     // pushes that nobody waits for: "close", "refuse"
	Required string `toml:"required"` // pushes that must be acknowledged: "close", "refuse"
	Stored   string `toml:"stored"`   // messages with a version, where Redis is configured: "log", "close", "refuse"
}

// DefaultSlow returns the settings of a file that says nothing.
func DefaultSlow() Slow {
	return Slow{Bytes: 64 << 10, Messages: 4096, Data: "close", Push: "close", Required: "refuse", Stored: "log"}
}

// Bounds of [slow].
const (
	minSlowBytes    = 4 << 10
	maxSlowBytes    = 256 << 10
	maxSlowMessages = 1 << 20
)

// Validate reports every setting that cannot be meant, each with its key.
func (c Slow) Validate() error {
	var errs []error
	if c.Bytes < minSlowBytes || c.Bytes > maxSlowBytes {
		errs = append(errs, fmt.Errorf("bytes: %d is not between %d and %d", c.Bytes, minSlowBytes, maxSlowBytes))
	}
	if c.Messages < 1 || c.Messages > maxSlowMessages {
		errs = append(errs, fmt.Errorf("messages: %d is not between 1 and %d", c.Messages, maxSlowMessages))
	}
	for _, p := range c.policies() {
		if _, err := p.parse(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// policy is what is done with a message that a link does not take.
type policy byte

const (
	policyClose  policy = iota // the link ends, BYE 10
	policyRefuse               // the message comes back to its sender
	policyOldest               // waiting DATA makes room for it
	policyLog                  // it stays in the log until the link takes it
)

// class is what a policy is for.
type class byte

const (
	classData class = iota
	classPush
	classRequired
	classStored
	classes
)

type policyText struct {
	key, text string
	allowed   []policy
}

var policyNames = [...]string{"close", "refuse", "drop-oldest", "log"}

func (c Slow) policies() [classes]policyText {
	return [classes]policyText{
		classData:     {"data", c.Data, []policy{policyClose, policyRefuse, policyOldest}},
		classPush:     {"push", c.Push, []policy{policyClose, policyRefuse}},
		classRequired: {"required", c.Required, []policy{policyClose, policyRefuse}},
		classStored:   {"stored", c.Stored, []policy{policyLog, policyClose, policyRefuse}},
	}
}

func (p policyText) parse() (policy, error) {
	names := ""
	for _, a := range p.allowed {
		if policyNames[a] == p.text {
			return a, nil
		}
		names += " " + strconv.Quote(policyNames[a])
	}
	return 0, fmt.Errorf("%s: %q is none of%s", p.key, p.text, names)
}

// parse returns what is done with each class, Validate having found nothing.
func (c Slow) parse() (all [classes]policy) {
	for i, p := range c.policies() {
		all[i], _ = p.parse()
	}
	return all
}

// slowLinks is what a shard knows of links that do not take their output.
type slowLinks struct {
	backlog  map[netpoll.Conn]int // messages behind output that the kernel does not take
	starving map[uint32]uint32    // by place: DATA dropped since the link's output began to wait
	hungry   []linkName           // whose output is gone, and whose replays go on
}

func newSlowLinks() slowLinks {
	return slowLinks{backlog: map[netpoll.Conn]int{}, starving: map[uint32]uint32{}}
}

// mayWait says whether a link whose output waits may be given another message.
func (s *shard) mayWait(l *link) bool {
	return l.flags&blocked == 0 || s.slow.backlog[l.conn] < s.g.slow.Messages
}

// Backlog is the loop's word that a link's output begins to wait, or that all of it is gone.
func (s *shard) Backlog(c netpoll.Conn, pending int) {
	place := s.loop.Tag(c)
	l, uniq := s.links.At(place)
	if l == nil || l.conn != c {
		return
	}
	if pending > 0 {
		if l.flags&blocked == 0 {
			l.flags |= blocked
			s.slow.backlog[l.conn] = 0
		}
		return
	}
	s.unblock(l)
	if l.flags&starved != 0 {
		s.tellStarved(place, uniq, l)
	}
	if l.flags&replaying != 0 {
		s.slow.hungry = append(s.slow.hungry, linkName{place, uniq}) // not now: the loop is in the middle of its output
	}
}

// unblock forgets that a link's output waited.
func (s *shard) unblock(l *link) {
	if l.flags&blocked != 0 {
		l.flags &^= blocked
		delete(s.slow.backlog, l.conn)
	}
}

// feedHungry goes on with the links whose output is gone.
func (s *shard) feedHungry() {
	for _, n := range s.slow.hungry {
		if l := s.links.Get(n.place, n.uniq); l != nil && l.flags&replaying != 0 {
			s.feedAgain(n.place, n.uniq, l)
		}
	}
	s.slow.hungry = s.slow.hungry[:0]
}

// roomy says that much of the link's window is free, so that it is worth going on with what waits for it.
func (s *shard) roomy(l *link) bool {
	if l.flags&latent != 0 {
		return true
	}
	n, _ := s.windows.Outstanding(l.unacked)
	return n <= s.g.delivery.Window/2
}

// logged says whether the link's versions are in a log that can be asked.
func (s *shard) logged(l *link) bool { return s.g.offline != nil && l.flags&bound != 0 }

// takes says whether a link would take another push with about so many bytes. Where it says so, the push may still not fit.
func (s *shard) takes(l *link, ack batch.Ack, size int) bool {
	if ack == batch.AckRequired && l.flags&latent == 0 {
		n, held := s.windows.Outstanding(l.unacked)
		if n >= s.g.delivery.Window || n > 0 && held+size > s.g.windowBytes {
			return false
		}
	}
	return l.flags&blocked == 0 || s.mayWait(l) && s.loop.Unsent(l.conn)+size < s.g.slow.Bytes
}

// leftToLog leaves a live message with a version to the log, if the link does not take it, has earlier ones waiting there, or
// too much is held for it while the log is asked.
func (s *shard) leftToLog(place, uniq uint32, l *link, d *batch.DownItem) bool {
	if s.g.policies[classStored] != policyLog || !s.logged(l) {
		return false
	}
	size := len(d.Push.Payload) + len(d.Push.MsgID)
	left := !s.takes(l, d.Push.Ack, size)
	if !left && l.flags&replaying != 0 {
		r := s.replays.by[place]
		if left = r.busy() || r.waits > replayKeep; !left && s.orders.Turn(l.order) != d.Push.Version {
			r.waits += size
		}
	}
	if left {
		s.count.Behind++
		s.replay(place, uniq, l)
	}
	return left
}

// overfull does what the settings say about a push that the link did not take. It returns false where the link has ended, or
// the push was left to the log.
func (s *shard) overfull(from int, place, uniq uint32, l *link, d *batch.DownItem) bool {
	what := classPush
	switch {
	case d.Push.Version != 0 && s.logged(l):
		what = classStored
	case d.Push.Ack == batch.AckRequired:
		what = classRequired
	}
	if s.g.policies[what] == policyLog {
		s.count.Behind++
		s.orders.Reopen(l.order, d.Push.Version)
		s.keep.change(place)
		s.replay(place, uniq, l)
		return false
	}
	s.stick(place, l, d.Push.Version)
	s.giveBack(from, place, uniq, l, d)
	if s.g.policies[what] == policyRefuse {
		return true
	}
	s.endSlow(place, uniq, l, "output or unacknowledged pushes over their bound")
	return false
}

// giveBack returns what a link did not take to its sender.
func (s *shard) giveBack(from int, place, uniq uint32, l *link, d *batch.DownItem) {
	name := s.name(place, uniq)
	if d.Op == batch.OpPush && d.Push.Ack == batch.AckRequired {
		s.undeliver(from, d, &name, l, batch.LossWindowFull)
		return
	}
	s.refuse(from, d, &name, l, batch.CodeUnspecified, notTaken)
}

const notTaken = "the link does not take its output"

func (s *shard) endSlow(place, uniq uint32, l *link, evidence string) {
	s.end(place, uniq, l, ending{reason: wire.ByeSlow, side: batch.SideGateway, evidence: evidence})
}

// overfullData does the same for DATA.
func (s *shard) overfullData(from int, place, uniq uint32, l *link, d *batch.DownItem) {
	switch s.g.policies[classData] {
	case policyOldest:
		s.starve(place, l, 1)
	case policyRefuse:
		s.count.DataDropped++
		s.giveBack(from, place, uniq, l, d)
	default:
		s.giveBack(from, place, uniq, l, d)
		s.endSlow(place, uniq, l, "output over its bound")
	}
}

// thinShare is the share of [slow] bytes that is freed at once: thinning out copies what is left.
const thinShare = 8

// write gives a message to the link's output, for which older DATA makes room where the settings say so. It does not where
// there is none.
func (s *shard) write(place uint32, l *link, parts ...[]byte) bool {
	if !s.mayWait(l) || !s.loop.Write(l.conn, parts...) {
		if s.g.policies[classData] != policyOldest || !s.thin(place, l, parts) || !s.mayWait(l) || !s.loop.Write(l.conn, parts...) {
			return false
		}
	}
	if l.flags&blocked != 0 {
		s.slow.backlog[l.conn]++
	}
	return true
}

// thin takes the oldest DATA out of a link's output, as much as a message needs; false: there is none.
func (s *shard) thin(place uint32, l *link, parts [][]byte) bool {
	n := s.g.slow.Bytes / thinShare
	for _, p := range parts {
		n = max(n, len(p))
	}
	dropped, _ := s.loop.Thin(l.conn, n, isData)
	if l.flags&blocked != 0 {
		s.slow.backlog[l.conn] -= min(dropped, s.slow.backlog[l.conn])
	}
	s.starve(place, l, dropped)
	return dropped > 0
}

// starve notes that DATA for a link was dropped.
func (s *shard) starve(place uint32, l *link, messages int) {
	if messages > 0 {
		s.count.DataDropped += uint64(messages)
		l.flags |= starved
		s.slow.starving[place] += uint32(messages)
		s.keep.change(place)
	}
}

func isData(frame []byte) bool {
	return len(frame) > wire.HeadLen && wire.Kind(frame[wire.HeadLen]) == wire.KindData
}

// tellStarved tells the Manager how much DATA was dropped, once the link takes its output again.
func (s *shard) tellStarved(place, uniq uint32, l *link) {
	n := s.slow.starving[place]
	s.endStarving(place, l)
	if len(s.managers.list) == 0 {
		return
	}
	name := s.name(place, uniq)
	why := strconv.FormatUint(uint64(n), 10) + " DATA dropped: " + notTaken
	s.scratch = batch.AppendRefused(s.scratch[:0], &name, s.field(place, uniq, l), 0, batch.CodeUnspecified, why)
	s.managers.answer(s, int(l.manager), s.scratch)
}

func (s *shard) endStarving(place uint32, l *link) {
	if l.flags&starved != 0 {
		l.flags &^= starved
		delete(s.slow.starving, place)
		s.keep.change(place)
	}
}
