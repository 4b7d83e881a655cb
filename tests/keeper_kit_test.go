//go:build e2e

package tests

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"edged/admin"
)

// kept is a gateway whose links a keeper holds, and which is started again when it has ended. As under systemd its sockets stay
// open, so that nobody is refused.
type kept struct {
	*gateway // the process of now
	keeper   *keeperProcess
	file     string
	s        setup
	torn     int // links so far that were in use when their process died
}

// startKept returns when the keeper has everything.
func startKept(t *testing.T, k *keeperProcess, s setup) *kept {
	t.Helper()
	dir := t.TempDir()
	s.passed, s.names = []*os.File{listener(t)}, "main"
	s.listeners = []string{"name = \"main\"\naddress = \"systemd:main\""}
	s.more += fmt.Sprintf("[keeper]\nenabled = true\nsocket = %q\n", k.socket)
	g := &kept{keeper: k, file: filepath.Join(dir, "edged.toml"), s: s}
	admin := filepath.Join(dir, "admin.sock")
	check(t, os.WriteFile(g.file, []byte(s.text(admin)), 0o600))
	g.gateway = startFile(t, g.file, admin, s)
	g.wantKept()
	return g
}

// rewrite changes the file.
func (g *kept) rewrite(old, now string) {
	g.t.Helper()
	text := string(must(os.ReadFile(g.file))(g.t))
	if !strings.Contains(text, old) {
		g.t.Fatalf("there is no %q in\n%s", old, text)
	}
	check(g.t, os.WriteFile(g.file, []byte(strings.Replace(text, old, now, 1)), 0o600))
}

// listenAt has the process of next listen by itself.
func (g *kept) listenAt(address string) {
	g.t.Helper()
	g.rewrite("systemd:main", address)
	g.s.passed = nil
}

// again starts the process, which must have ended, anew.
func (g *kept) again() { g.gateway = startFile(g.t, g.file, g.admin, g.s) }

// begin starts the process and does not wait until it serves; ended is closed when it has ended.
func (g *kept) begin() (cmd *exec.Cmd, ended <-chan struct{}) {
	g.t.Helper()
	cmd = exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" serve --config "$1"`, cmp.Or(g.s.binary, edged), g.file)
	cmd.Env = append(append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES="+g.s.names), g.s.env...)
	cmd.ExtraFiles, cmd.Stderr = g.s.passed, g.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	over := make(chan struct{})
	check(g.t, spawn(cmd, over))
	go func() { _ = cmd.Wait(); close(over) }()
	return cmd, over
}

// crash kills the process and starts it again. It says how many links were torn.
func (g *kept) crash() (torn int) {
	g.t.Helper()
	crashes := uint64(0)
	if s := g.statusJSON(); s.Keeper != nil {
		crashes = s.Keeper.Crashes
	}
	g.kill()
	g.again()
	r := g.wantKept().Recovered
	if s := g.statusJSON().Keeper; r == nil || !r.Crash || s.Crashes != crashes+1 {
		g.t.Fatalf("after a crash: %+v; the log of before:\n%s", s, g.log.tail(4<<10))
	}
	g.torn += r.Torn
	return r.Torn
}

// wantKept waits until the keeper has everything.
func (g *kept) wantKept() *admin.KeeperStatus {
	g.t.Helper()
	var s *admin.KeeperStatus
	waitFor(g.t, "everything is kept", func() bool {
		s = g.statusJSON().Keeper
		return s != nil && s.State == "ok"
	})
	return s
}

// wantHeld waits until so many links are kept.
func (g *kept) wantHeld(links int) {
	g.t.Helper()
	waitFor(g.t, fmt.Sprintf("%d links are kept", links), func() bool { return g.wantKept().Links == links })
}

// wantWarning waits for a warning with these words, which must be the only one. What a process says may come later than what it does.
func (g *gateway) wantWarning(words ...string) {
	g.t.Helper()
	words = append(words, "level=WARN")
	waitFor(g.t, "the warning", func() bool { return len(g.log.lines(words...)) > 0 })
	if n := len(g.log.lines(words...)); n != 1 {
		g.t.Errorf("%d warnings:\n%s", n, g.log.tail(4<<10))
	}
}

// finishTorn ends the load. Links that were in use when their process died may have ended, and what they waited for is lost; of all
// others nothing may be lost, doubled, out of order or broken.
func (l *numbered) finishTorn(torn int) {
	l.t.Helper()
	l.cancel()
	l.done.Wait()
	if l.err != nil {
		l.t.Fatal(l.err)
	}
	r := &l.report
	c, ch := &r.Connections, r.Check
	var faults []string
	for what, n := range map[string]uint64{
		"links that could not be opened": sumOf(c.Errors), "corrupt": r.Corrupt.Total, "without an account": ch.NoReport.Total,
		"answers doubled": ch.Answers.Doubled.Total, "answers out of order": ch.Answers.Disordered.Total,
		"answers missing":  ch.Answers.Missing.Total - ch.Unheard.Total,
		"messages missing": ch.Messages.Missing.Total, "messages doubled": ch.Messages.Doubled.Total,
		"messages out of order": ch.Messages.Disordered.Total, "of the Manager missing": ch.Manager.Missing.Total,
		"of the Manager doubled": ch.Manager.Doubled.Total, "of the Manager out of order": ch.Manager.Disordered.Total,
	} {
		if n > 0 {
			faults = append(faults, fmt.Sprintf("%d %s", n, what))
		}
	}
	if len(faults) > 0 || c.Broken > uint64(torn) || c.Up != r.Links-int(c.Broken) {
		var text strings.Builder
		_ = r.WriteText(&text)
		l.t.Errorf("%q; %d of %d links up, %d broke, %d were torn\n%s", faults, c.Up, r.Links, c.Broken, torn, text.String())
	}
	if err := l.refused.Load(); err != nil {
		l.t.Errorf("visitor %d: %v", l.came.Load(), *err)
	}
	l.t.Logf("%d messages, %d pushes, %d visitors, longest pause %v; %d links torn, %d of the swarm's",
		r.Messages.Sent, r.Messages.Pushes, l.came.Load(), r.Pause.Took, torn, c.Broken)
}

func sumOf(m map[string]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}

// abandon ends the load, whatever has become of it.
func (l *numbered) abandon() {
	l.excused.Store(1 << 40)
	l.cancel()
	l.done.Wait()
}

// wantCut waits for the end of a link, without a farewell.
func (c *client) wantCut() {
	c.t.Helper()
	if f, err := c.next(patience); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("the link lives on: %v, %v", f, err)
	}
}
