package swarm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/swarm"
	"edged/wire"
)

// config is that of a small and quick swarm.
func config(target string) swarm.Config {
	cfg := swarm.Default()
	cfg.Target, cfg.Links, cfg.Duration, cfg.Patience, cfg.Loops = []string{target}, 20, 200*time.Millisecond, 2*time.Second, 1
	return cfg
}

// limited bounds a test that waits for something that may never come.
func limited(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func run(t testing.TB, cfg swarm.Config) swarm.Report {
	t.Helper()
	ctx := limited(t)
	rep, err := swarm.Run(ctx, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatal("the run took longer than its limit")
	}
	return rep
}

func wantOK(t testing.TB, rep swarm.Report) {
	t.Helper()
	if !rep.OK() {
		b, _ := json.Marshal(rep.Check)
		t.Errorf("not OK: %q\n%s", rep.Problems(), b)
	}
}

func TestClosedLoop(t *testing.T) {
	t.Parallel()
	for _, loops := range []int{1, 3} {
		t.Run(fmt.Sprint(loops, " loops"), func(t *testing.T) {
			t.Parallel()
			g := &gateway{}
			cfg := config(g.start(t))
			cfg.Checker, cfg.Depth, cfg.Size, cfg.Loops = true, 4, 200, loops
			rep := run(t, cfg)
			wantOK(t, rep)
			m := rep.Messages
			if m.Sent < 80 || m.Answered != m.Sent || rep.Latency.Count() != m.Sent || rep.Check.Reports != 20 || m.Renumbered != 0 {
				t.Errorf("messages %+v, %d latencies, %d reports", m, rep.Latency.Count(), rep.Check.Reports)
			}
			if rep.Connections.Opened != 20 || rep.Connections.Up != 20 || rep.Connect.Count() != 20 {
				t.Errorf("connections %+v", rep.Connections)
			}
			if s := g.look(); s.byes != 20 || len(s.times) != 20 {
				t.Errorf("the gateway saw %d BYEs and %d users", s.byes, len(s.times))
			}
		})
	}
}

func TestLargestMessages(t *testing.T) {
	t.Parallel()
	g := &gateway{}
	cfg := config(g.start(t))
	cfg.Size, cfg.Links, cfg.Checker = wire.MaxRest, 2, true
	wantOK(t, run(t, cfg))
}

func TestThink(t *testing.T) {
	t.Parallel()
	g := &gateway{}
	cfg := config(g.start(t))
	cfg.Think, cfg.Duration = 50*time.Millisecond, 300*time.Millisecond
	rep := run(t, cfg)
	wantOK(t, rep)
	// A link that thinks for 50 ms can send seven messages in 300 ms, eight with a little luck.
	if n := rep.Messages.Sent; n < 20 || n > 20*8 {
		t.Errorf("%d messages", n)
	}
}

func TestOpenLoopKeepsItsRate(t *testing.T) {
	t.Parallel()
	g := &gateway{}
	cfg := config(g.start(t))
	cfg.Rate, cfg.Checker, cfg.Loops = 2000, true, 2
	rep := run(t, cfg)
	wantOK(t, rep)
	want := cfg.Rate * rep.RunS
	if n := float64(rep.Messages.Sent); n > want+1 || n < want*0.8-40 {
		t.Errorf("%v messages in %v s, want about %v", n, rep.RunS, want)
	}
	if rep.Lag.Count() != rep.Messages.Sent {
		t.Errorf("%d lags of %d messages", rep.Lag.Count(), rep.Messages.Sent)
	}
}

// A target that stands still for a while must show in the latency of all the messages whose time came meanwhile.
func TestStallIsNotHidden(t *testing.T) {
	t.Parallel()
	g := &gateway{harm: once("swarm-3", upward, 2, stall)}
	cfg := config(g.start(t))
	cfg.Rate, cfg.Duration = 400, 700*time.Millisecond
	rep := run(t, cfg)
	wantOK(t, rep)
	if rep.Latency.Max() < stallTime*9/10 {
		t.Errorf("longest latency %v in a stall of %v", rep.Latency.Max(), stallTime)
	}
	// 160 of some 280 messages fall into the stall, and half of those wait for more than half of it.
	if q := rep.Latency.Quantile(0.8); q < stallTime/3 {
		t.Errorf("p80 %v hides a stall of %v", q, stallTime)
	}
}

// A closed loop whose answer is lost goes on after its patience, and counts it.
func TestClosedLoopGoesOnAfterALoss(t *testing.T) {
	t.Parallel()
	g := &gateway{harm: once("swarm-0", upward, 1, lose)}
	cfg := config(g.start(t))
	cfg.Links, cfg.Patience, cfg.Think = 1, 50*time.Millisecond, time.Millisecond
	rep := run(t, cfg)
	if m := rep.Messages; m.Unanswered != 1 || m.Sent < 3 || m.Answered != m.Sent-1 {
		t.Errorf("%+v", m)
	}
	if rep.OK() {
		t.Error("a lost message is OK")
	}
}

type faults map[string]string // list: "link count numbers"

func found(rep *swarm.Report) faults {
	f := faults{}
	put := func(name string, l swarm.List) {
		for _, e := range l.First {
			f[name] += strings.TrimSpace(fmt.Sprintf("%s %d %v", e.Link, e.Count, e.Numbers))
		}
	}
	put("corrupt", rep.Corrupt)
	a, m := rep.Check.Answers, rep.Check.Messages
	put("answers missing", a.Missing)
	put("answers doubled", a.Doubled)
	put("answers disordered", a.Disordered)
	put("messages missing", m.Missing)
	put("messages doubled", m.Doubled)
	put("messages disordered", m.Disordered)
	sent := rep.Check.Manager
	put("manager missing", sent.Missing)
	put("manager doubled", sent.Doubled)
	put("manager disordered", sent.Disordered)
	put("no report", rep.Check.NoReport)
	return f
}

func TestHarmIsFound(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		way  way
		what action
		want faults
	}{
		"message lost":       {upward, lose, faults{"answers missing": "swarm-7 1 [3]", "messages missing": "swarm-7 1 [3]"}},
		"answer lost":        {downward, lose, faults{"answers missing": "swarm-7 1 [3]", "manager missing": "swarm-7 1 [3]"}},
		"message doubled":    {upward, double, faults{"answers doubled": "swarm-7 1 [3]", "messages doubled": "swarm-7 1 []"}},
		"answer doubled":     {downward, double, faults{"answers doubled": "swarm-7 1 [3]", "manager doubled": "swarm-7 1 [3]"}},
		"message overtaken":  {upward, hold, faults{"answers disordered": "swarm-7 1 [3]", "messages disordered": "swarm-7 1 []"}},
		"answer overtaken":   {downward, hold, faults{"answers disordered": "swarm-7 1 [3]", "manager disordered": "swarm-7 1 [3]"}},
		"message changed":    {upward, flipFiller, faults{"corrupt": "swarm-7 1 [3]"}},
		"answer changed":     {downward, flipFiller, faults{"corrupt": "swarm-7 1 [3]"}},
		"answer's head gone": {downward, flipMagic, faults{"corrupt": "swarm-7 1 []", "answers missing": "swarm-7 1 [3]", "manager missing": "swarm-7 1 [3]"}},
		"answer cut":         {downward, truncate, faults{"corrupt": "swarm-7 1 [3]"}},
		"nothing":            {upward, pass, faults{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &gateway{harm: once("swarm-7", tc.way, 3, tc.what)}
			cfg := config(g.start(t))
			cfg.Checker, cfg.Rate, cfg.Patience = true, 400, 300*time.Millisecond
			rep := run(t, cfg)
			if got := found(&rep); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("found %v, want %v", got, tc.want)
			}
			if rep.OK() != (tc.what == pass) {
				t.Errorf("OK is %v: %q", rep.OK(), rep.Problems())
			}
			rep.Pause = swarm.Pause{} // any link may have the longest one
			var b strings.Builder
			if err := rep.WriteText(&b); err != nil || strings.Contains(b.String(), "swarm-7") != (tc.what != pass) {
				t.Errorf("text: %v\n%s", err, b.String())
			}
		})
	}
}

