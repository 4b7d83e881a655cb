package swarm_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"edged/swarm"
	"edged/wire"
)

// onReport harms the Manager's account of one user.
func onReport(user string, what action) func(string, way, swarm.Payload) action {
	return func(name string, _ way, p swarm.Payload) action {
		if name == user && p.Op == swarm.OpReport {
			return what
		}
		return pass
	}
}

func TestHarmedReports(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		what action
		want faults
	}{
		"doubled": {double, faults{"answers doubled": "swarm-2 1", "manager doubled": "swarm-2 1"}},
		"cut":     {truncate, faults{"corrupt": "swarm-2 1", "no report": "swarm-2 1 []"}},
		"lost":    {lose, faults{"no report": "swarm-2 1 []"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &gateway{harm: onReport("swarm-2", tc.what)}
			cfg := config(g.start(t))
			cfg.Checker, cfg.Think, cfg.Patience = true, 20*time.Millisecond, 300*time.Millisecond
			rep := run(t, cfg)
			got := found(&rep)
			for list, entry := range got { // the number of the last message is chance
				if list != "no report" {
					var link string
					var count int
					if _, err := fmt.Sscan(entry, &link, &count); err != nil {
						t.Fatal(err)
					}
					got[list] = fmt.Sprint(link, " ", count)
				}
			}
			// A report that is held up by the second one of its own may come when its link is gone.
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("found %v, want %v", got, tc.want)
			}
		})
	}
}

// What a Manager sends without being asked must not disturb the account.
func TestUnaskedAnswers(t *testing.T) {
	t.Parallel()
	frame := func(p swarm.Payload) []byte {
		return wire.Append(nil, wire.KindData, swarm.AppendPayload(nil, p))
	}
	for name, b := range map[string][]byte{
		"an echo of nothing":   frame(swarm.Payload{Op: swarm.OpEcho, Seq: 9}),
		"number 0":             frame(swarm.Payload{Op: swarm.OpEcho}),
		"a report":             frame(swarm.Payload{Op: swarm.OpReport, Seq: 1, Rest: make([]byte, 16)}),
		"a finish":             frame(swarm.Payload{Op: swarm.OpFinish, Seq: 1}),
		"another conversation": wire.Append(nil, wire.KindData, []byte("hello")),
		"nothing":              wire.Append(nil, wire.KindData, nil),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &gateway{greet: func(user string) []byte {
				if user == "swarm-3" {
					return b
				}
				return nil
			}}
			cfg := config(g.start(t))
			cfg.Checker = true
			rep := run(t, cfg)
			want := faults{"corrupt": "swarm-3 1 []"}
			if got := found(&rep); !reflect.DeepEqual(got, want) || rep.Check.Reports != 20 {
				t.Errorf("found %v, %d reports", got, rep.Check.Reports)
			}
		})
	}
}

// Faults of one link that follow each other are one entry, with their first numbers.
func TestManyFaultsOfOneLink(t *testing.T) {
	t.Parallel()
	g := &gateway{harm: func(user string, w way, p swarm.Payload) action {
		if user == "swarm-0" && w == downward && p.Op == swarm.OpEcho && p.Seq <= 40 {
			return flipFiller
		}
		return pass
	}}
	cfg := config(g.start(t))
	cfg.Links, cfg.Depth, cfg.Checker = 1, 8, true
	rep := run(t, cfg)
	c := rep.Corrupt
	if c.Total != 40 || len(c.First) != 1 || c.First[0].Count != 40 || !slices.Equal(c.First[0].Numbers, upTo(1, swarm.MaxTallyList)) {
		t.Errorf("%+v", c)
	}
}

// A Manager that only echoes, without numbers, is good enough without the checker.
func TestPlainEcho(t *testing.T) {
	t.Parallel()
	g := &plainGateway{}
	cfg := config(g.start(t))
	cfg.Login = swarm.LoginNone
	rep := run(t, cfg)
	wantOK(t, rep)
	if rep.Messages.Renumbered != 0 || rep.Messages.Answered == 0 {
		t.Errorf("%+v", rep.Messages)
	}
}

// sums is what a random run must find.
type sums struct{ upLost, upDoubled, downLost, downDoubled, corrupt uint64 }

