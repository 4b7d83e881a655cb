//go:build e2e

package tests

import (
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"edged/handover"
	"edged/wire"
)

// TestKeeperRestart stops the process in order and starts it again, under load: nothing is lost at all.
func TestKeeperRestart(t *testing.T) {
	g := startKept(t, startKeeper(t, "1m", "# the defaults"), setup{gateway: "reactors = 2", managers: []string{reference(t)}})
	l := startNumbered(t, g.address(), 500)
	for range 4 { // more than the crashes that would cost the links
		g.stop()
		g.again() // and at once
		g.stop()
		g.again()
		if s := g.wantKept(); s.Recovered == nil || s.Recovered.Crash || s.Recovered.Torn != 0 || s.Crashes != 0 {
			t.Errorf("after a restart: %+v, %+v", s, s.Recovered)
		}
	}
	l.finish()
}

// TestKeeperRestartWithOther settings: what does not fit the links costs them, with one warning, and the process serves.
func TestKeeperRestartWithOther(t *testing.T) {
	t.Parallel()
	g := startKept(t, startKeeper(t, "1m"), setup{gateway: "login = \"none\"\nreactors = 2"})
	c := dial(t, g.address())
	c.want(wire.KindWelcome)
	g.wantHeld(1)
	g.stop()
	g.rewrite("reactors = 2", "reactors = 1")
	g.again()
	c.wantCut()
	g.wantWarning("the links of before are lost", "reactors is 1 and was 2")
	g.wantHeld(0)
	dial(t, g.address()).want(wire.KindWelcome)
}

// TestKeeperRestartElsewhere listens by itself after a restart, and on another port, instead of on what was passed: the links of
// before live on, until the gateway has another address for Managers.
func TestKeeperRestartElsewhere(t *testing.T) {
	t.Parallel()
	g := startKept(t, startKeeper(t, "1m"), setup{gateway: "login = \"none\"\nadvertise = \"192.0.2.1:7000\""})
	c := dial(t, g.address())
	c.want(wire.KindWelcome)
	g.wantHeld(1)
	goesOn := func() {
		t.Helper()
		g.again()
		if s := g.wantKept(); s.Recovered == nil {
			t.Errorf("%+v", s)
		}
		check(t, c.write(wire.AppendHeartbeat(nil)))
		c.want(0)
		dial(t, g.address()).want(wire.KindWelcome)
	}
	passed := g.s.passed
	g.stop()
	g.listenAt(freePort(t))
	goesOn()
	g.kill()
	g.rewrite(g.address(), "systemd:main")
	g.s.passed = passed
	goesOn()

	g.stop()
	g.rewrite("192.0.2.1", "192.0.2.2")
	g.again()
	c.wantCut()
	g.wantWarning("the links of before are lost", `advertise is \"192.0.2.2:7000\" and was`)
}

// TestKeeperRestartWithOtherListener: without advertise the listener's address is what Managers know the links by.
func TestKeeperRestartWithOtherListener(t *testing.T) {
	t.Parallel()
	g := startKept(t, startKeeper(t, "1m"), setup{gateway: `login = "none"`})
	c := dial(t, g.address())
	c.want(wire.KindWelcome)
	g.wantHeld(1)
	g.stop()
	g.listenAt(freePort(t))
	g.again()
	c.wantCut()
	g.wantWarning("the links of before are lost", "systemd:main")
}

// TestKeeperAwaitsAGoodStart: starts that fail are no crashes, and the links wait for one that does not.
func TestKeeperAwaitsAGoodStart(t *testing.T) {
	t.Parallel()
	g := startKept(t, startKeeper(t, "1m", "# the defaults"), setup{gateway: "login = \"none\"\nadvertise = \"192.0.2.1:7000\""})
	c := dial(t, g.address())
	c.want(wire.KindWelcome)
	g.wantHeld(1)
	g.kill()
	g.listenAt(freePort(t))
	taken := "[[listener]]\nname = \"second\"\naddress = \"" + occupied(t) + "\"\n[manager]"
	g.rewrite("[manager]", taken)
	for range 4 {
		if status, _, stderr := run(t, "serve", "--config", g.file); status != 1 || !strings.Contains(stderr, "address already in use") {
			t.Fatalf("status %d, %s", status, stderr)
		}
	}
	g.rewrite(taken, "[manager]")
	g.again()
	if s := g.wantKept(); s.Crashes != 1 || s.Links != 1 {
		t.Errorf("%+v", s)
	}
	check(t, c.write(wire.AppendHeartbeat(nil)))
	c.want(0)
}

