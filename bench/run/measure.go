package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bench is one run of the benchmark. It belongs to the goroutine of main.
type bench struct {
	ctx  context.Context // ends when a signal comes
	set  settings
	proc proc

	dir                string // temporary: the programs, and the gateway's configuration
	now, base          programs
	commit, baseCommit string
	running            []*process

	alone float64 // CPU of a link of the row at hand where nobody keeps it; µs
	half  float64 // of the rate that the subject, or the first one of the row at hand, can do; messages a second
}

// cleanUp ends what runs and removes what was written.
func (b *bench) cleanUp() {
	b.stopAll()
	if b.dir != "" {
		_ = os.RemoveAll(b.dir)
	}
}

// stopAll ends all processes, the last one first: the load before the gateway, the gateway before its Manager.
func (b *bench) stopAll() {
	for _, p := range slices.Backward(b.running) {
		p.stop()
	}
	b.running = nil
}

// rounds measures all rows, round by round, so that a slow minute of the machine hits every row and not one.
func (b *bench) rounds(rows []row) *results {
	all := newResults(b.set.rounds)
	total, n := 0, 0
	for _, r := range rows {
		total += r.roundsOf(b.set.rounds)
	}
	for round := range b.set.rounds {
		for _, r := range rows {
			if round >= r.roundsOf(b.set.rounds) {
				continue
			}
			began := time.Now()
			line := b.measureRow(r, round, all, total/5)
			if b.ctx.Err() != nil {
				return all
			}
			n++
			fmt.Fprintf(os.Stderr, "%*d/%d  round %d  %-18s %s  (%.1f s)\n", len(strconv.Itoa(total)), n, total, round+1, r.name, line,
				time.Since(began).Seconds())
		}
	}
	return all
}

// measureRow measures the subjects of a row one right after the other, and returns a line that tells of it. If the host
// moved the CPUs in between, the subjects did not run on the same machine, and all are measured again: at most twice, and only
// until so many rows were, because a host that never rests must not double the time.
func (b *bench) measureRow(r row, round int, all *results, patience int) string {
	if r.mode == paced || r.mode == flooded {
		defer b.awake(all)()
	}
	var got []outcome
	for try := 0; ; try++ {
		got = b.measureSubjects(r, round)
		if b.ctx.Err() != nil {
			return ""
		}
		if try == retries || r.mode == hold || !moved(got) || failed(got) || all.repeated >= patience {
			break
		}
		all.repeated++
	}
	if r.mode != hold && moved(got) {
		all.moved++
	}
	var said []string
	for _, o := range got {
		who := o.who
		if o.base {
			who += " at " + b.baseCommit
		}
		if o.err != nil {
			all.failures = append(all.failures, fmt.Sprintf("%s, %s, round %d: %v", r.name, who, round+1, o.err))
			said = append(said, who+" FAILED: "+o.err.Error())
			continue
		}
		for _, v := range o.values {
			all.put(seriesKey{r.name, o.who, v.figure, o.base}, round, v.value, o.otherCPU)
		}
		if o.settled > 0 {
			all.settled = append(all.settled, o.settled)
		}
		for _, ns := range o.lineNs {
			if ns > 0 {
				all.lineNs = append(all.lineNs, ns)
			}
		}
		said = append(said, who+" "+o.String()+mark(o.otherCPU))
	}
	return strings.Join(said, " · ")
}

// awake has idle CPUs poll until what it returns is called, if that is wanted and may be.
func (b *bench) awake(all *results) (release func()) {
	if b.set.halt {
		return func() {}
	}
	release, err := keepAwake(wakeupLatencyFile)
	if err != nil {
		b.set.halt = true // said once
		fmt.Fprintf(os.Stderr, "bench: idle CPUs halt (%v): latencies include how long they take to come back; as root they do not\n", err)
		return func() {}
	}
	all.awake++
	return release
}

// outcome is what came of a subject.
type outcome struct {
	subject
	sample
	err error
}

// measureSubjects measures the subjects of a round once; those that could not be had are left out.
func (b *bench) measureSubjects(r row, round int) []outcome {
	var got []outcome
	b.half, b.alone = 0, 0
	for _, s := range withBase(r.inRound(round, b.set.rounds), func(p program) bool { return b.base.of(p) != "" }) {
		if b.now.of(s.program) == "" || s.redis && b.now.redis == "" {
			continue
		}
		found, err := b.measure(r, s)
		b.stopAll()
		got = append(got, outcome{s, found, err})
		if b.ctx.Err() != nil {
			break
		}
	}
	return got
}

