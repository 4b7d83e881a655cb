package client_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"edged/sdk/client"
)

// acting returns a fleet's behaviour by address; who is not named lets links in.
func acting(by map[string]act) func(string, int) act {
	return func(address string, _ int) act {
		if a, ok := by[address]; ok {
			return a
		}
		return let
	}
}

// The list is walked in its order: one that refuses is passed at once, one that hangs or says nothing after 3 s.
func TestWalkInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: listOf("a:1 b:1 c:1 d:1 e:1")}
		f := newFleet(t, acting(map[string]act{"a:1": hang, "b:1": refuse, "c:1": mute, "d:1": drainSoon}))
		c := newClient(t, dispatched(s, f))
		time.Sleep(time.Hour)
		f.want("a:1@0", "b:1@3", "c:1@3", "d:1@6", "e:1@6")
		if f.most != 1 || s.times() != 1 || c.State() != client.Up {
			t.Errorf("%d attempts at a time, %d questions, %v", f.most, s.times(), c.State())
		}
		if n := c.Stats(); n.Lookups != 1 || n.LookupErrors != 0 || n.Links != 1 {
			t.Errorf("%+v", n)
		}
		c.Close()
		f.shut()
	})
}

// When a whole round failed the service is asked again, and its back-off takes precedence.
func TestRoundsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists := []string{"a:1 b:1", "c:1", "d:1 e:1", "a:1"}
		s := &service{}
		s.answer = func(w http.ResponseWriter, r *http.Request) {
			listOf(lists[(s.times()-1)%len(lists)], `"backoff":{"base_ms":2000,"max_ms":9000,"factor":3,"jitter":0}`)(w, r)
		}
		f := newFleet(t, func(string, int) act { return refuse })
		c := newClient(t, dispatched(s, f))
		time.Sleep(20 * time.Second)
		c.Close()
		f.want("a:1@0", "b:1@0", "c:1@2", "d:1@8", "e:1@8", "a:1@17")
	})
}

// Without a back-off in the answer the Options' holds.
func TestRoundsBackOffAsOptionsSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: listOf("a:1 b:1")}
		f := newFleet(t, func(string, int) act { return refuse })
		c := newClient(t, dispatched(s, f))
		time.Sleep(35 * time.Second)
		c.Close()
		f.want("a:1@0", "b:1@0", "a:1@10", "b:1@10", "a:1@30", "b:1@30")
	})
}

// The waits between rounds are spread over all of the back-off that the answer gives, though it asks for less jitter.
func TestRoundsHaveFullJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: listOf("a:1 b:1 c:1", `"backoff":{"base_ms":1000,"max_ms":60000,"factor":2,"jitter":0.3}`)}
		f := newFleet(t, func(string, int) act { return refuse })
		o := dispatched(s, f)
		o.Backoff = client.Backoff{}
		c := newClient(t, o)
		time.Sleep(2 * time.Hour)
		c.Close()
		tries := f.seen()
		ceiling, longest, below, rounds := time.Second, time.Duration(0), 0, 0
		for i := 3; i < len(tries); i++ {
			d := tries[i].at - tries[i-1].at
			if i%3 != 0 {
				if d != 0 {
					t.Fatalf("%v between two addresses of a round", d)
				}
				continue
			}
			if rounds++; d > ceiling {
				t.Errorf("wait %d of %v is over %v", rounds, d, ceiling)
			}
			if ceiling = min(2*ceiling, time.Minute); rounds > 10 {
				longest = max(longest, d)
				if d < 30*time.Second {
					below++
				}
			}
		}
		// 240 waits of 30 s on average: the bounds lie many deviations away.
		if rounds < 150 || rounds > 400 || longest < 45*time.Second || below < rounds/4 || below > rounds*3/4 {
			t.Errorf("%d rounds in two hours, %d waits below the half, longest %v", rounds, below, longest)
		}
		if n := s.times(); n < rounds || n > rounds+2 {
			t.Errorf("%d questions in %d rounds", n, rounds)
		}
	})
}

// Jitter that the answer asks for is given by a client that has none of its own.
func TestJitterOfTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: listOf("a:1", `"backoff":{"base_ms":1000,"max_ms":1000,"factor":1,"jitter":0.3}`)}
		f := newFleet(t, func(string, int) act { return refuse })
		c := newClient(t, dispatched(s, f))
		time.Sleep(1000 * time.Second)
		c.Close()
		tries := f.seen()
		least, longest := time.Hour, time.Duration(0)
		for i := 1; i < len(tries); i++ {
			d := tries[i].at - tries[i-1].at
			least, longest = min(least, d), max(longest, d)
		}
		if least < 700*time.Millisecond || least > 750*time.Millisecond || longest > time.Second || longest < 950*time.Millisecond {
			t.Errorf("waits from %v to %v", least, longest)
		}
	})
}