func TestListsAreBounded(t *testing.T) {
	t.Parallel()
	g := &gateway{harm: func(_ string, w way, p swarm.Payload) action {
		if w == upward && p.Op == swarm.OpEcho && p.Seq == 2 {
			return double
		}
		return pass
	}}
	cfg := config(g.start(t))
	cfg.Links, cfg.Checker, cfg.Loops = 200, true, 2
	rep := run(t, cfg)
	for _, l := range []swarm.List{rep.Check.Messages.Doubled, rep.Check.Answers.Doubled} {
		if l.Total != 200 || len(l.First) != swarm.MostListed {
			t.Errorf("total %d, %d listed", l.Total, len(l.First))
		}
	}
}

func TestReportThatNeverComes(t *testing.T) {
	t.Parallel()
	g := &gateway{harm: func(user string, _ way, p swarm.Payload) action {
		if p.Op == swarm.OpFinish && user == "swarm-1" {
			return lose
		}
		return pass
	}}
	cfg := config(g.start(t))
	cfg.Checker, cfg.Patience = true, 200*time.Millisecond
	rep := run(t, cfg)
	if n := rep.Check.NoReport; n.Total != 1 || n.First[0].Link != "swarm-1" || rep.Check.Reports != 19 || rep.OK() {
		t.Errorf("%+v, %d reports", n, rep.Check.Reports)
	}
}