// failed says whether something went wrong, which no second try may hide.
func failed(got []outcome) bool {
	return slices.ContainsFunc(got, func(o outcome) bool { return o.err != nil })
}

const (
	retries   = 2 // of a row whose CPUs were moved
	farFactor = 2 // times that a cache line takes longer when they were
)

// moved says whether the CPUs were once near and once far from each other while the subjects ran.
func moved(got []outcome) bool {
	least, most := math.Inf(1), 0.0
	for _, o := range got {
		for _, ns := range o.lineNs {
			if ns > 0 {
				least, most = min(least, ns), max(most, ns)
			}
		}
	}
	return most > farFactor*least
}

// sample is what one measurement found.
type sample struct {
	values   []value
	otherCPU float64
	lineNs   [2]float64
	settled  float64 // seconds until the memory stood still
}

type value struct {
	figure figure
	value  float64
}

// String returns the figures in one line.
func (s sample) String() string {
	var said []string
	for _, v := range s.values {
		if v.figure.jsonOnly {
			continue
		}
		what := ""
		if v.figure.Name != messageCPU.Name {
			what = v.figure.Name + " "
		}
		said = append(said, what+short(v.value)+" "+v.figure.Unit)
	}
	return strings.Join(said, ", ")
}

// target is what the load speaks to.
type target struct {
	address string
	servers []*process
	pids    []int // accounted for: the subject's first, then its Manager
	own     int   // how many of them are the subject's
	admin   string
	redis   string
	keeper  string // its socket; empty: there is none
	port    int    // of a gateway that comes again; 0: whatever the kernel gives
}

// load returns the arguments of the load for it.
func (t target) load(set settings, r row, s subject) []string {
	return append(loadArgs(set, r, s, t.pids), t.address)
}

// measure runs one subject of a row. What it starts the caller stops.
func (b *bench) measure(r row, s subject) (sample, error) {
	t, err := b.serve(r, s)
	if err != nil {
		return sample{}, err
	}
	how := map[mode]func(row, subject, target) (sample, error){
		flow: b.load, storm: b.load, hold: b.hold, crowd: b.crowd, paced: b.paced, flooded: b.flooded, collect: b.collect, herd: b.herd, asked: b.asked, fanout: b.fan,
		pushed: b.pushes, logins: b.logins, outlived: b.outlive}
	found, err := how[r.mode](r, s, t)
	for _, p := range t.servers {
		if died := p.alive(); died != nil {
			return sample{}, died
		}
	}
	return found, err
}

// serve starts a subject: the process to account for first, its Manager if it has one behind it.
func (b *bench) serve(r row, s subject) (target, error) {
	args := []string{"-loops", strconv.Itoa(s.loops), "127.0.0.1:0"}
	switch s.program {
	case gateway:
		return b.serveGateway(r, s)
	case dispatcher:
		return b.serveDispatcher(s)
	case relayFloor:
		return b.serveRelayFloor(s)
	case mosquitto:
		return b.serveMosquitto()
	case haproxy, nginx:
		return b.serveProxy(r, s)
	case nats:
		return b.serveNATS(r, s)
	case floor, roomFloor:
		args = []string{"-n", strconv.Itoa(s.loops), "0"}
	case echo:
		if s.pinned {
			args = append([]string{"-pin", strconv.Itoa(firstCPUs(1)[0])}, args...)
		}
	}
	p, err := b.ready(s, b.built(s).of(s.program), args...)
	if err != nil {
		return target{}, err
	}
	return served(target{}, p)
}

// built returns the programs of the commit that a subject is of.
func (b *bench) built(s subject) programs {
	if s.base {
		return b.base
	}
	return b.now
}

// served puts a program before those that are behind it.
func served(t target, p *process) (target, error) {
	var err error
	t.servers = slices.Insert(t.servers, 0, p)
	t.pids = slices.Insert(t.pids, 0, p.cmd.Process.Pid)
	t.own = 1
	t.address, err = p.address()
	return t, err
}

// serveRelayFloor starts the C relay, after its backend.
func (b *bench) serveRelayFloor(s subject) (target, error) {
	backend, err := b.ready(s, b.now.cfloor, "-n", strconv.Itoa(s.loops), "0")
	if err != nil {
		return target{}, err
	}
	t, err := served(target{}, backend)
	if err != nil {
		return target{}, err
	}
	p, err := b.ready(s, b.now.crelay, "-n", strconv.Itoa(s.loops), t.address, "0")
	if err != nil {
		return target{}, err
	}
	return served(t, p)
}

