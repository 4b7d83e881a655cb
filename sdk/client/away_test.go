package client_test

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"edged/sdk/client"
	"edged/wire"
)

// BYE 8, 9 and 12 name the time before which nobody is to be called, and the next one called is another.
func TestSentAwayForATime(t *testing.T) {
	for name, what := range map[string]act{"draining": drain, "overloaded": turnAway, "no Manager": noManager} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{answer: listOf("a:1 b:1", `"ttl_s":3600`)}
				f := newFleet(t, acting(map[string]act{"a:1": what}))
				f.after = 90 * time.Second
				c := newClient(t, dispatched(s, f))
				time.Sleep(time.Hour / 2)
				f.want("a:1@0", "b:1@90")
				if s.times() != 1 {
					t.Errorf("asked %d times", s.times())
				}
				c.Close()
				f.shut()
			})
		})
	}
}

// A new list may still have the gateway in front that has just sent its links away.
func TestSentAwayIsTriedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: listOf("a:1 b:1 c:1", `"ttl_s":5`)}
		f := newFleet(t, acting(map[string]act{"a:1": drain, "b:1": refuse, "c:1": refuse}))
		f.after = 7 * time.Second
		c := newClient(t, dispatched(s, f))
		time.Sleep(15 * time.Second)
		if s.times() != 2 {
			t.Errorf("asked %d times", s.times())
		}
		c.Close()
		f.shut()
		f.want("a:1@0", "b:1@10", "c:1@10", "a:1@10") // the back-off's 10 s are longer
	})
}

// Where there is no other, the same one is called again in its time.
func TestSentAwayFromTheOnlyOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: listOf("a:1", `"ttl_s":5`)}
		f := newFleet(t, func(_ string, n int) act { return [...]act{drain, let}[min(n, 1)] })
		f.after = 42 * time.Second
		c := newClient(t, dispatched(s, f))
		time.Sleep(time.Hour)
		f.want("a:1@0", "a:1@42")
		c.Close()
		f.shut()
	})
}

// A gateway that welcomes and drops its clients is not stormed, though there are others.
func TestDroppedLinksBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: listOf("a:1 b:1", `"ttl_s":3600`)}
		f := newFleet(t, func(string, int) act { return drop })
		c := newClient(t, dispatched(s, f))
		time.Sleep(100 * time.Second)
		c.Close()
		f.shut()
		f.want("a:1@0", "b:1@10", "a:1@30", "b:1@70")
	})
}

// TestHeartbeatOfTheList: WELCOME says how often; where it does not, the list did.
func TestHeartbeatOfTheList(t *testing.T) {
	for welcome, want := range map[time.Duration]time.Duration{0: 7 * time.Second, 9 * time.Second: 9 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := &service{answer: listOf("a:1", `"heartbeat_ms":7000`)}
			g := newFake(t)
			o := options(g, newLog())
			o.Addresses, o.Dispatch, o.HTTP = nil, "http://dispatch.example", s.http()
			newClient(t, o)
			p := g.accept()
			p.want(wire.KindHello)
			w := usual
			w.Heartbeat = welcome
			p.send(wire.AppendWelcome(nil, w))
			began := time.Now()
			p.wantHeartbeat()
			if d := time.Since(began); d != want {
				t.Errorf("heartbeat after %v, want %v", d, want)
			}
		})
	}
}

// TestWalkModel lets gateways and the service behave at random for a long time: whatever they do, one thing is done at a
// time, nobody is called before a retry-after is over, and when all is well again so is the client.
func TestWalkModel(t *testing.T) {
	for range 20 {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		synctest.Test(t, func(t *testing.T) { walkModel(t, seed) })
		if t.Failed() {
			return
		}
	}
}

func walkModel(t *testing.T, seed uint64) {
	random, pause := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1)) // the client's goroutine has the first
	const names = "a:1 b:1 c:1 d:1 e:1 f:1"
	began := time.Now()
	wild := func() bool { return time.Since(began) < 6*time.Hour }
	s := &service{}
	f := newFleet(t, nil)
	f.after = 20 * time.Second
	f.act = func(string, int) act {
		if wild() {
			return act(random.IntN(int(acts)))
		}
		return let
	}
	s.answer = func(w http.ResponseWriter, r *http.Request) {
		if f.busy() > 0 {
			t.Error("the service is asked while a link is open")
		}
		choice := random.IntN(6)
		switch {
		case !wild() || choice < 3:
			all := strings.Fields(names)
			random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			listOf(strings.Join(all[:1+random.IntN(len(all))], " "), `"ttl_s":20`)(w, r)
		case choice == 3:
			<-r.Context().Done()
		case choice == 4:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			_, _ = w.Write([]byte("nonsense"))
		}
	}
	f.during = func() {
		if s.flying() > 0 {
			t.Error("a link is opened while the service is asked")
		}
		if at := f.lastBye(); time.Now().Before(at) {
			t.Errorf("called %v before its time", time.Until(at))
		}
	}
	o := dispatched(s, f)
	o.Backoff = client.Backoff{}
	c := newClient(t, o)
	for wild() {
		time.Sleep(time.Duration(pause.Int64N(int64(2 * time.Minute))))
		f.breakAll() // those that are up
	}
	time.Sleep(20 * time.Minute)
	if c.State() != client.Up || f.most != 1 || s.most != 1 {
		t.Errorf("%v: %v, %d attempts and %d questions at a time", c.State(), c.Err(), f.most, s.most)
	}
	// Ten rounds a minute at the very most; far fewer as long as the back-off grows.
	if n := s.times(); n < 20 || n > 3600 {
		t.Errorf("%d questions in six hours", n)
	}
	c.Close()
	f.shut()
}