// TestKeeperFarewell: where links are to go, they go, keeper or not.
func TestKeeperFarewell(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		drain []string // by ctl, before
		more  string   // of [keeper]
		left  bool     // it leaves without a signal
	}{
		"on_stop":        {more: "on_stop = \"drain\"\n"},
		"drain":          {drain: []string{"--within", "1s"}},
		"drain and exit": {drain: []string{"--within", "1s", "--exit"}, left: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := startKeeper(t, "1m")
			g := startKept(t, k, setup{gateway: `login = "none"`, more: ""})
			g.rewrite("[keeper]\n", "[keeper]\n"+tc.more)
			if tc.more != "" {
				g.stop()
				g.again()
			}
			c := dial(t, g.address())
			c.want(wire.KindWelcome)
			g.wantHeld(1)
			if len(tc.drain) > 0 {
				g.wantCtl("draining", append([]string{"drain"}, tc.drain...)...)
			}
			if !tc.left {
				g.signal(syscall.SIGTERM)
			}
			c.wantBye(wire.ByeDraining)
			g.wait(patience)
			if left, w := k.gateway(); w.Links != 0 || w.Memory != -1 || w.Crashes != 0 {
				t.Errorf("the keeper has %+v", w)
			} else {
				left.Close()
			}
		})
	}
}

// TestKeeperReload kills processes that a reload has put into the place of others, in both ways.
func TestKeeperReload(t *testing.T) {
	for _, mode := range []string{"fork", "exec"} {
		t.Run(mode, func(t *testing.T) {
			g := startKept(t, startKeeper(t, "1m"), setup{
				gateway: "reactors = 2", managers: []string{reference(t)},
				more: "[handover]\nmode = \"" + mode + "\"\naccept_pause = \"5s\"\nfreeze = \"3s\"\n",
			})
			l := startNumbered(t, g.address(), 300)
			for range 3 {
				g.reload()
				g.reload()
				g.wantKept()
				l.excused.Add(2)
				g.crash()
			}
			l.finishTorn(g.torn)
		})
	}
}

// TestKeeperBySwitch: a reload puts [keeper] into effect, and out of it.
func TestKeeperBySwitch(t *testing.T) {
	t.Parallel()
	g := startKept(t, startKeeper(t, "1m"), setup{gateway: `login = "none"`})
	c := dial(t, g.address())
	c.want(wire.KindWelcome)
	g.rewrite("[keeper]\nenabled = true", "[keeper]\nenabled = false")
	g.reload()
	if s := g.statusJSON(); s.Keeper != nil || s.Links != 1 {
		t.Errorf("%d links, keeper %+v", s.Links, s.Keeper)
	}
	g.keeper.hears("STATUS=0 links kept")
	g.rewrite("[keeper]\nenabled = false", "[keeper]\nenabled = true")
	g.reload()
	g.wantHeld(1)
	g.crash()
	check(t, c.write(wire.AppendHeartbeat(nil)))
	c.want(0)
}

// TestKeeperOdd finds something at the keeper that it cannot go on with: it says so once, lets go of it, and serves.
func TestKeeperOdd(t *testing.T) {
	t.Parallel()
	memory := func(t *testing.T, change func(m *handover.Memory)) int {
		m := must(handover.NewMemory(handover.Geometry{Shards: 1, Records: 100, Blocks: 10}))(t)
		change(m)
		t.Cleanup(func() { _ = m.Close() })
		return m.FD()
	}
	for name, tc := range map[string]struct {
		memory func(t *testing.T) int
		why    string
	}{
		"garbage": {func(t *testing.T) int {
			fd := must(unix.MemfdCreate("odd", unix.MFD_CLOEXEC))(t)
			t.Cleanup(func() { _ = unix.Close(fd) })
			return fd
		}, "handover: no shared memory"},
		"another format": {func(t *testing.T) int {
			return memory(t, func(m *handover.Memory) { must(unix.Pwrite(m.FD(), []byte{99}, 8))(t) })
		}, "handover: no shared memory"},
		"retired": {func(t *testing.T) int { return memory(t, (*handover.Memory).Retire) }, "a process died while it took them over"},
		"of somebody else": {func(t *testing.T) int { return memory(t, func(*handover.Memory) {}) },
			"what the process itself left cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := startKeeper(t, "1m")
			odd, _ := k.gateway()
			check(t, odd.Share(tc.memory(t), true))
			pair := must(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
			deposit(t, odd, 1, pair[0])
			check(t, unix.Close(pair[0]))
			odd.Close()
			g := startKept(t, k, setup{gateway: `login = "none"`})
			g.wantWarning("the links of before are lost", tc.why)
			if n := len(g.log.lines("level=WARN")); n != 1 {
				t.Errorf("%d warnings:\n%s", n, g.log.tail(4<<10))
			}
			if n, err := unix.Read(pair[1], make([]byte, 1)); n != 0 || err != nil {
				t.Errorf("the link reads %d, %v", n, err)
			}
			_ = unix.Close(pair[1])
			dial(t, g.address()).want(wire.KindWelcome)
			g.wantHeld(1)
		})
	}
}
