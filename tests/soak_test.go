//go:build e2e

package tests

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// soakRate is how many messages a second all links of a soak send together.
const soakRate = mostRate

// TestSoak is what `make soak` runs: schedules for as long as it is told to, and very many links whose gateway is replaced, or dies,
// again and again under load. It prints a table at its end, and writes it to the file that EDGED_SOAK names.
func TestSoak(t *testing.T) {
	file := os.Getenv("EDGED_SOAK")
	if file == "" {
		t.Skip("it takes long: make soak")
	}
	s := &soak{t: t}
	defer func() { check(t, s.write(file)) }()
	links, times := number(t, "EDGED_SOAK_LINKS", 15000), number(t, "EDGED_SOAK_TIMES", 20)
	t.Run("reloads", func(t *testing.T) { s.replace(t, links, times, false) })
	t.Run("kills", func(t *testing.T) { s.replace(t, links, times, true) })
	t.Run("package", func(t *testing.T) { s.upgrade(t, links) })
	t.Run("schedules", func(t *testing.T) { s.schedules(t) })
}

// soak gathers what came of it.
type soak struct {
	t     *testing.T
	lines []string // of the table
}

// line adds a line to the table, and says it at once.
func (s *soak) line(t *testing.T, what string, times, links, messages int, ended, pause string) {
	t.Helper()
	result := "OK"
	if t.Failed() {
		result = "**FAILED**"
	}
	l := fmt.Sprintf("| %s | %d | %d | %d | %s | %s | %s |", what, times, links, messages, ended, pause, result)
	s.lines = append(s.lines, l)
	t.Log(l)
}

// write writes the table, with the machine and the commit that it is of.
func (s *soak) write(file string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n| what | times | links | messages | links that ended | pause of a client | |\n|---|---|---|---|---|---|---|\n%s\n",
		machine(), strings.Join(s.lines, "\n"))
	fmt.Print("\n", b.String())
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// machine is what the figures depend on.
func machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	cpu := "unknown CPU"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
			if k, v, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(k) == "model name" {
				cpu = strings.TrimSpace(v)
			}
		}
	}
	commit, _ := exec.Command("git", "describe", "--always", "--dirty").Output() // a tree without git has no name
	return fmt.Sprintf("%d × %s, Linux %s, %s, commit %s, %s", runtime.NumCPU(), cpu, unix.ByteSliceToString(u.Release[:]), runtime.Version(),
		strings.TrimSpace(string(commit)), time.Now().UTC().Format("2006-01-02"))
}

// schedules plays one after the other, as many as SCHEDULES or for as long as SOAK_SECONDS says.
func (s *soak) schedules(t *testing.T) {
	many, seed := scheduleCount(t, 100)
	long := time.Duration(number(t, "EDGED_SOAK_SECONDS", 0)) * time.Second
	first, began := seed, time.Now()
	var sum played
	for n := 0; long == 0 && n < many || long > 0 && time.Since(began) < long; n++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { sum.add(playSchedule(t, seed)) })
		if seed++; n%10 == 9 {
			t.Logf("%d schedules, %d steps, %d kills, %d messages in %v", n+1, sum.steps, sum.kills, sum.messages, time.Since(began).Round(time.Second))
		}
	}
	s.line(t, fmt.Sprintf("random schedules from seed %d: %d steps, %d of them kills", first, sum.steps, sum.kills), int(seed-first),
		scheduleLinks, sum.messages, sum.ended(), fmt.Sprintf("%v at most, with outages of Managers", round(sum.pause)))
}

// upgrade has a box's package upgraded, downgraded and installed again under very many links.
func (s *soak) upgrade(t *testing.T, links int) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a box")
	}
	cmd := exec.Command("tests/lab/package", "06-upgrade")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), fmt.Sprintf("LINKS=%d", links), "SUITES=bookworm")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	s.line(t, "the package upgraded, downgraded and installed again", 3, links, 0, "0", "not measured")
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// replace has the process of a gateway with very many links replaced again and again.
func (s *soak) replace(t *testing.T, links, times int, kill bool) {
	with := setup{gateway: "reactors = 2", managers: []string{reference(t)}}
	var g *kept
	if kill {
		g = startKept(t, startKeeper(t, "1m", "crashes = 1000"), with)
	} else {
		g = &kept{gateway: start(t, with)}
	}
	talk := startConversation(t, g.address(), links, soakRate)
	weather := &rough{}
	w := &walkers{address: g.address(), weather: weather}
	ctx, leave := context.WithCancel(context.Background())
	w.stroll(ctx)
	t.Cleanup(func() { leave(); w.work.Wait() })
	var took []time.Duration
	var pauses []time.Duration
	for n := range times {
		talk.longest() // of before
		if kill {
			weather.set(true)
			took = append(took, g.die(0))
			weather.set(false)
		} else {
			took = append(took, g.reload())
		}
		pause(2 * time.Second) // the swarm looks at itself each second
		pauses = append(pauses, talk.longest())
		t.Logf("%d of %d: %v, longest pause %v", n+1, times, round(took[n]), round(pauses[n]))
	}
	talk.finish()
	leave()
	w.check(t)
	g.waitMetric("edged_links", 0)
	g.balanced()
	r := &talk.report
	broken := r.Connections.Broken
	if broken > uint64(g.torn) || float64(g.torn) > 0.001*float64(links*times) {
		t.Errorf("%d links broke, %d were torn: %v %v", broken, g.torn, r.Connections.Byes, r.Connections.Lost)
	}
	what := "reload: links stood still for"
	if kill {
		what = "kill -9: the next process was ready after"
	}
	s.line(t, fmt.Sprintf("%s %v, at most %v", what, round(median(took)), round(slices.Max(took))), times, links, int(r.Messages.Sent),
		fmt.Sprint(broken), fmt.Sprintf("%v, at most %v", round(median(pauses)), round(slices.Max(pauses))))
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// die kills the process once all is kept, starts another one after a while, and returns how long it took until that was ready.
func (g *kept) die(later time.Duration) time.Duration {
	g.t.Helper()
	g.wantKept()
	began := time.Now()
	g.kill()
	pause(later)
	g.again()
	took := time.Since(began)
	r := g.wantKept().Recovered
	if r == nil || !r.Crash {
		g.t.Fatalf("the links of before are lost; the log:\n%s", g.log.tail(4<<10))
	}
	g.torn += r.Torn
	return took
}
