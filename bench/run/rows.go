package main

import (
	"fmt"
	"regexp"
	"slices"
	"time"
)

// figure is a thing that a row measures.
type figure struct {
	Name     string `json:"name"`
	Unit     string `json:"unit"`
	perFloor bool   // the ratio to the floor means something
	jsonOnly bool   // not in the table
}

// String returns the figure as the table names it.
func (f figure) String() string { return f.Name + ", " + f.Unit }

// The figures, in the order in which a program's lines come.
var (
	messageCPU = figure{"CPU", "µs/message", true, false}
	managerCPU = figure{"CPU of its Manager", "µs/message", false, false}
	backendCPU = figure{"CPU of its backend", "µs/message", false, false}
	acceptCPU  = figure{"CPU", "µs/link", true, false}
	userBytes  = figure{"user memory", "bytes/link", false, false}
	kernBytes  = figure{"kernel memory", "bytes/link", false, false}
	idleCPU    = figure{"CPU", "% of a core", false, false}
	beatCPU    = figure{"CPU", "µs/heartbeat", true, false}

	heapUsed = figure{"Go heap in use", "bytes", false, true}
	heapIdle = figure{"Go heap idle and not released", "bytes", false, true}

	fewCPU   = figure{"CPU, 1,000 links", "µs/message", true, false}
	crowdCPU = figure{"CPU, all links", "µs/message", true, false}
	crowdCap = figure{"CPU, all ÷ 1,000 links", "×", false, false}

	openRate = figure{"rate", "messages/s", false, false}
	openP50  = figure{"p50", "µs", true, false}
	openP99  = figure{"p99", "µs", true, false}

	aloneP99  = figure{"p99 alone", "µs", true, false}
	besideP99 = figure{"p99 beside the flood", "µs", true, false}
	floodCost = figure{"p99 beside ÷ alone", "×", false, false}
	floodRate = figure{"answers to the flood", "1000/s", true, false}

	markFew   = figure{"GC mark CPU, few links", "ms/collection", false, false}
	markAll   = figure{"GC mark CPU, all links", "ms/collection", false, false}
	markRatio = figure{"GC mark CPU, all ÷ few", "×", false, false}
	wallFew   = figure{"GC mark time, few links", "ms/collection", false, false}
	wallAll   = figure{"GC mark time, all links", "ms/collection", false, false}

	allCPU      = figure{"CPU, all addresses", "µs/request", false, false}
	threeCPU    = figure{"CPU, n=3", "µs/request", false, false}
	askRate     = figure{"requests of all, a second of one core", "1000/s", false, false}
	redisGrowth = figure{"Redis commands/s, asked ÷ not asked", "×", false, false}

	deliveryCPU = figure{"CPU", "µs/delivery", true, false}
	pushCPU     = figure{"CPU", "µs/push", true, false}
	pushManager = figure{"CPU of its Manager", "µs/push", false, false}
	loginCPU    = figure{"CPU", "µs/login", true, false}
	redisCPU    = figure{"CPU of Redis", "µs/login", false, false}
	besideRate  = figure{"relay beside 10,000 logins/s", "1000 messages/s", true, false}

	frozenTime  = figure{"links stood still", "ms", false, false}
	calmAnswer  = figure{"longest answer before", "ms", false, false}
	clientPause = figure{"longest pause of a client", "ms", false, false}
	brokenLinks = figure{"broken", "links", false, false}
	keeperCost  = figure{"CPU of being kept", "µs/link", false, false}
	keeperBytes = figure{"memory of the keeper", "bytes/link", false, false}
	sharedBytes = figure{"shared memory", "bytes/link", false, false}

	loadCPU     = figure{"CPU of the load", "µs/message", true, false}
	loadManager = figure{"CPU of its Manager", "µs/message", true, false}
)

// program is what answers in a row.
type program int

const (
	floor       program = iota // bench/cfloor.c
	relayFloor                 // bench/crelay.c, before a C floor
	echo                       // bench/echo: netpoll alone
	gateway                    // edged serve
	peerNet                    // bench/peers/net: a goroutine for each connection
	peerNetpoll                // bench/peers/netpoll: cloudwego/netpoll
	dispatcher                 // edged dispatch
	haproxy                    // in TCP mode, before a C floor
	nginx                      // its stream module, before a C floor
	nats                       // nats-server, before the backend in bench/cnats.c but in a fan-out
	mosquitto                  // an MQTT broker
	roomFloor                  // bench/croom.c
)

// subject is one way to run a program; a row compares several.
type subject struct {
	who     string
	program program
	loops   int
	pinned  bool // the one loop on one CPU, the client on another
	session int  // gateway: a Manager lets the links in and fills their sessions up to so many bytes; 0: login none
	long    bool // hold rows: watched for the whole of settings.hold, for its CPU
	base    bool // of the commit that we compare with
	peer    bool // stands beside the others, and is measured in a part of the rounds
	trace   bool // gateway: tells of each garbage collection
	swarm   bool // the load is edged swarm and not cload
	manager manager
	push    string // how its Manager's pushes are acknowledged: none or required; empty: it makes none
	redis   bool   // gateway: it has a Redis
	kept    bool   // gateway: it has a keeper
}

