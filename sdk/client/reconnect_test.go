package client_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/sdk/client"
	"edged/wire"
)

func TestReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		l := newLog()
		o := options(f, l)
		o.OnState = func(s client.State, err error) { l.add("%v", s) }
		c := newClient(t, o)
		p := f.welcomed()
		l.want(t, "connecting", "up")
		began := time.Now()
		_ = p.conn.Close()
		p = f.accept()
		if at := time.Since(began); at > time.Second {
			t.Errorf("first wait of %v is over the base", at)
		}
		var h edgedpb.Hello
		if err := proto.Unmarshal(p.want(wire.KindHello), &h); err != nil || h.Resume != string(usual.LinkID) {
			t.Errorf("hello %v, %v", &h, err)
		}
		_ = c.Send([]byte("kept until the link is up"))
		p.welcome()
		p.want(wire.KindData)
		l.want(t, "connecting", "up", "waiting", "connecting", "up")
		if c.Stats().Links != 2 {
			t.Errorf("%+v", c.Stats())
		}
	})
}

// The waits grow up to the maximum, and are spread over all of it.
func TestBackoffGrowsWithFullJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials []time.Time
		c := newClient(t, client.Options{
			Addresses: []string{"gate:1"},
			Backoff:   client.Backoff{Base: time.Second, Max: time.Minute, Factor: 2},
			Dial: func(context.Context, string, string) (net.Conn, error) {
				dials = append(dials, time.Now())
				return nil, errors.New("nobody")
			},
		})
		time.Sleep(2 * time.Hour)
		c.Close()
		ceiling := time.Second
		longest, below := time.Duration(0), 0
		for i := 1; i < len(dials); i++ {
			d := dials[i].Sub(dials[i-1])
			if d > ceiling {
				t.Errorf("wait %d of %v is over %v", i, d, ceiling)
			}
			if ceiling = min(2*ceiling, time.Minute); i > 10 {
				longest = max(longest, d)
				if d < 30*time.Second {
					below++
				}
			}
		}
		// 240 waits of 30 s on average: the bounds lie many deviations away.
		if n := len(dials); n < 150 || n > 400 || longest < 45*time.Second || below < n/4 || below > n*3/4 {
			t.Errorf("%d tries in two hours, %d waits below the half, longest %v", n, below, longest)
		}
	})
}

func TestBackoffWithoutJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials []time.Duration
		began := time.Now()
		c := newClient(t, client.Options{
			Addresses: []string{"a:1", "b:1", "unix:/c"},
			Backoff:   client.Backoff{Base: time.Second, Max: 5 * time.Second, Factor: 2, Jitter: -1},
			Dial: func(_ context.Context, network, address string) (net.Conn, error) {
				want := [...]string{"tcp a:1", "tcp b:1", "unix /c"}[len(dials)%3]
				if got := network + " " + address; got != want {
					t.Errorf("dials %s, want %s", got, want)
				}
				dials = append(dials, time.Since(began))
				return nil, errors.New("nobody")
			},
		})
		time.Sleep(20 * time.Second)
		c.Close()
		for i, want := range []time.Duration{0, 1, 3, 7, 12, 17} {
			if i >= len(dials) || dials[i] != want*time.Second {
				t.Fatalf("tries at %v, want number %d at %d s", dials, i, want)
			}
		}
	})
}

// A gateway that greets and drops its clients is not stormed; one that was up for long is tried soon.
func TestShortLinksCountAsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		o := options(f, newLog())
		o.Backoff = client.Backoff{Base: time.Second, Max: time.Hour, Factor: 2, Jitter: -1}
		newClient(t, o)
		p := f.welcomed()
		for _, want := range []time.Duration{1, 2, 4, 8} {
			_ = p.conn.Close()
			began := time.Now()
			p = f.welcomed()
			if d := time.Since(began); d != want*time.Second {
				t.Errorf("wait of %v, want %d s", d, want)
			}
		}
		time.Sleep(20 * time.Second)
		_ = p.conn.Close()
		began := time.Now()
		f.welcomed()
		if d := time.Since(began); d != time.Second {
			t.Errorf("wait of %v after a long link", d)
		}
	})
}

func TestByeSaysWhenToComeBack(t *testing.T) {
	for _, r := range []wire.Reason{wire.ByeDraining, wire.ByeOverloaded, wire.ByeNoManager} {
		for _, before := range []bool{true, false} { // WELCOME
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				c := newClient(t, options(f, newLog()))
				p := f.accept()
				p.want(wire.KindHello)
				if !before {
					p.welcome()
				}
				p.bye(r, 90*time.Second, "come later")
				began := time.Now()
				select {
				case <-f.conns:
				case <-time.After(10 * time.Minute):
					t.Fatal("it did not come back")
				}
				if d := time.Since(began); d < 90*time.Second || d > 92*time.Second {
					t.Errorf("%v: came back after %v", r, d)
				}
				var bye *client.ByeError
				if !errors.As(c.Err(), &bye) || bye.Reason != r || bye.Text != "come later" || bye.RetryAfter != 90*time.Second {
					t.Errorf("%v", c.Err())
				}
			})
		}
	}
}

