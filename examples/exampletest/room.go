package exampletest

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"edged/config"
)

var likes = regexp.MustCompile(`(\d+) likes, seen by about (\d+)`)

// Room is a scene in a live room: what one writes all see, likes are counted, and with a gateway that asks everybody the
// host knows exactly how many see them.
func Room(t *testing.T, start Start, gateway Gateway) {
	t.Helper()
	const people = 20
	host, backend := Served(t, start, "-share", "1", "-every", "50ms")
	address := gateway(t, backend, func(c *config.Config) { c.Delivery.Sample = 1 })
	watch := func(user, room string) *Role {
		t.Helper()
		r := start(t, "watch", "-gateway", address, "-room", room, "-user", user)
		r.Await("* "+user+" is in "+room, "0 likes")
		return r
	}
	ann, ben, eve := watch("ann", "live-1"), watch("ben", "live-1"), watch("eve", "live-2")
	ann.Say("hello, everybody")
	ann.Await("ann: hello, everybody")
	ben.Await("ann: hello, everybody")
	ben.Say("+++")
	for _, r := range []*Role{ann, ben} {
		r.Await("* 3 likes")
	}
	crowd := start(t, "crowd", "-gateway", address, "-people", strconv.Itoa(people), "-pause", "100ms")
	crowd.Await("20 people are in live-1")
	exact(t, host, people+2)
	crowd.End()
	eve.Say("so quiet here")
	eve.Await("eve: so quiet here")
	if n := eve.Count("ann:") + eve.Count("live-1") + eve.Count("* 3"); n != 0 {
		t.Errorf("the other room heard of it:\n%s", eve.All())
	}
}

// exact waits until the host's estimate is the truth, which takes as many pushes as it considers.
func exact(t *testing.T, host *Role, people int) {
	t.Helper()
	line := ""
	for end := time.Now().Add(Patience); time.Now().Before(end); {
		line = host.Await("live-1:")
		if m := likes.FindStringSubmatch(line); m != nil && m[2] == strconv.Itoa(people) {
			return
		}
	}
	t.Errorf("the host believes: %s; want %d people", line, people)
}
