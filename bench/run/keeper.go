package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// acceptBurst is how many links open at a time where it is asked what keeping them costs.
const acceptBurst = 64

// keeperRows returns what a keeper costs while nothing happens to the gateway. Its own CPU counts as the gateway's.
func keeperRows(set settings) []row {
	alone := subject{who: "edged", program: gateway, loops: 2, session: relaySession}
	kept := alone
	kept.who, kept.kept = "edged, kept", true
	rows := flowRows("keeper/relay", true, []int{talkers}, alone, kept)
	for i := range rows {
		rows[i].below = alone.who
	}
	open, openKept := alone, kept
	open.session, openKept.session = 0, 0
	silent, held := openKept, kept
	silent.who = "edged, kept, no Manager"
	held.who, held.session = fmt.Sprintf("edged, kept, session of %d bytes", heldSession), heldSession
	return append(rows,
		row{name: "keeper/accept", mode: storm, links: set.storm, burst: acceptBurst, below: open.who, subjects: []subject{open, openKept}},
		row{name: "keeper/idle", mode: hold, links: set.links, below: silent.who, subjects: []subject{silent, held}})
}

// serveKept starts a keeper, and the gateway whose links it keeps; both are accounted for as one.
func (b *bench) serveKept(s subject, t target) (target, error) {
	keeper, err := b.ready(s, b.built(s).of(gateway), "keeper", "--config", b.configFile())
	if err != nil {
		return t, err
	}
	p, err := b.ready(s, b.built(s).of(gateway), "serve", "--config", b.configFile())
	if err != nil {
		return t, err
	}
	t.servers = append([]*process{keeper}, t.servers...)
	t.pids = append([]int{keeper.cmd.Process.Pid}, t.pids...)
	if t, err = served(t, p); err != nil {
		return t, err
	}
	t.own = 2
	return t, nil
}

// compareKept notes what a link costs, and what more of it where it is kept.
func (b *bench) compareKept(found *sample, s subject, perLink float64) {
	switch {
	case !s.kept:
		b.alone = perLink
	case b.alone > 0:
		found.put(keeperCost, perLink-b.alone)
	}
}

// keeping is the memory of being kept, in bytes.
type keeping struct{ keeper, shared int }

// keeping reads what the keeper of a target holds; nothing where there is none.
func (b *bench) keeping(t target) (keeping, error) {
	if t.keeper == "" {
		return keeping{}, nil
	}
	pid := t.pids[1]
	rss, err := b.proc.rss(pid)
	if err != nil {
		return keeping{}, err
	}
	shared, err := b.proc.shared(pid)
	return keeping{rss, shared}, err
}

// shared returns the bytes of the anonymous files that a process holds, as far as they have pages.
func (p proc) shared(pid int) (int, error) {
	dir := filepath.Join(p.root, strconv.Itoa(pid), "fd")
	files, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	total := 0
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		if to, err := os.Readlink(path); err != nil || !strings.HasPrefix(to, "/memfd:") {
			continue // one that was closed meanwhile, or a link
		}
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err != nil {
			return 0, fmt.Errorf("stat %s: %w", path, err)
		}
		total += int(st.Blocks) * 512 // as stat(2) counts them
	}
	return total, nil
}