func TestLogins(t *testing.T) {
	t.Parallel()
	for _, login := range []string{swarm.LoginSDK, swarm.LoginText, swarm.LoginNone} {
		t.Run(login, func(t *testing.T) {
			t.Parallel()
			g := &gateway{noLogin: login == swarm.LoginNone}
			cfg := config(g.start(t))
			cfg.Login, cfg.Links, cfg.UserPrefix, cfg.Device, cfg.Token, cfg.Silent = login, 1, "u", "d", "secret", true
			rep := run(t, cfg)
			wantOK(t, rep)
			hellos := g.look().hellos
			switch login {
			case swarm.LoginNone:
				if len(hellos) != 0 {
					t.Errorf("HELLO %q", hellos)
				}
			case swarm.LoginText:
				if len(hellos) != 1 || hellos[0] != "u0 d" {
					t.Errorf("HELLO %q", hellos)
				}
			default:
				var h edgedpb.Hello
				if err := proto.Unmarshal([]byte(hellos[0]), &h); err != nil || h.User != "u0" || h.Device != "d" || h.Token != "secret" {
					t.Errorf("HELLO %v, %v", &h, err)
				}
			}
			if rep.Messages.Sent != 0 {
				t.Errorf("a silent swarm sent %d messages", rep.Messages.Sent)
			}
		})
	}
}

func TestHeartbeats(t *testing.T) {
	t.Parallel()
	g := &gateway{welcome: wire.Welcome{Heartbeat: 40 * time.Millisecond, IdleTimeout: 2 * time.Second}}
	cfg := config(g.start(t))
	cfg.Silent, cfg.Duration = true, 500*time.Millisecond
	rep := run(t, cfg)
	wantOK(t, rep)
	// Up to twelve each; a loaded machine may miss some.
	if n := g.look().heartbeats; n < 20*3 || n > 20*13 || uint64(n) != rep.Messages.Heartbeats {
		t.Errorf("the gateway saw %d heartbeats of %d", n, rep.Messages.Heartbeats)
	}
}

func TestBusyLinksSendNoHeartbeats(t *testing.T) {
	t.Parallel()
	g := &gateway{welcome: wire.Welcome{Heartbeat: 200 * time.Millisecond, IdleTimeout: 2 * time.Second}}
	cfg := config(g.start(t))
	cfg.Think = 5 * time.Millisecond
	rep := run(t, cfg)
	if n := rep.Messages.Heartbeats; n > 5 {
		t.Errorf("%d heartbeats beside %d messages", n, rep.Messages.Sent)
	}
}

func TestSilentGatewayIsGivenUp(t *testing.T) {
	t.Parallel()
	g := &gateway{mute: true, welcome: wire.Welcome{Heartbeat: 50 * time.Millisecond, IdleTimeout: 100 * time.Millisecond}}
	cfg := config(g.start(t))
	cfg.Silent, cfg.Duration = true, 5*time.Second // ends when all links are gone
	rep := run(t, cfg)
	if rep.Connections.Lost["silent"] != 20 || rep.Connections.Up != 0 || rep.OK() {
		t.Errorf("%+v", rep.Connections)
	}
}

