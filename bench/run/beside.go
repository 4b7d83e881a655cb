package main

import (
	"bytes"
	"fmt"
	"time"
)

// talking returns a row of messages with so many links, from one of another mode.
func (r row) talking(links int) row {
	r.mode, r.links = flow, links
	return r
}

// silence returns settings for a load in the background, which must not measure what the machine does.
func silence(set settings) settings {
	set.line = nil
	return set
}

// watching returns the target with one process more to account for, so that it does not count as a disturbance.
func (t target) watching(p *process) target {
	t.pids = append(t.pids[:len(t.pids):len(t.pids)], p.cmd.Process.Pid)
	return t
}

// crowd measures what links that say nothing cost those that talk.
func (b *bench) crowd(r row, s subject, t target) (sample, error) {
	silent := r
	silent.mode, silent.links = hold, r.links-talkers
	alone, err := b.talk(b.set, r.talking(talkers), s, t)
	if err != nil {
		return sample{}, err
	}
	end, err := b.open(silence(b.set), silent, s, t)
	if err != nil {
		return sample{}, err
	}
	with, err := b.talk(b.set, r.talking(talkers), s, t)
	if err != nil {
		return sample{}, err
	}
	if _, err := end(); err != nil {
		return sample{}, err
	}
	found := newSample(alone, with)
	few, all := alone.perFrame(0, t.own), with.perFrame(0, t.own)
	found.put(fewCPU, few)
	found.put(crowdCPU, all)
	found.put(crowdCap, all/few)
	return found, nil
}

// floodWindow is how long the quiet links are listened to: a hundredth of their answers must be more than a few.
const floodWindow = 2

// flooded measures what a link that never waits costs those that are polite.
func (b *bench) flooded(r row, s subject, t target) (sample, error) {
	set := b.set
	set.window *= floodWindow
	calm, loud := r.talking(talkers), r
	calm.rate = calmRate
	loud.mode, loud.links, loud.deluge = hold, 1, true
	alone, err := b.talk(set, calm, s, t)
	if err != nil {
		return sample{}, err
	}
	with, flood, err := b.beside(set, calm, loud, s, t)
	if err != nil {
		return sample{}, err
	}
	found := newSample(alone, with)
	found.otherCPU = max(alone.OtherCPU, flood.OtherCPU) // to the quiet load, the flood is a disturbance
	found.put(aloneP99, alone.P99)
	found.put(besideP99, with.P99)
	found.put(floodCost, with.P99/alone.P99)
	found.put(floodRate, flood.Rate/1000)
	return found, nil
}

// beside measures messages of links that were open before the load that is to disturb them began: it would keep them from logging
// in, and that is another question.
func (b *bench) beside(set settings, r, loud row, s subject, t target) (with, flood report, err error) {
	set.warm += holdWarm // the time in which the other begins
	var out bytes.Buffer
	c, err := b.client(r, s, &out, t.load(set, r, s))
	if err != nil {
		return with, flood, err
	}
	if err := c.await(b.ctx, loadLimit); err != nil {
		return with, flood, err
	}
	end, err := b.open(silence(set), loud, s, t.watching(c))
	if err != nil {
		return with, flood, err
	}
	if with, err = b.result(c, &out, r, len(t.pids), set.warm+set.window+loadLimit); err != nil {
		return with, flood, err
	}
	flood, err = end()
	return with, flood, err
}

// leastRate is the share of an asked rate below which the load was too slow to measure at it.
const leastRate = 0.9

// pacedWindow is how much longer messages flow than elsewhere: a pause of 10 ms is the p99 of one second, whoever made it.
const pacedWindow = 4

// finds says whether a subject's top rate has to be found. The others get what the last one found that did, which for the subject
// of the commit that we compare with is ours.
func (b *bench) finds(r row, s subject) bool {
	return r.own && !s.base || b.half == 0 && s.program == gateway
}

// paced measures latency in an open loop.
func (b *bench) paced(r row, s subject, t target) (sample, error) {
	r = r.talking(r.links)
	if b.finds(r, s) {
		top, err := b.talk(b.set, r, s, t)
		if err != nil {
			return sample{}, err
		}
		b.half = top.Rate / 2
	}
	if b.half == 0 {
		return sample{}, fmt.Errorf("no rate is known, because the gateway's could not be measured")
	}
	r.rate = b.half
	set := b.set
	set.window *= pacedWindow
	rep, err := b.talk(set, r, s, t)
	if err != nil {
		return sample{}, err
	}
	if rep.Rate < leastRate*r.rate {
		return sample{}, fmt.Errorf("%.0f messages/s were answered when %.0f were due", rep.Rate, r.rate)
	}
	found := newSample(rep, rep)
	found.put(openRate, rep.Rate)
	found.put(openP50, rep.P50)
	found.put(openP99, rep.P99)
	return found, nil
}

// collectWindow is how much longer messages flow than elsewhere, so that several collections fall into it.
const collectWindow = 3

// collect measures garbage collections with few and with many links.
func (b *bench) collect(r row, s subject, t target) (sample, error) {
	set := b.set
	set.window *= collectWindow
	few := r.talking(fewTalkers)
	silent := r
	silent.mode, silent.links = hold, r.links-fewTalkers
	trace := &t.servers[0].out
	alone, err := b.talk(set, few, s, t)
	if err != nil {
		return sample{}, err
	}
	first := trace.String()
	end, err := b.open(silence(set), silent, s, t)
	if err != nil {
		return sample{}, err
	}
	if err := b.sleep(time.Second); err != nil {
		return sample{}, err
	}
	opened := trace.String()
	with, err := b.talk(set, few, s, t)
	if err != nil {
		return sample{}, err
	}
	last := trace.String()
	if _, err := end(); err != nil {
		return sample{}, err
	}
	return collected(newSample(alone, with), collections(first), collections(last[len(opened):]))
}
