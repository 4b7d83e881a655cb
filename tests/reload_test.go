//go:build e2e

package tests

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"edged/wire"
)

// TestReloadUnderLoad replaces the process many times under a swarm that checks every number, and under new links.
func TestReloadUnderLoad(t *testing.T) {
	links, times := number(t, "EDGED_RELOAD_LINKS", 1000), number(t, "EDGED_RELOAD_TIMES", 20)
	g := start(t, setup{gateway: "reactors = 2", managers: []string{reference(t)}})
	l := startNumbered(t, g.address(), links)
	epoch := g.statusJSON().Epoch
	var longest time.Duration
	for range times {
		longest = max(longest, g.reload())
	}
	s := g.statusJSON()
	if s.Reloads != uint64(times) || s.Epoch != epoch {
		t.Errorf("%d reloads, epoch %s, was %s", s.Reloads, s.Epoch, epoch)
	}
	if n := g.metric("edged_links_opened_total"); n < float64(links) {
		t.Errorf("%v links were opened, as the counters have it: they began anew", n)
	}
	l.finish()
	t.Logf("%d links, %d reloads, frozen for %v at most", links, times, longest)
	if bad := g.log.lines("level=ERROR"); len(bad) > 0 {
		t.Errorf("%q", bad)
	}
}

// TestReloadInPlace is mode "exec": the PID stays.
func TestReloadInPlace(t *testing.T) {
	g := start(t, setup{gateway: "reactors = 2", managers: []string{reference(t)}, more: "[handover]\nmode = \"exec\"\n"})
	l := startNumbered(t, g.address(), 300)
	for range 5 {
		if g.reload(); g.heir != nil {
			t.Fatalf("process %d has taken over from %d", g.pid(), g.cmd.Process.Pid)
		}
	}
	if s := g.statusJSON(); s.Reloads != 5 {
		t.Errorf("%d reloads", s.Reloads)
	}
	l.finish()
}

// TestReloadBySignal is SIGHUP, with a changed file: the next WELCOME shows it, and a link of before goes on.
func TestReloadBySignal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, admin := filepath.Join(dir, "edged.toml"), filepath.Join(dir, "admin.sock")
	s := setup{gateway: "login = \"none\"\nheartbeat = \"5s\"\nidle_timeout = \"20s\""}
	check(t, os.WriteFile(file, []byte(s.text(admin)), 0o600))
	g := startFile(t, file, admin, s)
	old := dial(t, g.address())
	if w := must(wire.ParseWelcome(old.want(wire.KindWelcome)))(t); w.Heartbeat != 5*time.Second {
		t.Fatalf("%+v", w)
	}
	check(t, os.WriteFile(file, []byte(strings.Replace(s.text(admin), "5s", "7s", 1)), 0o600))
	g.signal(syscall.SIGHUP)
	waitFor(t, "another process", func() bool { return g.statusJSON().Reloads == 1 })
	g.succeeded(g.statusJSON().PID)
	c := dial(t, g.address())
	if w := must(wire.ParseWelcome(c.want(wire.KindWelcome)))(t); w.Heartbeat != 7*time.Second {
		t.Errorf("%+v", w)
	}
	check(t, old.write(wire.AppendHeartbeat(nil)))
	old.want(0)
	check(t, os.WriteFile(file, []byte("[gateway]\nheartbeats = \"1s\"\n"), 0o600))
	g.signal(syscall.SIGHUP)
	waitFor(t, "the failure is told", func() bool { return len(g.log.lines("reload failed", "heartbeats")) == 1 })
	check(t, old.write(wire.AppendHeartbeat(nil)))
	old.want(0)
}

// TestReloadWithPassedSockets goes on with what systemd passed, also after a drain that is taken back.
func TestReloadWithPassedSockets(t *testing.T) {
	t.Parallel()
	tcp := listener(t)
	g := start(t, setup{
		gateway: "login = \"none\"\nreactors = 2", listeners: []string{"name = \"main\"\naddress = \"systemd:main\""},
		passed: []*os.File{tcp}, names: "main",
	})
	c := dial(t, g.address())
	c.want(wire.KindWelcome)
	for range 3 {
		g.reload()
		dial(t, g.address()).want(wire.KindWelcome)
	}
	g.wantCtl("draining", "drain", "--within", "1h")
	g.reload()
	if s := g.statusJSON(); s.State != "draining" {
		t.Errorf("a drain ends with a reload: %s", s.State)
	}
	g.wantCtl("not draining any more", "drain", "--undo")
	dial(t, g.address()).want(wire.KindWelcome)
	check(t, c.write(wire.AppendHeartbeat(nil)))
	c.want(0)
}

