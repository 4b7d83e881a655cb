package main

import (
	"fmt"
	"regexp"
	"time"
)

// figure is a thing that a row measures.
type figure struct {
	Name     string `json:"name"`
	Unit     string `json:"unit"`
	perFloor bool   // the ratio to the floor means something
}

// String returns the figure as the table names it.
func (f figure) String() string { return f.Name + ", " + f.Unit }

// The figures, in the order in which a program's lines come.
var (
	messageCPU = figure{"CPU", "µs/message", true}
	managerCPU = figure{"CPU of its Manager", "µs/message", false}
	acceptCPU  = figure{"CPU", "µs/link", true}
	userBytes  = figure{"user memory", "bytes/link", false}
	kernBytes  = figure{"kernel memory", "bytes/link", false}
	idleCPU    = figure{"CPU", "% of a core", false}
	beatCPU    = figure{"CPU", "µs/heartbeat", true}
)

// program is what answers in a row.
type program int

const (
	floor   program = iota // bench/cfloor.c
	echo                   // bench/echo: netpoll alone
	gateway                // edged serve
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
	flow  mode = iota // messages back and forth
	storm             // links opened and reset
	hold              // links that do nothing, or send heartbeats
)

// row is one comparison.
type row struct {
	name     string
	mode     mode
	links    int
	depth    int           // flow: messages in flight on each link
	data     bool          // flow: the frames are DATA frames
	beat     time.Duration // hold: each link sends a heartbeat so often; 0: never
	subjects []subject
}

// Sizes of a session in bytes. What the gateway writes by itself (link, opened_at, remote, listener, user, device) takes about 115.
const (
	relaySession = 150
	heldSession  = 220
)

// heartbeatEvery is what the protocol tells clients by default.
const heartbeatEvery = 25 * time.Second

var floorPinned = subject{who: "C floor", program: floor, loops: 1, pinned: true}
var floorFree = subject{who: "C floor", program: floor, loops: 2}

// allRows returns the rows in the order of the table.
func allRows(set settings, cpus int) []row {
	var rows []row
	if cpus > 1 {
		rows = append(rows, flowRows("echo-pinned", false, []int{100, 1000, 10000},
			floorPinned, subject{who: "netpoll", program: echo, loops: 1, pinned: true})...)
	}
	free := subject{who: "netpoll", program: echo, loops: 2}
	rows = append(rows, flowRows("echo-free", false, []int{100, 1000}, floorFree, free)...)
	rows = append(rows, flowRows("relay", true, []int{100, 1000}, floorFree,
		subject{who: "edged, 2 reactors", program: gateway, loops: 2, session: relaySession},
		subject{who: "edged, 1 reactor", program: gateway, loops: 1, session: relaySession})...)
	open := subject{who: "edged", program: gateway, loops: 2}
	watched := open
	watched.long = true
	return append(rows,
		row{name: "accept", mode: storm, links: set.storm, subjects: []subject{floorFree, free, open}},
		row{name: "idle/silent", mode: hold, links: set.links, subjects: []subject{floorFree, free, watched}},
		row{name: "idle/logged-in", mode: hold, links: set.links,
			subjects: []subject{{who: "edged", program: gateway, loops: 2, session: heldSession}}},
		row{name: "idle/heartbeats", mode: hold, links: set.links, beat: heartbeatEvery, subjects: []subject{watched}})
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
func (r row) slow() bool { return r.mode == hold }

// roundsOf returns in how many of the rounds a row is measured.
func (r row) roundsOf(rounds int) int {
	if r.slow() {
		return max(1, rounds*2/5)
	}
	return rounds
}

// capacity is what a gateway is configured for: beyond the row's links those that were reset and are not closed yet.
func (r row) capacity() int {
	if r.mode == storm {
		return 2000
	}
	return r.links + 500
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
		if s.program != floor && built(s.program) {
			s.base = true
			all = append(all, s)
		}
	}
	return all
}
