//go:build e2e

package tests

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// command is a started command of the binary that prints lines.
type command struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  chan string
	stderr *textLog
	exited chan struct{}
	err    error // set when exited is closed
}

// begin starts edged with args; the test's end kills it if it still runs.
func begin(t *testing.T, args ...string) *command {
	t.Helper()
	c := &command{t: t, cmd: exec.Command(edged, args...), lines: make(chan string, 1024), stderr: &textLog{}, exited: make(chan struct{})}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.cmd.Stderr = c.stderr
	out := must(c.cmd.StdoutPipe())(t)
	check(t, c.cmd.Start())
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			c.lines <- s.Text()
		}
		close(c.lines)
		c.err = c.cmd.Wait()
		close(c.exited)
	}()
	t.Cleanup(func() { _ = c.cmd.Process.Kill(); <-c.exited })
	return c
}

// line returns the first line that matches, with its groups.
func (c *command) line(pattern string) []string {
	c.t.Helper()
	re := regexp.MustCompile(pattern)
	limit := time.After(patience)
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				c.t.Fatalf("%v ended without a line that matches %s\n%s", c.cmd.Args, pattern, c.stderr)
			}
			if m := re.FindStringSubmatch(line); m != nil {
				return m
			}
		case <-limit:
			c.t.Fatalf("%v: no line matches %s", c.cmd.Args, pattern)
		}
	}
}

// ends waits for the end of the process with exit status 0.
func (c *command) ends() {
	c.t.Helper()
	select {
	case <-c.exited:
		if c.err != nil {
			c.t.Errorf("%v: %v\n%s", c.cmd.Args, c.err, c.stderr)
		}
	case <-time.After(patience):
		c.t.Fatalf("%v does not end", c.cmd.Args)
	}
}

func TestDemoShowsTheMainJob(t *testing.T) {
	t.Parallel()
	c := begin(t, "demo", "--duration", "2s", "--links", "200")
	c.line(`^ +1s  run +200 links +\d+ messages/s  p50 \S+ +p99 \S+ +\d+ chat words  0 errors$`)
	c.line(`^nothing was lost, doubled, out of order or wrong$`)
	c.ends()
}

func TestDemoStopsAtCtrlC(t *testing.T) {
	t.Parallel()
	c := begin(t, "demo", "--links", "100")
	c.line(`^ +1s  run `)
	check(t, c.cmd.Process.Signal(os.Interrupt))
	c.line(`^nothing was lost`)
	c.ends()
}

// TestDemoKeep is what a stranger does who reads the README: the twelve lines of Python, and a swarm.
func TestDemoKeep(t *testing.T) {
	t.Parallel()
	c := begin(t, "demo", "--keep", "--listen", "127.0.0.1:0")
	address := c.line(`^edged demo ready: gateway on (\S+), Manager on \S+;`)[1]
	host, port, err := net.SplitHostPort(address)
	check(t, err)

	script := must(filepath.Abs("../docs/client.py"))(t)
	if n := strings.Count(string(must(os.ReadFile(script))(t)), "\n"); n > 12 {
		t.Errorf("the client has %d lines", n)
	}
	if python, err := exec.LookPath("python3"); err != nil {
		t.Log("python3 is not here: its client is not tried")
	} else if out := must(exec.Command(python, script, host, port, "hello", "from", "Python").CombinedOutput())(t); string(out) != "alice: hello from Python\n" {
		t.Errorf("the client printed %q", out)
	}

	out := must(exec.Command(edged, "swarm", "--target", address, "--links", "50", "--duration", "1s", "--checker", "--json", "--quiet").Output())(t)
	var report struct {
		Messages struct{ Sent, Answered uint64 } `json:"messages"`
		Check    *struct{}                       `json:"check"`
	}
	check(t, json.Unmarshal(out, &report))
	if report.Messages.Sent == 0 || report.Messages.Sent != report.Messages.Answered || report.Check == nil {
		t.Errorf("the swarm's report: %s", out)
	}
	check(t, c.cmd.Process.Signal(os.Interrupt))
	c.ends()
}

func TestSwarmWithoutTarget(t *testing.T) {
	t.Parallel()
	lis := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	address := lis.Addr().String()
	check(t, lis.Close())
	out, err := exec.Command(edged, "swarm", "--target", address, "--links", "3", "--duration", "1s", "--patience", "2s").CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 {
		t.Errorf("exit status: %v", err)
	}
	if !strings.Contains(string(out), "connection refused") {
		t.Errorf("it does not say why: %s", out)
	}
}

// TestDemoUpgrade has the gateway's process replaced five times and killed twice under a swarm and people who chat. A link that was in
// use when it was killed may have ended.
func TestDemoUpgrade(t *testing.T) {
	t.Parallel()
	c := begin(t, "demo", "--upgrade", "--links", "100", "--people", "4", "--duration", "4s")
	c.line(`^ +kill 2: process \d+ serves \S+ later, with 1\d\d links$`)
	c.line(`^ +reload 5: process \d+ serves; links stood still for \S+, accepting for \S+$`)
	c.line(`^nothing was lost, doubled, out of order or wrong$`)
	c.line(`^5 reloads and 2 kills: \d links broken; messages lost 0 up and 0 down, doubled 0 and 0, out of order 0 and 0; longest pause of a client \S+$`)
	select {
	case <-c.exited:
		check(t, c.err)
	case <-time.After(patience):
		t.Error("it does not end")
	}
}
