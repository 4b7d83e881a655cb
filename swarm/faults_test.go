package swarm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/netpoll"
	"edged/swarm"
)

// deadAddress returns an address at which nobody listens.
func deadAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestHalfOfTheTargetsAreDead(t *testing.T) {
	t.Parallel()
	g := &gateway{}
	cfg := config(g.start(t))
	cfg.Target = append(cfg.Target, deadAddress(t))
	cfg.Links = 1000 // more than would be hopeless
	rep := run(t, cfg)
	c := rep.Connections
	if c.Up != 500 || c.Errors["connection refused"] != 500 || rep.OK() || len(c.Errors) != 1 {
		t.Errorf("%+v", c)
	}
}

func TestLinksThatBreak(t *testing.T) {
	for name, tc := range map[string]struct {
		what action
		why  string
	}{
		"ended": {hangUp, "ended by the peer without bye"},
		"reset": {reset, "connection reset by peer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &gateway{harm: once("swarm-9", upward, 2, tc.what)}
			cfg := config(g.start(t))
			cfg.Checker = true
			rep := run(t, cfg)
			c, missing := rep.Connections, rep.Check.Answers.Missing
			if c.Lost[tc.why] != 1 || len(c.Lost) != 1 || c.Up != 19 || rep.Messages.Unanswered != 1 || rep.Check.Reports != 19 {
				t.Errorf("%+v, %+v, %d reports", c, rep.Messages, rep.Check.Reports)
			}
			if missing.Total != 1 || missing.First[0].Link != "swarm-9" || !slices.Equal(missing.First[0].Numbers, []uint32{2}) {
				t.Errorf("missing %+v", missing)
			}
			if unheard := rep.Check.Unheard; unheard.Total != 1 || unheard.First[0].Link != "swarm-9" {
				t.Errorf("missing at the end of the link: %+v", unheard)
			}
		})
	}
}

// The last of the links takes the place of one that left: none may be passed over or asked twice.
func TestRateOverChangingLinks(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	count := map[string]int{}
	g := &gateway{}
	g.harm = func(user string, w way, p swarm.Payload) action {
		mu.Lock()
		defer mu.Unlock()
		if w == upward && p.Op == swarm.OpEcho {
			if count[user]++; count[user] == 5 && strings.HasSuffix(user, "3") {
				return hangUp
			}
		}
		return pass
	}
	cfg := config(g.start(t))
	cfg.Rate, cfg.Duration = 2000, 500*time.Millisecond
	rep := run(t, cfg)
	if rep.Connections.Up != 18 {
		t.Fatalf("%+v", rep.Connections)
	}
	mu.Lock()
	defer mu.Unlock()
	share := float64(rep.Messages.Sent) / 18
	for user, n := range count {
		if gone := strings.HasSuffix(user, "3"); gone && n != 5 || !gone && (float64(n) < share*0.7 || float64(n) > share*1.3) {
			t.Errorf("%s sent %d of %d messages", user, n, rep.Messages.Sent)
		}
	}
}

// A swarm that may come back waits for a gateway that is not there yet.
func TestGatewayThatComesLate(t *testing.T) {
	t.Parallel()
	address := deadAddress(t)
	cfg := config(address)
	cfg.Reconnect, cfg.Duration, cfg.Login = true, time.Hour, swarm.LoginNone
	done := make(chan swarm.Report)
	go func() {
		ctx, cancel := context.WithCancel(limited(t))
		defer cancel()
		rep, err := swarm.Run(ctx, cfg, func(p swarm.Progress) {
			if p.Links == cfg.Links {
				cancel() // all are there
			}
		})
		if err != nil {
			t.Error(err)
		}
		done <- rep
	}()
	time.Sleep(300 * time.Millisecond) // the time of a restart, which is the subject
	group, err := netpoll.New(netpoll.Config{}, func(l *netpoll.Loop) netpoll.Handler { return &plain{l} })
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := group.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	group.Start()
	defer group.Stop()
	rep := <-done
	wantOK(t, rep)
	if c := rep.Connections; c.Errors["connection refused"] < 20 || c.Opened != 20 || c.Retries < 20 {
		t.Errorf("%+v", c)
	}
}