func TestPushesAndPings(t *testing.T) {
	t.Parallel()
	g := &gateway{greet: func(string) []byte {
		b := wire.AppendPing(nil, 7)
		b = wire.AppendPush(b, wire.Push{Flags: wire.FlagAck, Payload: []byte("news")})
		return wire.AppendPush(b, wire.Push{TID: 1, Payload: []byte("gossip")})
	}}
	cfg := config(g.start(t))
	rep := run(t, cfg)
	wantOK(t, rep)
	if m := rep.Messages; m.Pushes != 40 || m.Acks != 20 {
		t.Errorf("%+v", m)
	}
	if s := g.look(); s.acks != 20 || s.pongs != 20 {
		t.Errorf("the gateway saw %d ACKs and %d PONGs", s.acks, s.pongs)
	}
}

func TestGarbageEndsTheLink(t *testing.T) {
	t.Parallel()
	g := &gateway{harm: once("swarm-4", downward, 1, protocolless)}
	rep := run(t, config(g.start(t)))
	if c := rep.Connections; c.Lost["protocol error"] != 1 || c.Up != 19 || rep.Messages.Unanswered != 1 {
		t.Errorf("%+v %+v", c, rep.Messages)
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	for _, links := range []int{3, 3000} {
		cfg := config(address)
		cfg.Links = links
		rep, err := swarm.Run(limited(t), cfg, nil)
		if err == nil || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("error %v", err)
		}
		if rep.OK() || rep.Connections.Errors["connection refused"] > 600 {
			t.Errorf("%+v", rep.Connections)
		}
	}
}

func TestUnknownName(t *testing.T) {
	cfg := config("no-such-host.invalid:1")
	if _, err := swarm.Run(limited(t), cfg, nil); err == nil || !strings.Contains(err.Error(), "no-such-host.invalid") {
		t.Errorf("error %v", err)
	}
}

func TestRefusedLogins(t *testing.T) {
	t.Parallel()
	g := &gateway{judge: func(user string, _ int) (wire.Reason, time.Duration) {
		if user == "swarm-2" {
			return wire.ByeLoginFailed, 0
		}
		return 0, 0
	}}
	cfg := config(g.start(t))
	cfg.Reconnect = true
	rep := run(t, cfg)
	if c := rep.Connections; c.Errors["bye login_failed"] != 1 || c.Up != 19 || c.Retries != 0 || rep.OK() {
		t.Errorf("%+v", c)
	}
}

func TestReconnectObeysRetryAfter(t *testing.T) {
	t.Parallel()
	const after = 300 * time.Millisecond
	g := &gateway{judge: func(_ string, times int) (wire.Reason, time.Duration) {
		if times == 1 {
			return wire.ByeDraining, after
		}
		return 0, 0
	}}
	cfg := config(g.start(t))
	cfg.Reconnect, cfg.Duration = true, 1500*time.Millisecond
	rep := run(t, cfg)
	wantOK(t, rep)
	if c := rep.Connections; c.Errors["bye draining"] != 20 || c.Up != 20 || c.Retries != 20 {
		t.Errorf("%+v", c)
	}
	// Both sides stamp what happens with the beginning of their turn, which lies up to the length of one before it.
	const turn = 20 * time.Millisecond
	for user, times := range g.look().times {
		if len(times) != 2 || times[1]-times[0] < after-turn {
			t.Errorf("%s came at %v", user, times)
		}
	}
}

// A link that comes back is checked as a new one. What was in flight when the gateway sent it away is missing; when
// nothing was, all is well.
func TestCheckerOverReconnects(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]way{"nothing in flight": downward, "a message in flight": upward} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &gateway{}
			g.harm = func(user string, dir way, p swarm.Payload) action {
				switch {
				case dir != w || p.Seq != 3 || p.Op != swarm.OpEcho || g.users[user].hellos > 1:
					return pass
				case dir == upward:
					return dismissUnheard
				}
				return dismiss
			}
			cfg := config(g.start(t))
			cfg.Checker, cfg.Reconnect, cfg.Think, cfg.Duration = true, true, 10*time.Millisecond, 1500*time.Millisecond
			rep := run(t, cfg)
			c := rep.Connections
			if c.Byes["draining"] != 20 || c.Retries != 20 || c.Up != 20 || rep.Check.Reports != 20 || rep.Corrupt.Total != 0 {
				t.Errorf("%+v, %d reports", c, rep.Check.Reports)
			}
			if w == downward {
				wantOK(t, rep)
				return
			}
			missing := rep.Check.Answers.Missing
			if rep.Messages.Unanswered != 20 || missing.Total != 20 || !reflect.DeepEqual(missing.First[0].Numbers, []uint32{3}) {
				t.Errorf("%d unanswered, missing %+v", rep.Messages.Unanswered, missing)
			}
		})
	}
}