// clients returns the threads of the load. They do not follow the subject's loops: subjects of one row get the same load.
func (s subject) clients() int {
	if s.pinned {
		return 1
	}
	return 2
}

// mode is how a row is measured.
type mode int

const (
	flow     mode = iota // messages back and forth
	storm                // links opened and reset
	hold                 // links that do nothing, or send heartbeats
	crowd                // messages of some links, without and beside many that are silent
	paced                // messages at half the rate that a subject, or the first one of the row at hand, can do
	flooded              // messages at a low rate, without and beside a link that sends what it can
	collect              // garbage collections, with few and with many links
	herd                 // messages, for what the load and the Manager cost
	asked                // requests to the address service
	fanout               // messages to a room of all links
	pushed               // pushes, each of which is answered
	logins               // links that log in at a rate, alone and beside messages
	outlived             // messages while the gateway's process is replaced
)

// row is one comparison.
type row struct {
	name     string
	mode     mode
	links    int
	depth    int           // flow: messages in flight on each link; fanout: in all
	data     bool          // flow: the frames are DATA frames
	rate     float64       // flow: messages a second, whether answered or not; storm: links a second; 0: when answers come
	keep     int           // storm: links that stay open
	burst    int           // storm: links that open at a time; 0: as many as cload likes
	own      bool          // paced: each subject at half of its own rate
	kill     bool          // outlived: by kill -9, not by a reload
	deluge   bool          // hold: the links send what they can
	beat     time.Duration // hold: each link sends a heartbeat so often; 0: never
	below    string        // whom the others are divided by; empty: the C floor
	subjects []subject
}

// Sizes of a session in bytes. What the gateway writes by itself (link, opened_at, remote, listener, user, device) takes about 115.
const (
	relaySession = 150
	leastSession = 116
	heldSession  = 220
)

// Links and rates of rows that have one size only.
const (
	talkers    = 1000 // links that talk beside silent or loud ones
	calmRate   = 1000 // messages a second of the talkers beside a flood
	fewTalkers = 100  // links that talk so that garbage is made
)

// heartbeatEvery is what the protocol tells clients by default.
const heartbeatEvery = 25 * time.Second

var floorPinned = subject{who: "C floor", program: floor, loops: 1, pinned: true}
var floorFree = subject{who: "C floor", program: floor, loops: 2}

// allRows returns the rows in the order of the table.
func allRows(set settings, cpus int) []row {
	var rows []row
	if cpus > 1 {
		rows = append(rows, withPeers(flowRows("echo-pinned", false, []int{100, 1000, 10000},
			floorPinned, subject{who: "netpoll", program: echo, loops: 1, pinned: true}))...)
	}
	free := subject{who: "netpoll", program: echo, loops: 2}
	rows = append(rows, withPeers(flowRows("echo-free", false, []int{100, 1000}, floorFree, free))...)
	two := subject{who: "edged, 2 reactors", program: gateway, loops: 2, session: relaySession}
	one := two
	one.who, one.loops = "edged, 1 reactor", 1
	withC := two
	withC.who, withC.manager, withC.peer = "edged, C Manager", inC, true
	relay := []subject{floorFree, two, one, withC, {who: "C relay", program: relayFloor, loops: 2, peer: true}}
	if set.peers {
		relay = append(relay,
			subject{who: "HAProxy, before a C floor", program: haproxy, loops: 2, peer: true},
			subject{who: "nginx, before a C floor", program: nginx, loops: 2, peer: true},
			subject{who: "NATS, before a C backend", program: nats, loops: 2, peer: true})
	}
	rows = append(rows, flowRows("relay", true, []int{100, 1000}, relay...)...)
	rows = append(rows, relayRows(set)...)
	rows = append(rows, fanRows(set)...)
	rows = append(rows, pushRows()...)
	rows = append(rows, loginRows()...)
	rows = append(rows, outliveRows(set)...)
	rows = append(rows, keeperRows(set)...)
	open := subject{who: "edged", program: gateway, loops: 2}
	rows = append(rows, row{name: fmt.Sprintf("dispatch/%d-%d", fleetBoxes, fleetGateways), mode: asked, links: fleetGateways,
		subjects: []subject{{who: "edged dispatch", program: dispatcher}}})
	return append(rows,
		row{name: "accept", mode: storm, links: set.storm, subjects: []subject{floorFree, free, open}},
		row{name: "idle/silent", mode: hold, links: set.links, subjects: []subject{floorFree, free, long(open)}},
		row{name: "idle/logged-in", mode: hold, links: set.links,
			subjects: []subject{
				{who: fmt.Sprintf("edged, session of %d bytes", leastSession), program: gateway, loops: 2, session: leastSession},
				{who: fmt.Sprintf("edged, session of %d bytes", heldSession), program: gateway, loops: 2, session: heldSession}}},
		row{name: "idle/heartbeats", mode: hold, links: set.links, beat: heartbeatEvery,
			subjects: []subject{long(floorFree), long(free), long(open)}})
}

