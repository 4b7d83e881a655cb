package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// herdWindow is how much longer a swarm runs than messages flow elsewhere: its CPU is that of its whole life, and what it
// spends on opening links must be little beside it.
const herdWindow = 2

// herd measures what a load and a Manager cost. The swarm takes messages of its own kind, so that each load has its Manager's CPU
// beside it.
func (b *bench) herd(r row, s subject, t target) (sample, error) {
	set := b.set
	set.window *= herdWindow
	if s.swarm {
		return b.swarm(set, r, s, t)
	}
	rep, err := b.talk(set, r.talking(r.links), s, t)
	if err != nil {
		return sample{}, err
	}
	found := newSample(rep, rep)
	found.put(loadCPU, rep.ClientCPU*rep.Seconds*1e6/float64(rep.Frames))
	found.put(loadManager, rep.perFrame(t.own, len(t.pids)))
	return found, nil
}

// swarmReport is the part of the JSON of edged swarm that counts here.
type swarmReport struct {
	Links       int `json:"links"`
	Connections struct {
		Up int `json:"up"`
	} `json:"connections"`
	Messages struct {
		Answered   uint64 `json:"answered"`
		Unanswered uint64 `json:"unanswered"`
	} `json:"messages"`
	Corrupt struct {
		Total uint64 `json:"total"`
	} `json:"corrupt"`
}

// parseSwarm reads the report, and says why it is no measurement.
func parseSwarm(text []byte, links int) (swarmReport, error) {
	var r swarmReport
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("edged swarm said %q: %w", text, err)
	}
	switch {
	case r.Corrupt.Total > 0:
		return r, fmt.Errorf("%d answers were not what was sent", r.Corrupt.Total)
	case r.Connections.Up != links:
		return r, fmt.Errorf("%d of %d links were up", r.Connections.Up, links)
	case r.Messages.Unanswered > 0:
		return r, fmt.Errorf("%d messages were not answered", r.Messages.Unanswered)
	case r.Messages.Answered == 0:
		return r, errors.New("nothing was answered")
	}
	return r, nil
}

// swarm measures edged swarm, and the Manager that answers it.
func (b *bench) swarm(set settings, r row, s subject, t target) (sample, error) {
	manager := t.pids[t.own]
	before, err := cpuOf(manager)
	if err != nil {
		return sample{}, err
	}
	var out bytes.Buffer
	p, err := b.launch("", &out, b.built(s).edged, "swarm", "--target", t.address, "--links", strconv.Itoa(r.links), "--depth", strconv.Itoa(r.depth),
		"--size", strconv.Itoa(payload), "--reactors", strconv.Itoa(s.clients()), "--duration", set.window.String(), "--json", "--quiet")
	if err != nil {
		return sample{}, err
	}
	if err := p.finish(b.ctx, set.window+loadLimit); err != nil {
		return sample{}, p.fault(err)
	}
	after, err := cpuOf(manager)
	if err != nil {
		return sample{}, err
	}
	rep, err := parseSwarm(out.Bytes(), r.links)
	if err != nil {
		return sample{}, p.fault(err)
	}
	perMessage := func(d time.Duration) float64 { return float64(d) / 1e3 / float64(rep.Messages.Answered) }
	var found sample
	found.put(loadCPU, perMessage(p.cmd.ProcessState.UserTime()+p.cmd.ProcessState.SystemTime()))
	found.put(loadManager, perMessage(after-before))
	return found, nil
}

// cpuOf returns the user and system time of a process.
func cpuOf(pid int) (time.Duration, error) {
	var t unix.Timespec
	clock := int32(^pid<<3 | 2) // as clock_getcpuclockid makes it
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(t.Nano()), nil
}