// A gateway that is full says so without having read the HELLO, which then cannot be written.
func TestByeBeforeHelloIsRead(t *testing.T) {
	for range 200 { // the writer and the reader race for the end
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			c := newClient(t, options(f, newLog()))
			f.accept().bye(wire.ByeOverloaded, 90*time.Second, "")
			synctest.Wait()
			var bye *client.ByeError
			if !errors.As(c.Err(), &bye) || bye.RetryAfter != 90*time.Second {
				t.Errorf("%v", c.Err())
			}
		})
	}
}

func TestByeThatIsFinal(t *testing.T) {
	for _, r := range []wire.Reason{wire.ByeReplaced, wire.ByeLoginFailed} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			l := newLog()
			o := options(f, l)
			o.OnState = func(s client.State, err error) { l.add("%v", s) }
			c := newClient(t, o)
			p := f.welcomed()
			_ = c.Send([]byte("x"))
			p.want(wire.KindData)
			p.bye(r, 0, "")
			wantDone(t, c)
			l.want(t, "connecting", "up", "closed")
			select {
			case <-f.conns:
				t.Error("it came back")
			case <-time.After(time.Hour):
			}
			var bye *client.ByeError
			if err := c.Send(nil); !errors.As(err, &bye) || bye.Reason != r {
				t.Errorf("Send: %v", err)
			}
			if _, err := c.Request(context.Background(), client.NewMessage(1, 0, nil)); !errors.As(err, &bye) {
				t.Errorf("Request: %v", err)
			}
		})
	}
}

func TestDialIsToldThatTheLoginFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		go func() {
			p := f.accept()
			p.want(wire.KindHello)
			p.bye(wire.ByeLoginFailed, 0, "wrong token")
		}()
		_, err := client.Dial(context.Background(), options(f, newLog()))
		var bye *client.ByeError
		if !errors.As(err, &bye) || bye.Reason != wire.ByeLoginFailed || !strings.Contains(err.Error(), "wrong token") {
			t.Errorf("%v", err)
		}
	})
}

func TestOtherByesAreComeBackFrom(t *testing.T) {
	for r := wire.ByeNormal; r <= wire.ByeNoManager+1; r++ {
		if r == wire.ByeReplaced || r == wire.ByeLoginFailed {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			newClient(t, options(f, newLog()))
			f.welcomed().bye(r, 0, "")
			f.welcomed()
		})
	}
}

func TestLoginTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		o := options(f, newLog())
		o.LoginTimeout = 3 * time.Second
		c := newClient(t, o)
		p := f.accept()
		p.want(wire.KindHello)
		began := time.Now()
		p.wantEnd()
		if d := time.Since(began); d != 3*time.Second {
			t.Errorf("ended after %v", d)
		}
		f.welcomed()
		if !errors.Is(c.Err(), client.ErrLoginTimeout) {
			t.Errorf("%v", c.Err())
		}
	})
}

func TestGarbageIsRefused(t *testing.T) {
	for name, b := range map[string][]byte{
		"unknown kind":    {0, 1, 99},
		"client's kind":   wire.AppendAck(nil, 1),
		"short push":      {0, 2, 4, 0},
		"short bye":       {0, 2, 6, 1},
		"bad welcome":     {0, 2, 2, 0xff},
		"welcome again":   wire.AppendWelcome(nil, usual),
		"ping of 3 bytes": {0, 4, 7, 1, 2, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				c := newClient(t, options(f, newLog()))
				p := f.welcomed()
				p.send(b)
				if bye := wire.ParseBye(p.want(wire.KindBye)); bye.Reason != wire.ByeProtocol {
					t.Errorf("bye %v", bye.Reason)
				}
				p.wantEnd()
				f.welcomed()
				if !errors.Is(c.Err(), client.ErrProtocol) {
					t.Errorf("%v", c.Err())
				}
			})
		})
	}
}

func TestCloseAtAnyTime(t *testing.T) {
	for name, reach := range map[string]func(f *fake){
		"connecting":   func(*fake) {},
		"login":        func(f *fake) { f.accept().want(wire.KindHello) },
		"up":           func(f *fake) { f.welcomed() },
		"waiting":      func(f *fake) { f.leave(); synctest.Wait() },
		"nobody reads": func(f *fake) { f.accept() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				o := options(f, newLog())
				states := newLog()
				o.OnState = func(s client.State, err error) {
					if s == client.Closed {
						states.add("closed %v", err)
					}
				}
				c := newClient(t, o)
				reach(f)
				began := time.Now()
				c.Close()
				c.Close()
				if d := time.Since(began); d > 3*time.Second {
					t.Errorf("Close took %v", d)
				}
				states.want(t, "closed <nil>")
			})
		})
	}
}