func TestReplacedLinksStayAway(t *testing.T) {
	t.Parallel()
	g := &gateway{greet: func(string) []byte { return wire.AppendBye(nil, wire.ByeReplaced, 0, "") }}
	cfg := config(g.start(t))
	cfg.Reconnect, cfg.Silent, cfg.Duration = true, true, 5*time.Second
	rep := run(t, cfg) // ends at once: all are gone for good
	if c := rep.Connections; c.Byes["replaced"] != 20 || c.Retries != 0 {
		t.Errorf("%+v", c)
	}
}

func TestWithoutReconnectLinksStayAway(t *testing.T) {
	t.Parallel()
	g := &gateway{judge: func(user string, _ int) (wire.Reason, time.Duration) { return wire.ByeOverloaded, time.Second }}
	cfg := config(g.start(t))
	_, err := swarm.Run(limited(t), cfg, nil)
	if err == nil || !strings.Contains(err.Error(), "bye overloaded") {
		t.Errorf("error %v", err)
	}
}

func TestRampRate(t *testing.T) {
	t.Parallel()
	g := &gateway{}
	cfg := config(g.start(t))
	cfg.Ramp, cfg.Links, cfg.Duration = 200, 60, time.Millisecond
	rep := run(t, cfg)
	wantOK(t, rep)
	// The last of 60 links has its time 295 ms after the start.
	if rep.RampS < 0.29 || rep.Connections.PerS > 210 {
		t.Errorf("ramp of %v s, %v links/s", rep.RampS, rep.Connections.PerS)
	}
}

func TestConnectsInFlight(t *testing.T) {
	t.Parallel()
	g := &gateway{holdHello: 30 * time.Millisecond}
	cfg := config(g.start(t))
	cfg.Links, cfg.Loops, cfg.Duration = 700, 2, time.Millisecond
	rep := run(t, cfg)
	wantOK(t, rep)
	if n := g.look().most; n > 256 || n < 16 {
		t.Errorf("up to %d links were waiting for WELCOME", n)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*swarm.Config){
		"in the run":  func(c *swarm.Config) { c.Duration = time.Hour },
		"in the ramp": func(c *swarm.Config) { c.Ramp, c.Links = 50, 500 },
		"open loop":   func(c *swarm.Config) { c.Duration, c.Rate = time.Hour, 500 },
		"checker":     func(c *swarm.Config) { c.Duration, c.Checker = time.Hour, true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &gateway{}
			cfg := config(g.start(t))
			set(&cfg)
			ctx, cancel := context.WithTimeout(limited(t), 250*time.Millisecond)
			defer cancel()
			rep, err := swarm.Run(ctx, cfg, nil)
			if err != nil || !rep.Interrupted {
				t.Errorf("interrupted %v, error %v", rep.Interrupted, err)
			}
			s := g.look()
			if s.byes < s.opened-1 { // one may have been connecting
				t.Errorf("%d of %d links said BYE", s.byes, s.opened)
			}
			if name != "in the ramp" {
				wantOK(t, rep)
			}
		})
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	g := &gateway{}
	cfg := config(g.start(t))
	cfg.Rate, cfg.Duration = 200, 1500*time.Millisecond
	var calls atomic.Int32
	rep, err := swarm.Run(limited(t), cfg, func(p swarm.Progress) {
		if p.Phase != "run" {
			return // on a slow machine a second ends elsewhere
		}
		calls.Add(1)
		if p.Links != 20 || p.Answered < 50 || p.P50 == 0 || p.P99 < p.P50 || p.Errors != 0 {
			t.Errorf("%+v", p)
		}
	})
	if err != nil || calls.Load() == 0 {
		t.Fatal(calls.Load(), err)
	}
	wantOK(t, rep)
	if rep.Latency.Count() != rep.Messages.Answered {
		t.Errorf("%d latencies of %d answers", rep.Latency.Count(), rep.Messages.Answered)
	}
}
