package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// How the process is replaced.
const (
	outliveRate = 6000             // messages a second, that the swarm and its Manager are no burden
	outliveEach = 2                // messages a second of each link, if that is less
	reloadTimes = 5                // in a measurement
	killTimes   = 2                // the same: with three crashes within a minute a keeper drops the links
	secondsEach = 2                // for which answers are watched, before and from each time on
	outliveLong = 10 * time.Minute // the swarm is told to end before
	leastKept   = 0.999            // of the links, after a kill
)

// outliveRows returns the rows of links that outlive the gateway's process.
func outliveRows(set settings) []row {
	s := subject{who: "edged", program: gateway, loops: 2, session: relaySession, manager: ofDemo}
	kept := s
	kept.who, kept.kept = "edged, kept", true
	rows := []row{{name: "kill/" + strconv.Itoa(set.links), mode: outlived, links: set.links, kill: true, below: kept.who, subjects: []subject{kept}}}
	for _, links := range []int{set.links, talkers} {
		rows = slices.Insert(rows, 0, row{name: "reload/" + strconv.Itoa(links), mode: outlived, links: links, below: s.who, subjects: []subject{s, kept}})
	}
	return rows
}

// outlive replaces the gateway's process while a swarm talks over it, and sees how long that keeps its clients waiting.
func (b *bench) outlive(r row, _ subject, t target) (sample, error) {
	s, err := b.startTalk(r, t)
	if err != nil {
		return sample{}, err
	}
	calm, err := s.longest(b, secondsEach)
	if err != nil {
		return sample{}, err
	}
	replace, times := b.reload, reloadTimes
	if r.kill {
		replace, times = b.kill, killTimes
	}
	var frozen, pauses []float64
	for range times {
		stood, err := replace(t)
		if err != nil {
			return sample{}, err
		}
		pause, err := s.longest(b, secondsEach)
		if err != nil {
			return sample{}, err
		}
		frozen, pauses = append(frozen, stood), append(pauses, pause)
	}
	broken, err := s.end(b, r)
	if err != nil {
		return sample{}, err
	}
	var found sample
	if !r.kill {
		found.put(frozenTime, spreadOf(frozen).Median)
	}
	found.put(calmAnswer, calm)
	found.put(clientPause, spreadOf(pauses).Median)
	found.put(brokenLinks, float64(broken))
	return found, nil
}

// swarmTalk is an edged swarm that says each second what its longest answer was.
type swarmTalk struct {
	p   *process
	out bytes.Buffer
	saw int // bytes of what it said that were read
}

// startTalk returns when all links of the row are open and talk.
func (b *bench) startTalk(r row, t target) (*swarmTalk, error) {
	rate := min(outliveRate, outliveEach*r.links)
	p := command(b.now.edged, "swarm", "--target", t.address, "--links", strconv.Itoa(r.links), "--rate", strconv.Itoa(rate),
		"--size", strconv.Itoa(payload), "--checker", "--pushes", "3", "--reactors", "1", "--reconnect", "--duration", outliveLong.String(), "--json")
	p.out.keep = keepTrace
	s := &swarmTalk{}
	s.p = p
	if _, err := b.start(p, " run ", &s.out); err != nil {
		return nil, err
	}
	if err := p.await(b.ctx, loadLimit); err != nil {
		return nil, err
	}
	s.saw = len(p.out.String()) // the first second had the logins in it
	return s, nil
}

// maxPattern finds the longest answer in what a swarm says each second.
var maxPattern = regexp.MustCompile(`(?m) run .* max (\S+) .*$`)

// longest waits for so many more lines, and returns the longest answer since the last call in ms.
func (s *swarmTalk) longest(b *bench, lines int) (float64, error) {
	for limit := time.Now().Add(loadLimit); ; {
		said := s.p.out.String()
		all := maxPattern.FindAllStringSubmatch(said[min(s.saw, len(said)):], -1)
		if len(all) >= lines {
			s.saw = len(said)
			return longestOf(all)
		}
		if time.Now().After(limit) {
			return 0, s.p.fault(errors.New("says nothing more"))
		}
		if err := errors.Join(s.p.alive(), b.sleep(50*time.Millisecond)); err != nil {
			return 0, err
		}
	}
}