// A list is asked for again when it is older than its TTL, but not before a round needs it.
func TestListIsUsedForItsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: listOf("a:1 b:1", `"ttl_s":60`)}
		f := newFleet(t, func(string, int) act { return let })
		o := dispatched(s, f)
		o.Backoff.Base, o.Backoff.Max = time.Second, time.Second
		var states []client.State
		o.OnState = func(s client.State, _ error) { states = append(states, s) }
		c := newClient(t, o)
		for i, tc := range []struct {
			sleep time.Duration
			asked int
		}{{50 * time.Second, 1}, {time.Second, 1}, {time.Hour, 2}, {10 * time.Second, 2}} {
			time.Sleep(tc.sleep)
			f.breakAll()
			time.Sleep(1100 * time.Millisecond)
			if s.times() != tc.asked || c.State() != client.Up {
				t.Errorf("step %d: asked %d times, want %d, %v", i, s.times(), tc.asked, c.State())
			}
		}
		c.Close()
		f.shut()
		// In a ring while the list is fresh, from the beginning when it is new.
		var order string
		for _, try := range f.seen() {
			order += try.address[:1]
		}
		if order != "abaab" {
			t.Errorf("walked %s", order)
		}
		if f.most != 1 || states[len(states)-1] != client.Closed {
			t.Errorf("%d attempts at a time, %v", f.most, states)
		}
	})
}

// The last good list outlives every way in which a service may fail.
func TestLastListIsKept(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"503": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(503)
		},
		"garbage": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{")) },
		"empty":   listOf(""),
		"hangs":   func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{}
				s.answer = func(w http.ResponseWriter, r *http.Request) {
					if s.times() == 1 {
						listOf("a:1 b:1", `"ttl_s":5`)(w, r)
					} else {
						answer(w, r)
					}
				}
				f := newFleet(t, func(string, int) act { return let })
				c := newClient(t, dispatched(s, f))
				for range 3 {
					time.Sleep(time.Hour)
					f.breakAll()
				}
				time.Sleep(time.Minute)
				if n := c.Stats(); c.State() != client.Up || n.Links != 4 || n.Lookups != 4 || n.LookupErrors != 3 || s.most != 1 {
					t.Errorf("%v, %+v, %d questions at a time", c.State(), n, s.most)
				}
				c.Close()
				f.shut()
				for i, want := range []string{"a:1", "b:1", "a:1", "b:1"} {
					if got := f.seen()[i].address; got != want {
						t.Errorf("try %d at %s, want %s", i, got, want)
					}
				}
			})
		})
	}
}

// Without any list there is nothing but to ask again, no sooner than the service says, and the reason can be read.
func TestServiceThatComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		s.answer = func(w http.ResponseWriter, r *http.Request) {
			switch s.times() {
			case 1:
				w.WriteHeader(http.StatusBadGateway)
			case 2:
				w.Header().Set("Retry-After", "50")
				w.WriteHeader(http.StatusServiceUnavailable)
			case 3:
				w.Header().Set("Retry-After", "5000") // no longer than the back-off goes
				w.WriteHeader(http.StatusServiceUnavailable)
			default:
				listOf("a:1")(w, r)
			}
		}
		f := newFleet(t, func(string, int) act { return let })
		c := newClient(t, dispatched(s, f))
		synctest.Wait()
		var status *client.StatusError
		if err := c.Err(); c.State() != client.Waiting || !errors.As(err, &status) || status.Status != http.StatusBadGateway {
			t.Errorf("%v, %v", c.State(), err)
		}
		time.Sleep(time.Hour)
		f.want("a:1@120") // 10 + 50 + 60
		c.Close()
		f.shut()
	})
}

// Dial tells why it came to nothing.
func TestDialTellsOfTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		s := &service{answer: listOf("")}
		_, err := client.Dial(ctx, dispatched(s, newFleet(t, nil)))
		if !errors.Is(err, client.ErrNoAddress) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

// Close does not wait for a service that hangs.
func TestCloseWhileAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }}
		c := newClient(t, dispatched(s, newFleet(t, nil)))
		synctest.Wait()
		began := time.Now()
		c.Close()
		if d := time.Since(began); d != 0 || c.State() != client.Closed || c.Err() != nil {
			t.Errorf("%v, %v, %v", d, c.State(), c.Err())
		}
	})
}

func TestEitherAddressesOrDispatch(t *testing.T) {
	for want, o := range map[string]client.Options{
		"both addresses and a dispatch URL":       {Addresses: []string{"a:1"}, Dispatch: "http://dispatch.example"},
		"neither an address nor a dispatch URL":   {},
		"does not begin with http:// or https://": {Dispatch: "dispatch.example"},
	} {
		if _, err := client.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
