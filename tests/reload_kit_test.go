//go:build e2e

package tests

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"edged/demo"
	"edged/swarm"
	"edged/wire"
)

// number is an environment variable's, for those who run a test longer or larger than usual (make soak).
func number(t *testing.T, name string, usual int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	return must(strconv.Atoi(text))(t)
}

// reference serves the reference Manager, which keeps account of every number, until the test ends.
func reference(t *testing.T) (address string) {
	t.Helper()
	m := demo.NewManager(slog.New(slog.DiscardHandler))
	lis := must(net.Listen("tcp", ownHost+":0"))(t)
	served := make(chan error, 1)
	go func() { served <- m.Serve(lis) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = m.Stop(ctx)
		<-served
	})
	return lis.Addr().String()
}

// mostRate is messages a second that the swarm and the Manager of a test can do beside the gateway, on a small machine.
const mostRate = 6000

// numbered is a swarm that checks every number on both sides, and somebody who comes and goes all the time.
type numbered struct {
	t       *testing.T
	address string
	cancel  context.CancelFunc
	up      chan struct{}
	done    sync.WaitGroup
	report  swarm.Report
	err     error

	came    atomic.Int64
	excused atomic.Int64 // visitors who may fail still
	refused atomic.Pointer[error]
}

// startNumbered returns when all links are open and talk.
func startNumbered(t *testing.T, address string, links int) *numbered {
	t.Helper()
	l := &numbered{t: t, address: address, up: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	cfg := swarm.Default()
	cfg.Target, cfg.Links, cfg.Duration, cfg.Checker, cfg.Pushes, cfg.Loops = []string{address}, links, time.Hour, true, 3, 1
	cfg.Rate, cfg.Patience = float64(min(2*links, mostRate)), patience
	l.done.Go(func() {
		var once sync.Once
		l.report, l.err = swarm.Run(ctx, cfg, func(p swarm.Progress) {
			if p.Phase == "run" && p.Answered > 0 {
				once.Do(func() { close(l.up) })
			}
		})
	})
	l.done.Go(func() { l.comeAndGo(ctx) })
	t.Cleanup(func() { cancel(); l.done.Wait() })
	select {
	case <-l.up:
	case <-time.After(patience):
		t.Fatal("the swarm does not talk")
	}
	return l
}

// comeAndGo opens links one after the other; each says something and leaves.
func (l *numbered) comeAndGo(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		if err := l.visit(fmt.Sprintf("visitor-%d x", n)); err != nil && ctx.Err() == nil {
			if l.excused.Add(-1) >= 0 {
				continue
			}
			l.refused.CompareAndSwap(nil, &err)
			return
		}
		l.came.Add(1)
	}
}

func (l *numbered) visit(who string) error {
	c, err := newClient(l.address)
	if err != nil {
		return err
	}
	defer c.close()
	if _, err := c.login(who); err != nil {
		return err
	}
	if err := c.write(wire.Append(nil, wire.KindData, []byte("hello"))); err != nil {
		return err
	}
	if f, err := c.next(patience); err != nil || f.kind != wire.KindData || !strings.HasSuffix(string(f.rest), ": hello") {
		return fmt.Errorf("instead of an answer: %v %q, %w", f.kind, f.rest, err)
	}
	return c.write(wire.AppendBye(nil, wire.ByeNormal, 0, ""))
}

// finish ends the load, of which nothing may be lost, doubled, out of order, broken or refused.
func (l *numbered) finish() {
	l.t.Helper()
	l.cancel()
	l.done.Wait()
	if l.err != nil {
		l.t.Fatal(l.err)
	}
	r := &l.report
	if !r.OK() || r.Connections.Broken != 0 {
		var text strings.Builder
		_ = r.WriteText(&text)
		l.t.Errorf("%d links broke, %q\n%s", r.Connections.Broken, r.Problems(), text.String())
	}
	if err := l.refused.Load(); err != nil {
		l.t.Errorf("visitor %d: %v", l.came.Load(), *err)
	}
	l.t.Logf("%d messages, %d pushes, %d visitors, longest pause %v", r.Messages.Sent, r.Messages.Pushes, l.came.Load(), r.Pause.Took)
}

