package swarm_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"edged/swarm"
	"edged/wire"
)

func TestTargetsInTurn(t *testing.T) {
	t.Parallel()
	a, b := &gateway{}, &gateway{}
	cfg := config(a.start(t))
	cfg.Target = append(cfg.Target, b.start(t))
	cfg.Links, cfg.Loops = 30, 3
	wantOK(t, run(t, cfg))
	if n, m := a.look().opened, b.look().opened; n != 15 || m != 15 {
		t.Errorf("%d and %d links", n, m)
	}
}

// A link that was sent away tries the next target.
func TestOtherTargetAfterBye(t *testing.T) {
	t.Parallel()
	a := &gateway{judge: func(string, int) (wire.Reason, time.Duration) { return wire.ByeDraining, 0 }}
	b := &gateway{}
	cfg := config(a.start(t))
	cfg.Target = append(cfg.Target, b.start(t))
	cfg.Reconnect, cfg.Duration = true, 1500*time.Millisecond
	rep := run(t, cfg)
	wantOK(t, rep)
	if n, m := a.look().opened, b.look().opened; n != 10 || m != 20 {
		t.Errorf("%d and %d links", n, m)
	}
}

func TestLocalAddressesInTurn(t *testing.T) {
	t.Parallel()
	g := &gateway{}
	cfg := config(g.start(t))
	cfg.From = []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}
	wantOK(t, run(t, cfg))
	if r := g.look().remotes; r["127.0.0.2"] != 10 || r["127.0.0.3"] != 10 {
		t.Errorf("links came from %v", r)
	}
}

func TestLocalAddressThatIsNotOurs(t *testing.T) {
	t.Parallel()
	g := &gateway{}
	cfg := config(g.start(t))
	cfg.From = []netip.Addr{netip.MustParseAddr("192.0.2.77")}
	rep, err := swarm.Run(limited(t), cfg, nil)
	if err == nil || !strings.Contains(err.Error(), "cannot assign") || rep.Connections.Errors["cannot assign requested address"] != 20 {
		t.Errorf("%v, %+v", err, rep.Connections)
	}
}

func TestTargetByName(t *testing.T) {
	t.Parallel()
	g := &gateway{}
	_, port, err := net.SplitHostPort(g.start(t))
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := net.LookupHost("localhost")
	if err != nil || !slices.Contains(addrs, "127.0.0.1") {
		t.Skipf("localhost is %v, %v", addrs, err)
	}
	wantOK(t, run(t, config("localhost:"+port)))
}

// fullListener returns the address of a socket whose queue of connections is full, so that the kernel drops every SYN.
func fullListener(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "listener")
	t.Cleanup(func() { _ = file.Close() })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", sa.(*syscall.SockaddrInet4).Port)
	for range 8 {
		c, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Skip("the queue does not fill")
	return ""
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	cfg := config(fullListener(t))
	cfg.Patience = 100 * time.Millisecond
	began := time.Now()
	rep, err := swarm.Run(limited(t), cfg, nil)
	if err == nil || !strings.Contains(err.Error(), "no answer in time") || rep.Connections.Errors["no answer in time"] != 20 {
		t.Errorf("%v, %+v", err, rep.Connections)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestNoWelcome(t *testing.T) {
	t.Parallel()
	g := &gateway{holdHello: time.Hour}
	cfg := config(g.start(t))
	cfg.Patience = 100 * time.Millisecond
	rep, err := swarm.Run(limited(t), cfg, nil)
	if err == nil || rep.Connections.Errors["no welcome in time"] != 20 {
		t.Errorf("%v, %+v", err, rep.Connections)
	}
}

func TestBadWelcomes(t *testing.T) {
	t.Parallel()
	for name, frame := range map[string][]byte{
		"twice":       wire.AppendWelcome(nil, wire.Welcome{Heartbeat: time.Second}),
		"no protobuf": {0, 2, byte(wire.KindWelcome), 0xff},
		"client's":    {0, 1, byte(wire.KindHello)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &gateway{greet: func(user string) []byte {
				if user == "swarm-0" {
					return frame
				}
				return nil
			}}
			if c := run(t, config(g.start(t))).Connections; c.Lost["protocol error"] != 1 || c.Up != 19 {
				t.Errorf("%+v", c)
			}
		})
	}
}

// WELCOME without times leaves the protocol's defaults, and Config.Heartbeat goes before both.
func TestHeartbeatOfTheConfig(t *testing.T) {
	t.Parallel()
	g := &gateway{}
	g.welcome = wire.Welcome{LinkID: []byte("x"), Heartbeat: time.Hour, IdleTimeout: 2 * time.Hour}
	cfg := config(g.start(t))
	cfg.Silent, cfg.Heartbeat, cfg.Duration = true, 50*time.Millisecond, 400*time.Millisecond
	rep := run(t, cfg)
	wantOK(t, rep)
	if n := g.look().heartbeats; n < 20 {
		t.Errorf("%d heartbeats", n)
	}
}

// A gateway that reads nothing must be told apart from one that is slow: what could not be sent is counted.
func TestDeafGateway(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*swarm.Config){
		"open loop":   func(c *swarm.Config) { c.Rate = 2000 },
		"closed loop": func(c *swarm.Config) { c.Depth = 1024 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &gateway{deaf: true}
			cfg := config(g.start(t))
			cfg.Links, cfg.Size, cfg.Patience = 2, 60_000, 300*time.Millisecond
			set(&cfg)
			rep := run(t, cfg)
			m := rep.Messages
			if m.Answered != 0 || m.Unanswered != m.Sent || m.Sent == 0 || rep.OK() {
				t.Errorf("%+v", m)
			}
			if cfg.Rate > 0 && (m.Unsent == 0 || float64(m.Sent+m.Unsent) < cfg.Rate*rep.RunS/2) {
				t.Errorf("%d sent, %d not sent at %v/s", m.Sent, m.Unsent, cfg.Rate)
			}
			if m.BytesOut > 64<<20 {
				t.Errorf("%d bytes were written to a gateway that does not read", m.BytesOut)
			}
		})
	}
}

