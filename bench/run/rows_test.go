package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"edged/config"
)

func defaults(t *testing.T, args ...string) settings {
	t.Helper()
	set, err := parse(args)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func names(rows []row) []string {
	var all []string
	for _, r := range rows {
		all = append(all, r.name)
	}
	return all
}

func TestParse(t *testing.T) {
	set := defaults(t, "-rounds", "9", "-only", "relay|accept", "-base", "", "-json", "")
	if set.rounds != 9 || set.base != "" || !set.only.MatchString("relay/100:1") || set.only.MatchString("idle/silent") {
		t.Errorf("got %+v", set)
	}
	for _, args := range [][]string{{"-rounds", "0"}, {"-only", "("}, {"relay"}, {"-links", "-1"}, {"-window", "0s"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}

func TestAllRows(t *testing.T) {
	rows := allRows(defaults(t), 2)
	seen := make(map[string]bool)
	for _, r := range rows {
		if seen[r.name] {
			t.Errorf("%s twice", r.name)
		}
		seen[r.name] = true
		if who := r.subjects[0]; who.program == floor && who.who != floorFree.who {
			t.Errorf("%s: the floor is called %s", r.name, who.who)
		}
		if !slices.ContainsFunc(r.subjects, func(s subject) bool { return s.who == r.reference() }) && r.name != "idle/logged-in" && len(r.subjects) > 1 {
			t.Errorf("%s: nobody is called %s, whom the others are divided by", r.name, r.reference())
		}
		for i, s := range r.subjects {
			if s.clients() != r.subjects[0].clients() {
				t.Errorf("%s: %s gets another load than %s", r.name, s.who, r.subjects[0].who)
			}
			if slices.IndexFunc(r.subjects, func(o subject) bool { return o.who == s.who }) != i {
				t.Errorf("%s: two subjects are called %s", r.name, s.who)
			}
		}
	}
	for _, want := range []string{"echo-pinned/10000:8", "echo-free/100:1", "relay/1000:8", "accept", "relay/15000-1000", "latency", "latency/same-rate", "latency/same-rate/manager-c", "flood",
		"gc/15000", "swarm-manager/1000:8", "fanout/10000:16", "push/required:1", "login/registered", "idle/silent", "idle/logged-in", "idle/heartbeats"} {
		if !seen[want] {
			t.Errorf("no row %s in %v", want, names(rows))
		}
	}
	for _, n := range names(allRows(defaults(t), 1)) {
		if strings.HasPrefix(n, "echo-pinned") {
			t.Errorf("%s on one CPU", n)
		}
	}
}

func TestChoose(t *testing.T) {
	got := names(choose(allRows(defaults(t), 2), regexp.MustCompile("^relay/100:")))
	if want := []string{"relay/100:1", "relay/100:8"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRoundsOf(t *testing.T) {
	quick, slow := row{mode: paced}, row{mode: flooded}
	for rounds, want := range map[int]int{1: 1, 2: 1, 5: 2, 20: 8} {
		if got := slow.roundsOf(rounds); got != want || quick.roundsOf(rounds) != rounds {
			t.Errorf("of %d rounds: %d, want %d", rounds, got, want)
		}
	}
}

// TestInRound: peers are measured in a part of the rounds, the others in all.
func TestInRound(t *testing.T) {
	r := row{subjects: []subject{floorFree, {who: "theirs", peer: true}}}
	for round, want := range []int{2, 2, 1, 1, 1} {
		if got := len(r.inRound(round, 5)); got != want {
			t.Errorf("round %d of 5: %d subjects, want %d", round, got, want)
		}
	}
}

func TestFilesFor(t *testing.T) {
	rows := allRows(defaults(t), 2)
	if got := filesFor(rows); got < 15000+1024 || got > 20000 {
		t.Errorf("%d files for 15,000 links", got)
	}
	if got := filesFor(choose(rows, regexp.MustCompile("relay/100"))); got > 4000 {
		t.Errorf("%d files for the relay rows", got)
	}
}

// TestWithBase: the two states of a program are measured right after each other, and only what both have.
func TestWithBase(t *testing.T) {
	given := []subject{floorFree, {who: "n", program: echo}, {who: "e", program: gateway}}
	var got []string
	for _, s := range withBase(given, func(p program) bool { return p != echo }) {
		name := s.who
		if s.base {
			name += " base"
		}
		got = append(got, name)
	}
	if want := []string{"C floor", "n", "e", "e base"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLoadArgs(t *testing.T) {
	set := defaults(t)
	in := subject{program: gateway, session: 150}
	open := subject{program: gateway}
	for _, tt := range []struct {
		name string
		row  row
		s    subject
		want string
	}{
		{"echo", row{links: 100, depth: 8}, floorPinned, "-c 100 -P 1,2 -m echo -p 8 -t 1 -d 1 -w 0.25 -s 64"},
		{"open loop", row{links: 9, depth: 1, data: true, rate: 1234.56}, in, "-c 9 -P 1,2 -m echo -r 1235 -t 2 -d 1 -w 0.25 -s 65 -F 03 -H 000101 -R 1 -G 02"},
		{"flood", row{mode: hold, links: 1, deluge: true}, in, "-c 1 -P 1,2 -m flood -d 0 -w 1 -p 16384 -s 9 -F 03 -H 000101 -R 1 -G 02"},
		{"relay", row{links: 9, depth: 1, data: true}, in, "-c 9 -P 1,2 -m echo -p 1 -t 2 -d 1 -w 0.25 -s 65 -F 03 -H 000101 -R 1 -G 02"},
		{"NATS", row{links: 9, depth: 8, data: true}, subject{program: nats, loops: 2}, "-c 9 -P 1,2 -m load -p 8 -t 2 -d 1 -w 0.25 -s 64"},
		{"storm on the floor", row{mode: storm, links: 9}, floorFree, "-c 9 -P 1,2 -m storm -H 0000 -R 1"},
		{"storm on edged", row{mode: storm, links: 9}, open, "-c 9 -P 1,2 -m storm -H 0000 -R 2 -G 02"},
		{"logins", row{mode: storm, links: 9, rate: 10000, keep: 5}, in, "-c 9 -P 1,2 -m storm -r 10000 -k 5 -H 000101 -R 1 -G 02"},
		{"pushes", row{mode: pushed, links: 9, depth: 8}, subject{session: 150, push: "required"}, "-c 9 -P 1,2 -m required -p 8 -t 2 -d 1 -w 0.25 -s 64"},
		{"silent floor", row{mode: hold, links: 9}, floorFree, "-c 9 -P 1,2 -m idle -d 0 -w 1"},
		{"silent edged", row{mode: hold, links: 9}, open, "-c 9 -P 1,2 -m idle -d 0 -w 1 -R 1 -G 02"},
		{"heartbeats", row{mode: hold, links: 9, beat: 25 * time.Second}, open, "-c 9 -P 1,2 -m idle -d 0 -w 60 -B 25 -R 1 -G 02"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(loadArgs(set, tt.row, tt.s, []int{1, 2}), " "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestGatewayConfig: edged takes the file, and it says what the row needs.
func TestGatewayConfig(t *testing.T) {
	for _, tt := range []struct {
		s        subject
		login    string
		managers []string
		admin    string
		redis    string
		windows  []string
	}{
		{subject{loops: 1, session: 150}, "required", []string{"127.0.0.1:7100"}, "", "127.0.0.1:6379", nil},
		{subject{loops: 2}, "none", nil, "/tmp/a.sock", "", []string{"unix:/tmp/a.sock"}},
	} {
		c, err := config.Parse("bench", []byte(gatewayConfig(tt.s, 700, target{address: "127.0.0.1:7100", admin: tt.admin, redis: tt.redis}, 0)))
		if err != nil {
			t.Fatal(err)
		}
		g := c.Gateway
		if g.Login != tt.login || g.Reactors != tt.s.loops || g.Capacity != 700 || !slices.Equal(c.Admin.Listen, tt.windows) || !slices.Equal(c.Manager.Addresses, tt.managers) {
			t.Errorf("got %+v, Managers %v, windows %v", g, c.Manager.Addresses, c.Admin.Listen)
		}
		if slices.Contains(c.Redis.Addresses, tt.redis) != (tt.redis != "") {
			t.Errorf("Redis %q becomes %v", tt.redis, c.Redis.Addresses)
		}
		if b, err := config.Parse("bench", []byte(gatewayConfig(tt.s, 700, target{address: "127.0.0.1:7100"}, 25*time.Second))); err != nil || b.Gateway.Heartbeat != 25*time.Second || b.Gateway.IdleTimeout != 30*time.Second {
			t.Errorf("with heartbeats: %+v, %v", b.Gateway, err)
		}
		if least := time.Hour; g.IdleTimeout < least || g.Heartbeat < least || g.DrainTimeout != 0 {
			t.Errorf("something happens by itself: %+v", g)
		}
	}
}
