//go:build e2e

package tests

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"edged/wire"
)

// calls is how many system calls of each name were made.
type calls map[string]int

// traceLine is the beginning of a call: thread and name. The end of a call into which that of another thread came
// ("<... recvfrom resumed>"), signals and exits look different.
var traceLine = regexp.MustCompile(`^(\d+) +([a-z0-9_]+)\(`)

// reactorCalls are the calls of the reactor's thread while f runs. strace makes the process slower, and batches larger by that,
// but changes no count that belongs to a link: the reactor never asks twice. The test is skipped where nobody may look.
func (g *gateway) reactorCalls(f func() error) calls {
	g.t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		g.t.Skip("strace is not installed; tests/setup does that as root")
	}
	out := filepath.Join(g.t.TempDir(), "calls")
	cmd := exec.Command(path, "-f", "-e", "trace=all", "-e", "signal=none", "-e", "raw=all", "-s", "0",
		"-o", out, "-p", fmt.Sprint(g.cmd.Process.Pid))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said := must(cmd.StderrPipe())(g.t)
	check(g.t, cmd.Start())
	late := time.AfterFunc(2*patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	lines := bufio.NewReader(said)
	if first, err := lines.ReadString('\n'); err != nil || !strings.Contains(first, " attached") {
		killProcess(cmd)
		g.t.Skipf("strace may not look at edged: %q", first)
	}
	err = f()
	signalled := cmd.Process.Signal(syscall.SIGINT) // it lets go of edged, and ends by the signal
	_, drained := io.Copy(io.Discard, lines)
	_ = cmd.Wait()
	check(g.t, errors.Join(err, signalled, drained))
	return parseCalls(g.t, must(os.ReadFile(out))(g.t))
}

// parseCalls finds the reactor's thread: it receives by recvfrom. From and to Managers it reads and writes, as all others do; of
// interfaces that come and go beside the test, the kernel tells the others by recvfrom as well.
func parseCalls(t *testing.T, trace []byte) calls {
	t.Helper()
	threads := map[string]calls{}
	for line := range bytes.Lines(trace) {
		if m := traceLine.FindSubmatch(line); m != nil {
			thread, name := string(m[1]), string(m[2])
			if threads[thread] == nil {
				threads[thread] = calls{}
			}
			threads[thread][name]++
		}
	}
	var reactor calls
	all := 0
	for _, c := range threads {
		all += c["recvfrom"]
		if c["recvfrom"] > reactor["recvfrom"] {
			reactor = c
		}
	}
	if mine := reactor["recvfrom"]; 2*mine <= all {
		t.Fatalf("of %d recvfrom one thread makes %d, want most of them by the one reactor: %v", all, mine, threads)
	}
	return reactor
}

// runtimeCalls are those by which the Go runtime wakes its threads and stops them for the garbage collector, some of them on
// the reactor's thread. How many there are is the scheduler's dice and not the reactor's doing. Some of nanosleep are the reactor's
// rests, where CPUs are full; those have a counter, and there is one in a turn at most.
var runtimeCalls = []string{"futex", "nanosleep", "sched_yield", "getpid", "tgkill", "rt_sigreturn", "rt_sigprocmask", "madvise",
	"mmap", "munmap", "restart_syscall"}

// clockPerTurn is how often the time may be read in a turn where that is a call at all: on a machine whose clock the vDSO cannot
// read.
const clockPerTurn = 4

// others is how many calls there are besides the named ones, the waits, and the runtime's.
func (c calls) others(named ...string) (n int) {
	for name, times := range c {
		switch {
		case name == "epoll_pwait", slices.Contains(runtimeCalls, name), slices.Contains(named, name):
		case name == "clock_gettime":
			n += max(times-clockPerTurn*c["epoll_pwait"], 0)
		default:
			n += times
		}
	}
	return n
}

// table is every call, per message or whatever there were that many of.
func (c calls) table(of float64) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&b, "\n%10d %9.4f  %s", c[name], float64(c[name])/of, name)
	}
	return b.String()
}

// stray is how many calls of any other name a message may cost. The one there is asks what the peer has acknowledged (ioctl),
// once for each 8 KiB sent to a link: 64/8192 = 0.0078 of messages of 64 bytes, in the long run.
const stray = 0.01