// With a rate the schedule goes on while no link is up.
func TestScheduleWithoutLinks(t *testing.T) {
	t.Parallel()
	g := &gateway{judge: func(_ string, times int) (wire.Reason, time.Duration) {
		if times > 1 {
			return wire.ByeOverloaded, time.Hour
		}
		return 0, 0
	}}
	g.harm = func(_ string, w way, p swarm.Payload) action {
		if w == upward {
			return dismiss
		}
		return pass
	}
	cfg := config(g.start(t))
	cfg.Rate, cfg.Reconnect, cfg.Duration = 1000, true, time.Second
	rep := run(t, cfg)
	if m := rep.Messages; m.Sent < 20 || m.Unsent < 100 || m.Sent+m.Unsent > 1100 {
		t.Errorf("%+v", m)
	}
}

// No more messages of a link than Depth may wait for answers, and as many should.
func TestDepth(t *testing.T) {
	t.Parallel()
	flying, most := map[string]int{}, 0
	g := &gateway{}
	g.harm = func(user string, w way, p swarm.Payload) action {
		switch {
		case w == downward:
			flying[user]--
		case p.Op == swarm.OpEcho:
			flying[user]++
			most = max(most, flying[user])
			if p.Seq == 10 {
				return stall
			}
		}
		return pass
	}
	cfg := config(g.start(t))
	cfg.Depth, cfg.Links, cfg.Checker, cfg.Duration = 7, 3, true, 100*time.Millisecond
	rep := run(t, cfg)
	wantOK(t, rep)
	g.loop.Post(func() {
		if most > 7 {
			t.Errorf("%d messages of a link were under way", most)
		}
	})
}

// An answer that comes after it was given up counts as an answer, and the link goes on.
func TestLateAnswer(t *testing.T) {
	t.Parallel()
	g := &gateway{harm: once("swarm-0", upward, 2, stall)}
	cfg := config(g.start(t))
	cfg.Links, cfg.Patience, cfg.Duration, cfg.Think = 1, 150*time.Millisecond, 800*time.Millisecond, 5*time.Millisecond
	rep := run(t, cfg)
	if m := rep.Messages; m.Unanswered == 0 || m.Answered < 10 || m.Answered > m.Sent || rep.Latency.Max() < stallTime*9/10 {
		t.Errorf("%+v, longest latency %v", m, rep.Latency.Max())
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	files := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(list)
	}
	g := &gateway{}
	cfg := config(g.start(t))
	cfg.Duration = 20 * time.Millisecond
	run(t, cfg)
	fds, goroutines := files(), runtime.NumGoroutine()
	for range 3 {
		cfg.Loops = 3
		run(t, cfg)
	}
	settled := func() bool { return files() <= fds && runtime.NumGoroutine() <= goroutines }
	for end := time.Now().Add(5 * time.Second); !settled(); {
		if time.Now().After(end) {
			t.Fatalf("%d files and %d goroutines, before %d and %d", files(), runtime.NumGoroutine(), fds, goroutines)
		}
		runtime.Gosched()
	}
}

// Sending and checking a message must not allocate. The rest of the process may, so it is the average that counts.
func TestMessagesDoNotAllocate(t *testing.T) {
	g := &plainGateway{}
	cfg := config(g.start(t))
	cfg.Login, cfg.Depth, cfg.Checker, cfg.Patience = swarm.LoginNone, 16, true, 100*time.Millisecond
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	rep := run(t, cfg)
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > 1000+rep.Messages.Answered/20 {
		t.Errorf("%d allocations, %d messages", n, rep.Messages.Answered)
	}
}