// serveGateway starts edged, after its Manager and its Redis.
func (b *bench) serveGateway(r row, s subject) (t target, err error) {
	if s.session > 0 {
		if t, err = b.serveManager(r, s); err != nil {
			return t, err
		}
	}
	if s.redis {
		redis, err := b.serveRedis()
		if err != nil {
			return t, err
		}
		t.redis, t.servers, t.pids = redis.redis, append(t.servers, redis.servers...), append(t.pids, redis.pids...)
	}
	if r.mode == hold || r.mode == outlived {
		t.admin = filepath.Join(b.dir, "admin.sock")
	}
	if s.kept {
		t.keeper = filepath.Join(b.dir, "keeper.sock")
		if t.port, err = freePort(); err != nil {
			return t, err
		}
	}
	if err := os.WriteFile(b.configFile(), []byte(gatewayConfig(s, r.capacity(), t, r.beat)), 0o644); err != nil {
		return t, err
	}
	if s.kept {
		return b.serveKept(s, t)
	}
	p, err := b.ready(s, b.built(s).of(gateway), "serve", "--config", b.configFile())
	if err != nil {
		return t, err
	}
	return served(t, p)
}

// configFile is where a gateway's configuration is.
func (b *bench) configFile() string { return filepath.Join(b.dir, "edged.toml") }

// ready starts a server and waits until it says so. A pinned program gets its CPU from us; only netpoll pins its loop itself, as
// edged does.
func (b *bench) ready(s subject, path string, args ...string) (*process, error) {
	var p *process
	launch := func() (err error) {
		p, err = b.launchTraced(s.trace, path, args...)
		return err
	}
	var err error
	if s.pinned && s.program != echo {
		err = onCPU(firstCPUs(1)[0], launch)
	} else {
		err = launch()
	}
	if err != nil {
		return nil, err
	}
	return p, p.await(b.ctx, readyLimit)
}

// client starts the load; its report goes to out.
func (b *bench) client(r row, s subject, out *bytes.Buffer, args []string) (*process, error) {
	var p *process
	launch := func() (err error) {
		p, err = b.launch("open", out, b.now.load(r, s), args...)
		return err
	}
	if s.pinned {
		return p, onCPU(firstCPUs(2)[1], launch)
	}
	return p, launch()
}

// result waits for the load's end and judges its report.
func (b *bench) result(c *process, out *bytes.Buffer, r row, servers int, limit time.Duration) (report, error) {
	ended := c.finish(b.ctx, limit)
	select {
	case <-c.ended:
	default:
		return report{}, c.fault(ended)
	}
	rep, err := parseReport(out.Bytes())
	if err == nil {
		err = rep.check(r.links, servers, r.mode != hold || r.beat > 0)
	}
	if err == nil {
		err = ended
	}
	if err != nil {
		return rep, c.fault(err)
	}
	return rep, nil
}

// talk sends messages, or opens and resets links, for as long as the settings say.
func (b *bench) talk(set settings, r row, s subject, t target) (report, error) {
	var out bytes.Buffer
	c, err := b.client(r, s, &out, t.load(set, r, s))
	if err != nil {
		return report{}, err
	}
	return b.result(c, &out, r, len(t.pids), set.warm+set.window+loadLimit)
}

// load measures a row in which something happens all the time.
func (b *bench) load(r row, s subject, t target) (sample, error) {
	rep, err := b.talk(b.set, r, s, t)
	if err != nil {
		return sample{}, err
	}
	f := messageCPU
	if r.mode == storm {
		f = acceptCPU
	}
	found := newSample(rep, rep)
	found.put(f, rep.perFrame(0, t.own))
	if r.mode == storm {
		b.compareKept(&found, s, rep.perFrame(0, t.own))
	}
	if len(t.pids) > t.own {
		behind := backendCPU
		if s.program == gateway {
			behind = managerCPU
		}
		found.put(behind, rep.perFrame(t.own, len(t.pids)))
	}
	return found, nil
}

// newSample returns a sample without figures that was taken from one report to another.
func newSample(first, last report) sample {
	return sample{otherCPU: max(first.OtherCPU, last.OtherCPU), lineNs: [2]float64{first.LineNs[0], last.LineNs[1]}}
}

func (s *sample) put(f figure, v float64) { s.values = append(s.values, value{f, v}) }
