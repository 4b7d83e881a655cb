package client

import (
	"sync"

	"edged/wire"
)

// record is what a Client knows of the pushes that came, over all of its links. The reader of the present link alone
// changes it; whoever likes reads the versions.
type record struct {
	seen seen // the reader's

	mu       sync.Mutex
	versions versions
	link     uint64 // number of the present link, from 1
	changed  bool   // since Options.Save was told
}

// newLink begins the next link and returns the version that it is asked to go on behind.
func (r *record) newLink() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.link++
	return r.versions.synced()
}

// judgement is what is to be done with a push.
type judgement struct {
	double  bool  // nothing: it came before
	late    bool  // a later one was handed over before it
	gap     Range // versions that are passed over by it; none if From is 0
	rewound bool  // versions have begun anew at this one
}

// judge looks at the stamp of a push. What it lets through is noted by done, once it was handed over.
func (r *record) judge(p wire.Push) (j judgement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := p.Version
	if n == 0 {
		j.double = r.seen.has(p.MsgID)
		return j
	}
	s := &r.versions
	if s.has(n) {
		if j.double = !r.seen.another(n, p.MsgID); j.double {
			r.noteLocked(p)
			return j
		}
		// Redis has lost what it gave out: the version names another message now.
		s.rewind(n)
		r.seen.rewind(n)
		j.rewound = true
	}
	j.gap = s.expect(n, r.link)
	j.late = n <= s.top
	if j.double = r.seen.has(p.MsgID); j.double {
		r.noteLocked(p) // stored again under another version, by a sender that repeats itself
	}
	return j
}

// done notes a push that was handed over.
func (r *record) done(p wire.Push) {
	r.seen.add(p.MsgID, p.Version)
	if p.Version == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noteLocked(p)
}

// noteLocked takes in what a push with a version tells: that the application has it, and that the link has got so far.
func (r *record) noteLocked(p wire.Push) {
	noted := r.versions.note(p.Version)
	inTurn := p.Flags&(wire.FlagLate|wire.FlagAgain) == 0
	passed := inTurn && r.versions.passed(p.Version, r.link)
	r.changed = r.changed || noted || passed
}

// news returns the Progress if it may have changed since the last call.
func (r *record) news() (p Progress, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.changed {
		return Progress{}, false
	}
	r.changed = false
	return r.versions.progress(), true
}

// Synced returns the version up to which the application has everything: OnPush has returned for all of it, or it was given
// up. 0: no stored message came yet. The next link is asked for what lies behind it.
func (c *Client) Synced() uint64 {
	c.record.mu.Lock()
	defer c.record.mu.Unlock()
	return c.record.versions.synced()
}

// Complete says whether nothing is missing up to version v: OnPush has returned for each version, or Options say that the
// application had it before. It is false while v has not come, and as long as any version up to v is missing, whether it
// may still come or not. Where Options name no version, the first one that comes is where the count begins.
func (c *Client) Complete(v uint64) bool {
	c.record.mu.Lock()
	defer c.record.mu.Unlock()
	return c.record.versions.complete(v)
}

// Missing lists the versions that Options.Hole was told of and that did not come since, ascending: the last 256 holes.
func (c *Client) Missing() []Range {
	c.record.mu.Lock()
	defer c.record.mu.Unlock()
	return c.record.versions.missing()
}

// Progress returns all of what Options.Save is told.
func (c *Client) Progress() Progress {
	c.record.mu.Lock()
	defer c.record.mu.Unlock()
	return c.record.versions.progress()
}

// save tells the application how far it is. The reader calls it when it has handled all that it has read.
func (c *Client) save() {
	if c.o.Save == nil {
		return
	}
	if p, ok := c.record.news(); ok {
		c.o.Save(p)
	}
}