// reloads says what `edged ctl reload` says.
var reloads = regexp.MustCompile(`^reloaded: process (\d+) serves; links stood still for (\S+), accepting for (\S+)\n$`)

// reload has the process replaced, which must succeed, and returns for how long the links stood still.
func (g *gateway) reload() (frozen time.Duration) {
	g.t.Helper()
	status, stdout, stderr := g.ctl("reload")
	m := reloads.FindStringSubmatch(stdout)
	if status != 0 || m == nil || stderr != "" {
		g.t.Fatalf("ctl reload: status %d, %q, %q", status, stdout, stderr)
	}
	pid := must(strconv.Atoi(m[1]))(g.t)
	g.succeeded(pid)
	if s := g.statusJSON(); s.PID != pid || s.Reload == nil || s.Reload.PID != pid {
		g.t.Errorf("process %d has taken over, and %d answers: %+v", pid, s.PID, s.Reload)
	}
	frozen = must(time.ParseDuration(m[2]))(g.t)
	return frozen
}

// wantNoReload has a reload fail with one sentence that matches, and nothing else happen.
func (g *gateway) wantNoReload(sentence string) {
	g.t.Helper()
	before := g.statusJSON()
	status, stdout, stderr := g.ctl("reload")
	want := regexp.MustCompile(`^edged: edged at \S+: ` + sentence + `\n$`)
	if status != 1 || stdout != "" || !want.MatchString(stderr) {
		g.t.Errorf("ctl reload: status %d, %q, %q, want %s", status, stdout, stderr, want)
	}
	if after := g.statusJSON(); after.PID != before.PID || after.Epoch != before.Epoch || after.Reloads != before.Reloads {
		g.t.Errorf("another process answers: %+v, was %+v", after, before)
	}
}

var (
	faultyOnce sync.Once
	faultyErr  error
	faultyText []byte
)

// faulty is the text of a binary that goes wrong as EDGED_FAULT says.
func faulty(t *testing.T) []byte {
	t.Helper()
	faultyOnce.Do(func() {
		var dir string
		if dir, faultyErr = os.MkdirTemp("", "edged-faulty"); faultyErr != nil {
			return
		}
		defer func() { _ = os.RemoveAll(dir) }()
		path := filepath.Join(dir, "edged")
		build := exec.Command("go", "build", "-tags", "edgedfault", "-o", path, "./cmd/edged")
		build.Dir = ".."
		if out, err := build.CombinedOutput(); err != nil {
			faultyErr = fmt.Errorf("go build: %w\n%s", err, out)
			return
		}
		faultyText, faultyErr = os.ReadFile(path)
	})
	check(t, faultyErr)
	return faultyText
}

// install puts a program to a path, in the place of the one that may run from there. No process begins while it is written: that one
// would have it open for a moment, in which nobody can execute it (ETXTBSY).
func install(t *testing.T, path string, text []byte, mode os.FileMode) {
	t.Helper()
	syscall.ForkLock.RLock()
	err := os.WriteFile(path+".new", text, 0o600)
	syscall.ForkLock.RUnlock()
	check(t, err)
	check(t, os.Chmod(path+".new", mode))
	check(t, os.Rename(path+".new", path))
}

// good is the text of the binary under test.
func good(t *testing.T) []byte {
	t.Helper()
	f := must(os.Open(edged))(t)
	defer f.Close()
	return must(io.ReadAll(f))(t)
}

// listener is a listening socket as systemd passes it.
func listener(t *testing.T) *os.File {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t).(*net.TCPListener)
	defer func() { _ = l.Close() }()
	return must(l.File())(t)
}

// occupied is an address that somebody listens on until the test ends.
func occupied(t *testing.T) string {
	t.Helper()
	l := must(net.Listen("tcp", ownHost+":0"))(t)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}