// Much harm at random: the lists must add up to what the gateway did.
func TestRandomHarmAddsUp(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var mu sync.Mutex
	var did sums
	g := &gateway{harm: func(_ string, w way, p swarm.Payload) action {
		if p.Op != swarm.OpEcho {
			return pass
		}
		mu.Lock()
		defer mu.Unlock()
		switch n := rnd.IntN(400); {
		case n == 0 && w == upward:
			did.upLost++
			return lose
		case n == 0:
			did.downLost++
			return lose
		case n == 1 && w == upward:
			did.upDoubled++
			return double
		case n == 1:
			did.downDoubled++
			return double
		case n == 2 && w == downward:
			did.corrupt++
			return flipFiller
		}
		return pass
	}}
	cfg := config(g.start(t))
	cfg.Links, cfg.Rate, cfg.Checker, cfg.Loops, cfg.Patience, cfg.Duration = 50, 10_000, true, 2, 300*time.Millisecond, 500*time.Millisecond
	rep := run(t, cfg)
	mu.Lock()
	defer mu.Unlock()
	m, a := rep.Check.Messages, rep.Check.Answers
	if m.Missing.Total != did.upLost || m.Doubled.Total != did.upDoubled || m.Disordered.Total != 0 {
		t.Errorf("at the Manager %d missing, %d doubled, %d disordered; the gateway did %+v", m.Missing.Total, m.Doubled.Total, m.Disordered.Total, did)
	}
	// An answer to a doubled message may itself be lost or doubled, which is rare: such a pair hides a fault or adds one.
	const rare = 3
	near := func(name string, got, want uint64) {
		if got+rare < want || got > want+rare {
			t.Errorf("%s: %d, want %d or %d more or less", name, got, want, rare)
		}
	}
	near("answers missing", a.Missing.Total, did.upLost+did.downLost)
	near("answers doubled", a.Doubled.Total, did.upDoubled+did.downDoubled)
	near("corrupt", rep.Corrupt.Total, did.corrupt)
	if near("unanswered", rep.Messages.Unanswered, a.Missing.Total); a.Disordered.Total != 0 {
		t.Errorf("%d answers out of order", a.Disordered.Total)
	}
	if got := rep.Messages.Answered + a.Missing.Total; got != rep.Messages.Sent {
		t.Errorf("%d answered and %d missing of %d sent", rep.Messages.Answered, a.Missing.Total, rep.Messages.Sent)
	}
}

// Whatever a gateway sends, the swarm must neither panic nor hang.
func FuzzGateway(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 99})
	f.Add(wire.AppendBye(nil, wire.ByeDraining, time.Millisecond, "text"))
	f.Add(wire.AppendPush(wire.AppendPing(nil, 1), wire.Push{Flags: wire.FlagAck | wire.FlagStamped, MsgID: []byte("m")}))
	f.Add(wire.Append(nil, wire.KindData, swarm.AppendReport(nil, swarm.Payload{Seq: 1}, 1, swarm.Tally{Missing: 1, First: []uint32{1}})))
	f.Add(wire.Append(nil, wire.KindData, swarm.AppendPayload(nil, swarm.Payload{Op: swarm.OpEcho, Seq: 1, SentNs: 1})))
	var g gateway
	var mu sync.Mutex
	var greeting []byte
	g.greet = func(string) []byte {
		mu.Lock()
		defer mu.Unlock()
		return greeting
	}
	target := g.start(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 50_000 {
			return // the gateway's output is bounded
		}
		mu.Lock()
		greeting = b
		mu.Unlock()
		cfg := config(target)
		cfg.Links, cfg.Duration, cfg.Patience, cfg.Checker, cfg.Reconnect = 2, time.Millisecond, 5*time.Millisecond, true, true
		_, _ = swarm.Run(limited(t), cfg, nil)
	})
}

// Pushes are accounted for like answers, by both sides' numbers, and each is acknowledged.
func TestPushes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		what action
		want faults
	}{
		"whole":    {pass, faults{}},
		"lost":     {lose, faults{"answers missing": "swarm-7 1 [4]", "manager missing": "swarm-7 1 [4]"}},
		"doubled":  {double, faults{"answers doubled": "swarm-7 1 [4]", "manager doubled": "swarm-7 1 [4]"}},
		"too late": {hold, faults{"answers disordered": "swarm-7 1 [4]", "manager disordered": "swarm-7 1 [4]"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &gateway{harm: once("swarm-7", downward, 4, tc.what)}
			cfg := config(g.start(t))
			cfg.Rate, cfg.Checker, cfg.Pushes, cfg.Patience = 2000, true, 2, 300*time.Millisecond
			rep := run(t, cfg)
			if got := found(&rep); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("found %v, want %v", got, tc.want)
			}
			m := rep.Messages
			if m.Pushes < m.Sent/3 || m.Acks != m.Pushes || uint64(g.look().acks) != m.Acks {
				t.Errorf("%d sent, %d pushes, %d acknowledged, %d seen", m.Sent, m.Pushes, m.Acks, g.look().acks)
			}
			if p := rep.Pause; p.Took != rep.Latency.Max() || p.At <= 0 || p.Link == "" {
				t.Errorf("pause %+v, longest latency %v", p, rep.Latency.Max())
			}
		})
	}
}

// The Manager's numbers of a link that breaks are accounted for up to the last one that came.
func TestNumbersOfABrokenLink(t *testing.T) {
	t.Parallel()
	lost := once("swarm-7", downward, 2, lose)
	cut := once("swarm-7", downward, 5, hangUp)
	g := &gateway{harm: func(user string, w way, p swarm.Payload) action {
		if what := lost(user, w, p); what != pass {
			return what
		}
		return cut(user, w, p)
	}}
	cfg := config(g.start(t))
	cfg.Rate, cfg.Checker, cfg.Patience = 2000, true, 300*time.Millisecond
	rep := run(t, cfg)
	if got := found(&rep)["manager missing"]; got != "swarm-7 1 [2]" || rep.Connections.Broken != 1 {
		t.Errorf("missing %q, %d broken", got, rep.Connections.Broken)
	}
}
