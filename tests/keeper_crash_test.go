//go:build e2e

package tests

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"edged/wire"
)

// TestKeeperKill kills the process again and again under a swarm that checks every number, and under new links.
func TestKeeperKill(t *testing.T) {
	g := startKept(t, startKeeper(t, "1m"), setup{gateway: "reactors = 2", managers: []string{reference(t)}})
	l := startNumbered(t, g.address(), number(t, "EDGED_KEEPER_LINKS", 1000))
	for range number(t, "EDGED_KEEPER_TIMES", 5) {
		pause(500 * time.Millisecond)
		l.excused.Add(2) // one that is here, and one that was just accepted
		g.crash()
	}
	pause(500 * time.Millisecond)
	l.finishTorn(g.torn)
}

// TestKeeperAbort is the end by a signal of the watchdog, by a panic, and by one that nobody can catch.
func TestKeeperAbort(t *testing.T) {
	binary := t.TempDir() + "/edged"
	install(t, binary, faulty(t), 0o755)
	g := startKept(t, startKeeper(t, "1m"), setup{
		managers: []string{reference(t)}, binary: binary, env: []string{"EDGED_FAULT=hangup=panic"},
	})
	l := startNumbered(t, g.address(), 200)
	for _, s := range []syscall.Signal{syscall.SIGABRT, syscall.SIGHUP, syscall.SIGSEGV} {
		pause(200 * time.Millisecond)
		l.excused.Add(2)
		g.signal(s)
		<-g.exited
		if g.status == nil {
			t.Errorf("%v: it left with status 0", s)
		}
		g.ended = true
		*g.log = textLog{} // a panic's
		g.again()
		r := g.wantKept().Recovered
		if r == nil {
			t.Fatalf("%v: its links are lost; the log:\n%s\nthe keeper's:\n%s", s, g.log.tail(4<<10), g.keeper.log.tail(4<<10))
		}
		g.torn += r.Torn
	}
	pause(200 * time.Millisecond)
	l.finishTorn(g.torn)
	if s := g.statusJSON().Keeper; s.Crashes != 3 {
		t.Errorf("%+v", s)
	}
}

// TestKeeperAtOnce kills processes while they start. What one of them has not yet taken over the next one takes; in a moment of some
// milliseconds all links are lost.
func TestKeeperAtOnce(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	g := startKept(t, startKeeper(t, "1m"), setup{gateway: "reactors = 2", managers: []string{reference(t)}})
	l := startNumbered(t, g.address(), 200)
	for range 10 {
		l.excused.Add(4)
		g.kill()
		cmd, ended := g.begin()
		pause(time.Duration(random.Int64N(int64(150 * time.Millisecond))))
		_ = cmd.Process.Kill()
		<-ended
		g.again()
		r := g.wantKept().Recovered
		if r == nil {
			g.wantWarning("the links of before are lost")
			t.Log("it was that moment")
			l.abandon()
			return
		}
		g.torn += r.Torn
	}
	l.finishTorn(g.torn + 50) // and those that were torn when a process was killed that had just come
}

// TestKeeperLoop: three crashes within a minute cost the links, for one of them may be the cause.
func TestKeeperLoop(t *testing.T) {
	t.Parallel()
	g := startKept(t, startKeeper(t, "1m", "# the defaults"), setup{gateway: `login = "none"`})
	c := dial(t, g.address())
	c.want(wire.KindWelcome)
	g.wantHeld(1)
	for range 2 {
		g.crash()
		check(t, c.write(wire.AppendHeartbeat(nil)))
		c.want(0)
	}
	g.kill()
	g.again()
	c.wantCut()
	if s := g.wantKept(); s.Recovered != nil || s.Crashes != 0 {
		t.Errorf("a start without links says %+v", s)
	}
	g.wantWarning("links=1", "too many crashes within a minute")
	dial(t, g.address()).want(wire.KindWelcome)
}

// TestKeeperEnds: the keeper's own end costs nothing, but with the gateway's at the same time.
func TestKeeperEnds(t *testing.T) {
	t.Parallel()
	k := startKeeper(t, "1m")
	g := startKept(t, k, setup{managers: []string{reference(t)}})
	l := startNumbered(t, g.address(), 200)
	k.kill()
	waitFor(t, "it is noticed", func() bool { return g.statusJSON().Keeper.State != "ok" })
	g.wantWarning("keeper")
	k.start()
	g.waitMetric("edged_keeper_found_total", 1)
	turns := g.metric("edged_keeper_turns_total")
	waitFor(t, "some turns, in which it is given everything", func() bool { return g.metric("edged_keeper_turns_total") > turns+20 })
	l.excused.Add(2)
	g.crash()
	l.finishTorn(g.torn)

	c := dialIn(t, g.address(), "ann x")
	k.kill()
	g.kill()
	g.again() // it serves without
	c.wantCut()
	dialIn(t, g.address(), "ann x")
	k.start()
	g.wantHeld(1)
	waitFor(t, "the keeper has it", func() bool { return g.metric("edged_keeper_given_total") > 0 })
	g.balanced()
}

// TestKeeperLate: a gateway without a keeper serves all the same, and is kept from when it comes.
func TestKeeperLate(t *testing.T) {
	t.Parallel()
	k := startKeeper(t, "1m")
	k.kill()
	s := setup{gateway: `login = "none"`, more: "[keeper]\nenabled = true\nsocket = \"" + k.socket + "\"\n"}
	g := start(t, s)
	dial(t, g.address()).want(wire.KindWelcome)
	if state := g.statusJSON().Keeper; state == nil || state.State == "ok" || state.Links != 0 {
		t.Errorf("without a keeper: %+v", state)
	}
	g.wantWarning("keeper")
	g.signal(syscall.SIGHUP) // a reload does not mind
	waitFor(t, "another process", func() bool { return g.statusJSON().Reloads == 1 })
	g.succeeded(g.statusJSON().PID)
	k.start()
	waitFor(t, "the link is kept", func() bool { return g.statusJSON().Keeper.Links == 1 })
}
