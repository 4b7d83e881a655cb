package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOutliveRows: the reloads come with few links and with many, and a gateway that is killed has a keeper.
func TestOutliveRows(t *testing.T) {
	rows := outliveRows(defaults(t))
	for n, want := range []struct {
		name  string
		links int
		kept  bool
	}{{"reload/1000", 1000, false}, {"reload/15000", 15000, false}, {"kill/15000", 15000, true}} {
		if r := rows[n]; r.name != want.name || r.links != want.links || r.kill != want.kept || r.subjects[0].kept != want.kept || r.mode != outlived {
			t.Errorf("got %+v, want %+v", r, want)
		}
	}
}

// TestSwarmTalk reads the longest answers of a swarm as they come.
func TestSwarmTalk(t *testing.T) {
	const line = `   %ds  %-6s     100 links        0 opened/s       1000 messages/s  p50 1ms      p99 9ms      max %-9v  0 errors`
	script := "echo '" + fmt.Sprintf(line, 1, "ramp", "7s") + "'; echo '" + fmt.Sprintf(line, 2, "run", "12.5ms") + "'; echo '" +
		fmt.Sprintf(line, 3, "run", "900µs") + "'; read x; echo '" + fmt.Sprintf(line, 4, "run", "1.25s") + "'; exec sleep 60"
	b, p := shell(t, " run ", script)
	s := &swarmTalk{p: p}
	if ms, err := s.longest(b, 2); err != nil || ms != 12.5 {
		t.Errorf("%v ms, %v", ms, err)
	}
	if _, err := fmt.Fprintln(p.stdin, "go on"); err != nil {
		t.Fatal(err)
	}
	if ms, err := s.longest(b, 1); err != nil || ms != 1250 {
		t.Errorf("then %v ms, %v", ms, err)
	}
	b.stopAll()
	if _, err := s.longest(b, 1); err == nil {
		t.Error("a swarm that has ended says nothing more")
	}
	if _, err := longestOf([][]string{{"", "soon"}}); err == nil {
		t.Error("that is no time")
	}
}

// TestJudgeTalk: what was on its way when a link ended is no fault, everything else is.
func TestJudgeTalk(t *testing.T) {
	const text = `{"connections": {"broken": 2}, "messages": {"answered": %d}, "corrupt": {"total": %d},
		"check": {"answers": {"missing": {"total": %d}}, "manager": {"doubled": {"total": %d}}, "no_report": {"total": %d}, "unheard": {"total": 3}}}`
	for _, tt := range []struct {
		text, want string
	}{
		{fmt.Sprintf(text, 100, 0, 3, 0, 0), ""},
		{fmt.Sprintf(text, 100, 0, 4, 0, 0), "1 messages were lost"},
		{fmt.Sprintf(text, 100, 1, 3, 1, 2), "4 messages were lost"},
		{fmt.Sprintf(text, 0, 0, 3, 0, 0), "nothing was answered"},
		{"no", `edged swarm said "no"`},
	} {
		broken, err := judgeTalk([]byte(tt.text))
		if tt.want == "" && (err != nil || broken != 2) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %d broken, %v; want %q", tt.text, broken, err, tt.want)
		}
	}
}

// TestSucceed: a process that we have not started, but whose parent we are, is watched and ended like the others.
func TestSucceed(t *testing.T) {
	b, p := shell(t, "ready", "echo ready; exec sleep 60")
	if err := p.await(b.ctx, readyLimit); err != nil {
		t.Fatal(err)
	}
	heir, err := os.StartProcess("/bin/sleep", []string{"sleep", "60"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	to := target{servers: []*process{p}, pids: []int{p.cmd.Process.Pid}}
	if err := b.succeed(to, heir.Pid); err != nil {
		t.Fatal(err)
	}
	if err := to.servers[0].alive(); err != nil || to.pids[0] != heir.Pid {
		t.Errorf("%v, process %d instead of %d", err, to.pids[0], heir.Pid)
	}
	b.stopAll()
	if to.servers[0].alive() == nil {
		t.Error("it lives on")
	}
}

// TestReload: what ctl says is taken apart, and an error is one.
func TestReload(t *testing.T) {
	m := reloaded.FindStringSubmatch("reloaded: process 4711 serves; links stood still for 7.5ms, accepting for 40ms\n")
	if m == nil || m[1] != "4711" || m[2] != "7.5ms" {
		t.Errorf("%q", m)
	}
	b, _ := shell(t, "ready", "exec sleep 60")
	b.now.edged = filepath.Join(t.TempDir(), "edged")
	if err := os.WriteFile(b.now.edged, []byte("#!/bin/sh\necho 'it does not like this file' >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := b.reload(target{admin: "x"}); err == nil || !strings.Contains(err.Error(), "does not like") {
		t.Errorf("error %v", err)
	}
}
