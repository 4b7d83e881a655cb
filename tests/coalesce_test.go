//go:build e2e

package tests

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// crowdOnto has all threads of the process share one CPU. Those that it starts from now on do so too.
func (g *gateway) crowdOnto(cpu int) {
	g.t.Helper()
	var set unix.CPUSet
	set.Set(cpu)
	for _, task := range must(os.ReadDir(g.proc("task")))(g.t) {
		id := must(strconv.Atoi(task.Name()))(g.t)
		if err := unix.SchedSetaffinity(id, &set); err != nil && err != unix.ESRCH { // a thread may end meanwhile
			g.t.Fatal(err)
		}
	}
}

// TestRestsWhereCPUsAreFull has two reactors share one CPU: they rest under load and answer everything, and with coalesce = "0s" none
// does.
func TestRestsWhereCPUsAreFull(t *testing.T) {
	var allowed unix.CPUSet
	check(t, unix.SchedGetaffinity(0, &allowed))
	cpu := 0
	for !allowed.IsSet(cpu) {
		cpu++
	}
	for _, coalesce := range []string{"", `coalesce = "0s"`} {
		t.Run(coalesce, func(t *testing.T) {
			k := newKit(t, echoHandler())
			g := start(t, setup{managers: []string{k.address}, gateway: fmt.Sprintf("reactors = 2\n%s", coalesce)})
			all := talkers{}.upTo(t, g, 200)
			g.crowdOnto(cpu)
			rests, turns := 0.0, 0.0
			for end := time.Now().Add(patience); rests < 100 && time.Now().Before(end); {
				check(t, all.volleys(100, dataFrames(1)))
				s := g.scrape()
				rests, turns = s.sum("edged_reactor_rests_total"), s.sum("edged_reactor_wakeups_total")
				if coalesce != "" && turns > 20_000 {
					break
				}
			}
			t.Logf("%v rests in %v turns", rests, turns)
			if coalesce == "" && rests < 100 || coalesce != "" && rests != 0 || rests > turns {
				t.Errorf("%v rests in %v turns", rests, turns)
			}
		})
	}
}