// A swarm whose gateway dies ends early: nothing is left to wait for.
func TestGatewayThatDies(t *testing.T) {
	t.Parallel()
	group, err := netpoll.New(netpoll.Config{}, func(l *netpoll.Loop) netpoll.Handler { return &plain{l} })
	if err != nil {
		t.Fatal(err)
	}
	_, addr, err := group.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	group.Start()
	defer group.Stop()
	cfg := config(addr.String())
	cfg.Login, cfg.Duration, cfg.Rate = swarm.LoginNone, time.Hour, 100
	var once sync.Once
	rep, err := swarm.Run(limited(t), cfg, func(p swarm.Progress) {
		if p.Phase == "run" {
			once.Do(group.Stop)
		}
	})
	if err != nil || rep.Interrupted || rep.Connections.Up != 0 || rep.OK() {
		t.Errorf("%+v, %v", rep.Connections, err)
	}
	lost := uint64(0)
	for _, n := range rep.Connections.Lost {
		lost += n
	}
	if lost != 20 {
		t.Errorf("lost %v", rep.Connections.Lost)
	}
}

// Every phase that takes a while shows in the progress.
func TestPhasesShow(t *testing.T) {
	t.Parallel()
	g := &gateway{harm: func(_ string, _ way, p swarm.Payload) action {
		if p.Op == swarm.OpFinish || p.Op == swarm.OpEcho && p.Seq == 2 {
			return lose
		}
		return pass
	}}
	cfg := config(g.start(t))
	cfg.Ramp, cfg.Checker, cfg.Links, cfg.Rate, cfg.Duration, cfg.Patience = 2, true, 3, 40, 1200*time.Millisecond, 1200*time.Millisecond
	var shown []string
	rep, err := swarm.Run(limited(t), cfg, func(p swarm.Progress) {
		shown = append(shown, p.Phase)
		if p.Phase == "finish" && p.Errors == 0 {
			t.Errorf("%+v after losses", p)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	order := []string{"ramp", "run", "settle", "finish", "leave"}
	if !slices.IsSortedFunc(shown, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) }) || !slices.Contains(shown, "finish") {
		t.Errorf("phases %v", shown)
	}
	if rep.Check.NoReport.Total != 3 || rep.Messages.Unanswered != 3 {
		t.Errorf("%+v, %d unanswered", rep.Check.NoReport, rep.Messages.Unanswered)
	}
}

// Reports of several swarms can be put together from their JSON.
func TestReportsMerge(t *testing.T) {
	t.Parallel()
	var both swarm.Histogram
	total := uint64(0)
	for range 2 {
		g := &gateway{}
		rep := run(t, config(g.start(t)))
		b, err := json.Marshal(&rep)
		if err != nil {
			t.Fatal(err)
		}
		var back swarm.Report
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		both.Merge(back.Latency)
		total += rep.Messages.Answered
	}
	if both.Count() != total || both.Quantile(0.5) == 0 {
		t.Errorf("%d times, %d answers", both.Count(), total)
	}
}

// A Manager answers a swarm with one Answerer for each link.
func ExampleAnswerer() {
	var manager swarm.Answerer
	send := func(op swarm.Op, number uint32) swarm.Payload {
		answer := manager.Answer(nil, swarm.AppendPayload(nil, swarm.Payload{Op: op, Seq: number}))
		p, _ := swarm.ParsePayload(answer)
		return p
	}
	send(swarm.OpEcho, 1)
	send(swarm.OpEcho, 3) // 2 was lost on the way
	account := send(swarm.OpFinish, 3)
	tally, _ := swarm.ParseReport(account.Rest)
	fmt.Printf("answer %d: %d received, missing %v\n", account.Answer, tally.Received, tally.First)
	// Output: answer 3: 2 received, missing [2]
}

func ExampleRun() {
	cfg := swarm.Default()
	cfg.Target, cfg.Links, cfg.Duration = []string{"127.0.0.1:1"}, 2, time.Second
	_, err := swarm.Run(context.Background(), cfg, nil)
	fmt.Println(err)
	// Output: swarm: no link came up at 127.0.0.1:1: connection refused
}
