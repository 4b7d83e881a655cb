package main

import (
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"edged/config"
	"edged/examples/exampletest"
)

func TestRoom(t *testing.T) {
	exampletest.Room(t, exampletest.Here(run), exampletest.GatewayHere)
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"shout"}, {"manager", "-share", "0"}, {"manager", "-every", "0s"},
		{"manager", "-listen", "nowhere"}, {"watch", "-x"}, {"crowd", "-x"}} {
		if err := run(t.Context(), args, strings.NewReader(""), io.Discard); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}

// Who comes back over another link, to a gateway that knows nothing any more, is in the room again and sees what was missed.
func TestComeBack(t *testing.T) {
	start := exampletest.Here(run)
	_, backend := exampletest.Served(t, start)
	var ann *exampletest.Role
	address := "127.0.0.1:0"
	stay := func(c *config.Config) { c.Listeners[0].Address = address }
	watch := func(name string) *exampletest.Role {
		r := start(t, "watch", "-gateway", address, "-user", name)
		r.Await("* " + name + " is in")
		return r
	}
	t.Run("before", func(t *testing.T) {
		address = exampletest.GatewayHere(t, backend, stay)
		ann = watch("ann")
	})
	t.Run("after", func(t *testing.T) {
		if exampletest.GatewayHere(t, backend, stay) != address {
			t.Fatal("another address")
		}
		ben := watch("ben")
		ben.Say("++")
		ann.Await("* 2 likes")
		ben.Say("welcome back")
		ann.Await("ben: welcome back")
		ben.End()
	})
	ann.End()
}

// Nobody gets into a room without a name, neither their own nor the room's.
func TestNames(t *testing.T) {
	_, backend := exampletest.Served(t, exampletest.Here(run))
	address := exampletest.GatewayHere(t, backend, nil)
	for _, c := range []struct{ user, room, want string }{{"", "live-1", "a name, please"}, {"ann", "", "which room?"}} {
		args := []string{"watch", "-gateway", address, "-user", c.user, "-room", c.room}
		if err := run(t.Context(), args, strings.NewReader(""), io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// The estimate is as near as doc says, for any share.
func TestReach(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for _, c := range []struct {
		people int
		share  float64
	}{{10_000, 0.01}, {1000, 0.1}, {100, 1}, {0, 0.5}} {
		var r reach
		if n := r.people(c.share); n != 0 {
			t.Errorf("%v people before the first push", n)
		}
		for range 3 * considered {
			room, n, ok := parsePushID([]byte(r.next("live 1")))
			if !ok || room != "live 1" {
				t.Fatalf("%q, %d, %v", room, n, ok)
			}
			for range c.people {
				if rnd.Float64() < c.share {
					r.seen(n)
				}
			}
		}
		r.seen(0)
		r.seen(3 * considered * 2)
		r.seen(1) // long ago
		typical := 0.0
		if c.people > 0 {
			typical = float64(c.people) / math.Sqrt(float64(c.people)*(considered-settling)*c.share) * math.Sqrt(1-c.share)
		}
		if off := math.Abs(r.people(c.share) - float64(c.people)); off > 6*typical {
			t.Errorf("%+v: estimate %v, off by %v; %v is typical", c, r.people(c.share), off, typical)
		}
	}
	for _, bad := range []string{"", "7", "x live", "-1 live"} {
		if _, _, ok := parsePushID([]byte(bad)); ok {
			t.Errorf("%q is taken", bad)
		}
	}
}