// TestReloadOfListeners has the file name others: new ones are taken, links of those that are gone live on.
func TestReloadOfListeners(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, admin := filepath.Join(dir, "edged.toml"), filepath.Join(dir, "admin.sock")
	first, second := freePort(t), "unix:"+filepath.Join(dir, "links.sock")
	write := func(s setup, admin string) {
		s.gateway = "login = \"none\"\nadvertise = \"192.0.2.1:7000\""
		check(t, os.WriteFile(file, []byte(s.text(admin)), 0o600))
	}
	write(setup{listeners: []string{`address = "` + first + `"`}}, admin)
	g := startFile(t, file, admin, setup{})
	c := dial(t, first)
	c.want(wire.KindWelcome)
	other := filepath.Join(dir, "other.sock")
	write(setup{listeners: []string{"name = \"local\"\naddress = \"" + second + `"`}}, other)
	status, stdout, stderr := g.ctl("reload")
	if status != 0 {
		t.Fatalf("%q, %q", stdout, stderr)
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // the new process removes it once it is sure to stay
		if _, err := os.Stat(admin); err != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the control socket of before is still there")
		}
	}
	g.admin = other
	g.succeeded(g.statusJSON().PID)
	dial(t, second).want(wire.KindWelcome)
	if conn, err := connect(first); err == nil {
		_ = conn.Close()
		t.Error("a listener that the file does not name any more still listens")
	}
	check(t, c.write(wire.AppendHeartbeat(nil)))
	c.want(0)
}

// TestReloadOneAtATime: a second order while one is under way is refused, and the first goes on.
func TestReloadOneAtATime(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "edged")
	install(t, binary, good(t), 0o755)
	g := start(t, setup{gateway: "login = \"none\"", binary: binary, env: []string{"EDGED_FAULT=check=hang"}, more: "[handover]\ncheck_timeout = \"3s\"\n"})
	install(t, binary, faulty(t), 0o755)
	g.signal(syscall.SIGHUP)
	waitFor(t, "the second one is refused", func() bool {
		status, _, stderr := g.ctl("reload")
		return status == 1 && strings.Contains(stderr, "a reload is under way")
	})
	waitFor(t, "the first one is over", func() bool { return len(g.log.lines("reload failed", "within 3s")) > 0 })
}

// TestTermDuringReload: who is told to leave leaves, and calls the hand-over off.
func TestTermDuringReload(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"check=hang", "serve=hang"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			binary := filepath.Join(t.TempDir(), "edged")
			install(t, binary, good(t), 0o755)
			g := start(t, setup{gateway: "login = \"none\"", binary: binary, env: []string{"EDGED_FAULT=" + fault}, more: "[handover]\ncheck_timeout = \"1m\"\naccept_pause = \"1m\"\nfreeze = \"10s\"\n"})
			c := dial(t, g.address())
			c.want(wire.KindWelcome)
			install(t, binary, faulty(t), 0o755)
			g.signal(syscall.SIGHUP)
			waitFor(t, "it is under way", func() bool {
				_, _, stderr := g.ctl("reload")
				return strings.Contains(stderr, "a reload is under way") || strings.Contains(stderr, "does not answer")
			})
			g.signal(syscall.SIGTERM)
			c.wantBye(wire.ByeDraining)
			g.wait(patience)
		})
	}
}

// TestReloadKeepsAnExit: the order to leave when empty goes on in the next process.
func TestReloadKeepsAnExit(t *testing.T) {
	t.Parallel()
	g := start(t, setup{gateway: `login = "none"`})
	c := dial(t, g.address())
	c.want(wire.KindWelcome)
	g.wantCtl("draining", "drain", "--within", "1h", "--exit")
	g.reload()
	check(t, c.send(wire.KindBye, nil))
	c.close()
	g.wait(patience)
}