func longestOf(all [][]string) (ms float64, err error) {
	for _, m := range all {
		d, err := time.ParseDuration(m[1])
		if err != nil {
			return 0, err
		}
		ms = max(ms, float64(d)/1e6)
	}
	return ms, nil
}

// end ends the swarm, of which no link that lived on may have lost anything, and returns how many did not.
func (s *swarmTalk) end(b *bench, r row) (broken int, err error) {
	if err := s.p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return 0, err
	}
	_ = s.p.finish(b.ctx, loadLimit) // the report says more
	broken, err = judgeTalk(s.out.Bytes())
	switch {
	case err != nil:
		return 0, s.p.fault(err)
	case broken > 0 && !r.kill, float64(broken) > (1-leastKept)*float64(killTimes*r.links):
		return broken, s.p.fault(fmt.Errorf("%d of %d links broke", broken, r.links))
	}
	return broken, nil
}

// judgeTalk reads a swarm's report, and says what was lost, doubled or out of order on links that lived on.
func judgeTalk(text []byte) (broken int, err error) {
	type list struct{ Total int }
	type check struct{ Missing, Doubled, Disordered list }
	var r struct {
		Connections struct{ Broken int }
		Messages    struct{ Answered int }
		Corrupt     list
		Check       struct {
			Answers, Messages, Manager check
			Unheard                    list
			NoReport                   list `json:"no_report"`
		}
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return 0, fmt.Errorf("edged swarm said %q: %w", text, err)
	}
	c := &r.Check
	faults := r.Corrupt.Total + c.NoReport.Total - c.Unheard.Total
	for _, k := range []check{c.Answers, c.Messages, c.Manager} {
		faults += k.Missing.Total + k.Doubled.Total + k.Disordered.Total
	}
	switch {
	case faults != 0:
		return 0, fmt.Errorf("%d messages were lost, doubled, out of order or wrong", faults)
	case r.Messages.Answered == 0:
		return 0, errors.New("nothing was answered")
	}
	return r.Connections.Broken, nil
}

// reloaded is what `edged ctl reload` says.
var reloaded = regexp.MustCompile(`^reloaded: process (\d+) serves; links stood still for (\S+),`)

// reload has the gateway replaced by a fresh process, and returns for how many ms its links stood still.
func (b *bench) reload(t target) (frozen float64, err error) {
	out, err := exec.CommandContext(b.ctx, b.now.edged, "ctl", "--socket", t.admin, "reload").CombinedOutput()
	m := reloaded.FindStringSubmatch(string(out))
	if err != nil || m == nil {
		return 0, fmt.Errorf("ctl reload: %q, %w", out, err)
	}
	pid, err := strconv.Atoi(m[1])
	if err != nil {
		return 0, err
	}
	stood, err := time.ParseDuration(m[2])
	if err != nil {
		return 0, err
	}
	return float64(stood) / 1e6, b.succeed(t, pid)
}

// succeed puts a process that has taken over, and is a child of ours, to those that run.
func (b *bench) succeed(t target, pid int) error {
	heir, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	p := command(b.now.edged)
	p.cmd.Process = heir
	go func() {
		_, p.err = heir.Wait()
		close(p.ended)
	}()
	b.running = append(b.running, p)
	t.servers[0], t.pids[0] = p, pid
	return nil
}

// kill has the gateway die, and another one start at once in its place.
func (b *bench) kill(t target) (float64, error) {
	old := t.servers[0]
	if err := old.cmd.Process.Kill(); err != nil {
		return 0, err
	}
	<-old.ended
	p, err := b.ready(subject{}, b.now.edged, "serve", "--config", b.configFile())
	if err != nil {
		return 0, err
	}
	t.servers[0], t.pids[0] = p, p.cmd.Process.Pid
	return 0, nil
}