// TestCostCalls counts from outside, so that a call which no counter counts is seen as well. Measured: depth 1 is 1.0000 recvfrom
// and 1.0000 sendto; depth 8 is 0.1250 recvfrom and 0.126 sendto and sendmsg; a heartbeat is 1.0000 recvfrom and 1.0000 sendto;
// and there is nothing else but the one wait of each turn, and 0.0075 of ioctl at depth 8.
func TestCostCalls(t *testing.T) {
	k := newKit(t, echoHandler())
	g := start(t, setup{managers: []string{k.address}})
	all := talkers{}.upTo(t, g, loadLinks)
	for _, l := range loads() {
		t.Run(l.name, func(t *testing.T) {
			g := g.in(t)
			var c calls
			s := g.measure(func() error {
				c = g.reactorCalls(func() error { return all.volleys(l.times, l.frames) })
				return nil
			})
			n := l.messages()
			t.Logf("per message:%s", c.table(n))
			receives, sends := c["recvfrom"], c["sendto"]+c["sendmsg"]
			if per := float64(receives+sends) / n; per > l.calls {
				t.Errorf("%.4f recv and send calls per message, at most %v are paid for", per, l.calls)
			}
			// A batch for the Manager is one write; so is the answer to a PING, which a gRPC server may want for each batch, where no batch
			// takes it along, and now and then the wake-up of a goroutine. What comes is read once a turn, more often if it is much.
			batches, turns := s.of("edged_manager_sent_batches_total"), s.of("edged_reactor_wakeups_total")
			if writes := float64(c["write"]); writes > 2*batches+10 {
				t.Errorf("%v writes for %v batches", writes, batches)
			}
			if reads := float64(c["read"]); reads > 2*turns {
				t.Errorf("%v reads from the Manager in %v turns", reads, turns)
			}
			if rests := s.of("edged_reactor_rests_total"); rests > turns {
				t.Errorf("%v rests in %v turns", rests, turns)
			}
			if per := float64(c.others("recvfrom", "sendto", "sendmsg", "write", "read")) / n; per > stray {
				t.Errorf("%.4f calls per message that are no recv, send or wait, at most %v are paid for", per, stray)
			}
			reads, writes := s.of("edged_reactor_reads_total"), s.of("edged_reactor_writes_total")
			if reads != float64(receives) || writes != float64(sends) {
				t.Errorf("%v reads and %v writes by the counters, %d and %d were made", reads, writes, receives, sends)
			}
			// The looks at the metrics are turns too, and not all of them are traced.
			if float64(c["epoll_pwait"]) > turns+2 {
				t.Errorf("%d waits in %v turns", c["epoll_pwait"], turns)
			}
		})
	}
}

// linkCalls is what a link costs that is accepted, has its WELCOME, and is closed by its client: 8 calls, and the waits. The second
// accept4 finds the queue empty, which is shared where links come together.
var linkCalls = calls{
	"accept4":   2,
	"epoll_ctl": 2, // in and out
	"sendto":    1, // the WELCOME
	"recvfrom":  1, // the end of the stream
	"shutdown":  1, // a process that holds a duplicate would keep the stream alive
	"close":     1,
}

// lookEvery is how often a reactor that is woken much may look how long it had to wait for CPUs (coalesceEvery in package netpoll).
const lookEvery = 50 * time.Millisecond

// TestCostAccept counts the calls of links that come one after the other, without a Manager.
func TestCostAccept(t *testing.T) {
	const links = 500
	g := start(t, setup{gateway: `login = "none"`})
	begin := time.Now()
	c := g.reactorCalls(func() error {
		for range links {
			if err := lookIn(g.address()); err != nil {
				return err
			}
		}
		g.waitMetric("edged_links", 0)
		return nil
	})
	looks := int(time.Since(begin)/lookEvery) + 1
	t.Logf("per link:%s", c.table(links))
	if c["pread64"] > looks {
		t.Errorf("%d looks at how long the reactor waited for CPUs, at most %d are paid for", c["pread64"], looks)
	}
	for name, per := range linkCalls {
		if c[name] > per*links+links/100 {
			t.Errorf("%d calls of %s for %d links, at most %d each are paid for", c[name], name, links, per)
		}
	}
	if n := c.others(append(slices.Collect(maps.Keys(linkCalls)), "pread64")...); n > links/100 {
		t.Errorf("%d calls for %d links that are not paid for", n, links)
	}
}

// lookIn connects, waits for the WELCOME and is gone.
func lookIn(address string) error {
	c, err := newClient(address)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.expect(wire.KindWelcome)
	return err
}