// relayRows returns the rows that ask more of a relay than what a message costs.
func relayRows(set settings) []row {
	edged := subject{who: "edged", program: gateway, loops: 2, session: relaySession}
	traced, swarm, withC := edged, edged, edged
	traced.trace = true
	withC.who, withC.manager = "edged, C Manager", inC
	cRelay := subject{who: "C relay", program: relayFloor, loops: 2}
	swarm.who, swarm.swarm = "edged swarm", true
	demo, load := swarm, edged
	demo.who, demo.manager = "edged swarm, demo Manager", ofDemo
	load.who = "C load"
	rows := []row{
		{name: fmt.Sprintf("relay/%d-%d", set.links, talkers), mode: crowd, links: max(set.links, talkers+1), depth: 1, data: true,
			subjects: []subject{floorFree, edged}},
		{name: "latency", mode: paced, own: true, links: talkers, depth: 1, data: true, subjects: []subject{edged, withC, cRelay, floorFree}},
		{name: "latency/same-rate", mode: paced, links: talkers, depth: 1, data: true, subjects: []subject{edged, cRelay, floorFree}},
		{name: "latency/same-rate/manager-c", mode: paced, links: talkers, depth: 1, data: true, subjects: []subject{withC, cRelay, floorFree}},
		{name: "flood", mode: flooded, links: talkers, data: true, subjects: []subject{floorFree, edged}},
		{name: fmt.Sprintf("gc/%d", set.links), mode: collect, links: set.links + fewTalkers, depth: 1, data: true, subjects: []subject{traced}},
	}
	for _, r := range flowRows("swarm-manager", true, []int{1000}, load, swarm, demo) {
		r.mode, r.below = herd, load.who
		rows = append(rows, r)
	}
	return rows
}

// long returns a subject that is watched for its CPU.
func long(s subject) subject {
	s.long = true
	return s
}

// withPeers adds to some rows of an echo what others have made for it.
func withPeers(rows []row) []row {
	for i := range rows {
		r := &rows[i]
		if r.links > 1000 || r.links == 100 && r.depth > 1 {
			continue
		}
		loops, pinned := r.subjects[0].loops, r.subjects[0].pinned
		r.subjects = append(slices.Clone(r.subjects),
			subject{who: "net, goroutine a link", program: peerNet, loops: loops, pinned: pinned, peer: true},
			subject{who: "cloudwego/netpoll", program: peerNetpoll, loops: loops, pinned: pinned, peer: true})
	}
	return rows
}

func flowRows(group string, data bool, links []int, subjects ...subject) []row {
	var rows []row
	for _, n := range links {
		for _, depth := range []int{1, 8} {
			rows = append(rows, row{name: fmt.Sprintf("%s/%d:%d", group, n, depth), links: n, depth: depth, data: data, subjects: subjects})
		}
	}
	return rows
}

func choose(rows []row, only *regexp.Regexp) []row {
	var chosen []row
	for _, r := range rows {
		if only.MatchString(r.name) {
			chosen = append(chosen, r)
		}
	}
	return chosen
}

// slow says that a row takes so long, and its figures vary so little, that a part of the rounds will do.
func (r row) slow() bool {
	return slices.Contains([]mode{hold, flooded, collect, herd, asked, logins, outlived}, r.mode)
}

// roundsOf returns in how many of the rounds a row is measured.
func (r row) roundsOf(rounds int) int {
	if r.slow() {
		return partOf(rounds)
	}
	return rounds
}

// reference returns whom the others of a row are divided by.
func (r row) reference() string {
	if r.below != "" {
		return r.below
	}
	return floorFree.who
}

// partOf returns how many of the rounds will do for what takes long or decides nothing.
func partOf(rounds int) int { return max(1, rounds*2/5) }

// inRound returns the subjects that are measured in a round.
func (r row) inRound(round, rounds int) []subject {
	var now []subject
	for _, s := range r.subjects {
		if !s.peer || round < partOf(rounds) {
			now = append(now, s)
		}
	}
	return now
}

// capacity is what a gateway is configured for: beyond the row's links those that were reset and are not closed yet.
func (r row) capacity() int {
	switch r.mode {
	case storm:
		return 2000
	case logins:
		return r.links + 2*loginKept
	}
	return r.links + 500 // a flood's link is among them
}

// filesFor returns how many files a process may have to open for the rows.
func filesFor(rows []row) int {
	files := 0
	for _, r := range rows {
		files = max(files, r.capacity()+1500)
	}
	return files
}

// withBase returns the subjects with the same of the commit that we compare with behind each that was built for it.
func withBase(subjects []subject, built func(program) bool) []subject {
	var all []subject
	for _, s := range subjects {
		all = append(all, s)
		if !s.peer && s.program != floor && built(s.program) {
			s.base = true
			all = append(all, s)
		}
	}
	return all
}
