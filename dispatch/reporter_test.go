package dispatch_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"edged/dispatch"
	"edged/redisconn/redistest"
)

const gw1, gw2 = "192.0.2.1:7000", "192.0.2.2:7000"

func number(t testing.TB, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// left is how many ms the report still has to live.
func left(t testing.TB, s *redistest.Server, id string) int64 {
	t.Helper()
	return number(t, s.Do("PTTL", "edged:gw:{"+id+"}"))
}

func milli(s *redistest.Server) int64 {
	var sec, us int64
	_, _ = fmt.Sscan(s.Do("TIME"), &sec, &us)
	return sec*1000 + us/1000
}

// TestReportInRedis compares what lies in Redis with PROTOCOL.md §3, name by name.
func TestReportInRedis(t *testing.T) {
	s := redistest.Start(t)
	r := report(t, standalone(s), gw1, 5*time.Second, nil)
	r.Now(up("192.0.2.1:7001", "sh-1", 0.3456))
	written(t, r)
	got := hash(s, gw1)
	at := number(t, got["at"])
	if now := time.Now().UnixMilli(); at > now || at < now-limit.Milliseconds() {
		t.Errorf("at is %d, now is %d", at, now)
	}
	if seq := number(t, got["seq"]); seq < 1 {
		t.Errorf("seq is %d", seq)
	}
	delete(got, "at")
	delete(got, "seq")
	want := map[string]string{
		"v": "1", "availability": "0.346", "raw": "0.875", "reason": "pps", "state": "up", "pps": "1234", "pps_limit": "10000",
		"bytes": "5000000000", "bytes_limit": "12500000000", "links": "321", "capacity": "1000", "address": "192.0.2.1:7001",
		"slb": "sh-1", "version": "v1.2.3", "epoch": "7", "boot": r.Boot(), "sharded": "1",
	}
	for field, value := range want {
		if got[field] != value {
			t.Errorf("%s is %q, want %q", field, got[field], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d fields, want %d: %v", len(got), len(want), got)
	}
	if ms := left(t, s, gw1); ms <= 0 || ms > 15000 {
		t.Errorf("the report lives %d ms more, want at most 15 s", ms)
	}
	if got := s.Do("SMEMBERS", "edged:slbs"); got != "sh-1" {
		t.Errorf("load balancers: %q", got)
	}
	score := number(t, s.Do("ZSCORE", "edged:slb:sh-1", gw1))
	if now := milli(s); score > now || score < now-limit.Milliseconds() {
		t.Errorf("listed at %d, the server's time is %d", score, now)
	}
	if keys := s.Do("DBSIZE"); keys != "3" {
		t.Errorf("%s keys, want 3", keys)
	}
}

func TestReporterIsItsOwnBalancer(t *testing.T) {
	s := redistest.Start(t)
	r := report(t, standalone(s), "box-1", interval, nil)
	r.Now(up(gw1, "", 1))
	written(t, r)
	if names, members := s.Do("SMEMBERS", "edged:slbs"), s.Do("ZRANGE", "edged:slb:"+gw1, "0", "-1"); names != gw1 || members != "box-1" {
		t.Errorf("load balancers %q with %q, want %s with box-1", names, members, gw1)
	}
	if slb := hash(s, "box-1")["slb"]; slb != "" {
		t.Errorf("slb is %q", slb)
	}
}

// TestReporterTicks gives one report and sees it written again and again, so that it never dies of age.
func TestReporterTicks(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	r := report(t, standalone(s), gw1, interval, nil)
	r.Put(up(gw1, "sh-1", 0.5))
	eventually(t, "five reports", func() bool { return r.Stats().Reports >= 5 })
	if seq := number(t, hash(s, gw1)["seq"]); seq < 5 {
		t.Errorf("seq is %d after five reports", seq)
	}
	r.Put(up(gw1, "sh-1", 0.25))
	eventually(t, "the newer report", func() bool { return hash(s, gw1)["availability"] == "0.250" })
	if stats := r.Stats(); !stats.OK || stats.Failures > 0 && stats.LastSuccess.IsZero() || stats.Twin != "" {
		t.Errorf("%+v", stats)
	}
}

func TestReporterMoves(t *testing.T) {
	s := redistest.Start(t)
	r := report(t, standalone(s), gw1, interval, nil)
	r.Now(up(gw1, "sh-1", 0.5))
	written(t, r)
	r.Now(up(gw1, "sh-2", 0.5))
	eventually(t, "the new place", func() bool { return s.Do("ZRANGE", "edged:slb:sh-2", "0", "-1") == gw1 })
	eventually(t, "the old place left", func() bool { return s.Do("ZRANGE", "edged:slb:sh-1", "0", "-1") == "" })
}

func TestReporterStop(t *testing.T) {
	s := redistest.Start(t)
	heard := listen(t, s)
	r := report(t, standalone(s), gw1, time.Hour, nil)
	r.Now(up(gw1, "sh-1", 0.5))
	heard(gw1 + " up")
	written(t, r)
	r.Stop(soon(t))
	heard(gw1 + " down")
	if n := s.Do("EXISTS", "edged:gw:{"+gw1+"}", "edged:slb:sh-1"); n != "0" {
		t.Errorf("%s keys stay", n)
	}
	r.Now(up(gw1, "sh-1", 0.5))
	r.Stop(soon(t))                    // again: nothing happens
	if n := s.Do("DBSIZE"); n != "1" { // the names of load balancers
		t.Errorf("%s keys after the end", n)
	}
}

func TestReporterStopBeforeReport(t *testing.T) {
	s := redistest.Start(t)
	first := report(t, standalone(s), gw1, time.Hour, nil)
	first.Now(up(gw1, "sh-1", 0.5))
	written(t, first)
	second := report(t, standalone(s), gw1, time.Hour, nil)
	second.Stop(soon(t))
	if s.Do("EXISTS", "edged:gw:{"+gw1+"}") != "1" {
		t.Error("a process that never reported removed the report")
	}
}

// TestReporterStopLeavesOthers stops a process whose ID another one has taken over.
func TestReporterStopLeavesOthers(t *testing.T) {
	s := redistest.Start(t)
	first := report(t, standalone(s), gw1, time.Hour, nil)
	first.Now(up(gw1, "sh-1", 0.5))
	written(t, first)
	second := report(t, standalone(s), gw1, time.Hour, nil)
	second.Now(up(gw1, "sh-1", 0.75))
	written(t, second)
	first.Stop(soon(t))
	if got := hash(s, gw1)["boot"]; got != second.Boot() || s.Do("ZRANGE", "edged:slb:sh-1", "0", "-1") != gw1 {
		t.Errorf("boot %q is there, want %q and its place", got, second.Boot())
	}
}

// TestReporterDetach hands the ID over: the report stays, and is nobody's twin.
func TestReporterDetach(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	first := report(t, standalone(s), gw1, interval, nil)
	first.Now(up(gw1, "sh-1", 0.5))
	written(t, first)
	first.Detach(soon(t))
	if s.Do("EXISTS", "edged:gw:{"+gw1+"}") != "1" {
		t.Fatal("the report is gone")
	}
	second := report(t, standalone(s), gw1, interval, nil)
	second.Now(up(gw1, "sh-1", 0.5))
	eventually(t, "reports", func() bool { return second.Stats().Reports > 5 })
	if stats := second.Stats(); stats.TwinReports != 0 || stats.Twin != "" {
		t.Errorf("the process before is taken for a twin: %+v", stats)
	}
	first.Stop(soon(t))
	if s.Do("EXISTS", "edged:gw:{"+gw1+"}") != "1" {
		t.Error("a detached process removed the report")
	}
}

// listen subscribes to edged:state in the server's plain protocol and returns a function that waits for a message.
func listen(t testing.TB, s *redistest.Server) func(message string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", s.Addr, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.Write([]byte("SUBSCRIBE edged:state\r\n")); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	wait := func(text string) {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(limit))
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatalf("waited in vain for %q: %v", text, err)
			}
			if strings.TrimSpace(line) == text {
				return
			}
		}
	}
	wait(":1")
	return wait
}

// TestReporterTellsStates hears each change of state although the tick is an hour away, and Now also without a change.
func TestReporterTellsStates(t *testing.T) {
	s := redistest.Start(t)
	heard := listen(t, s)
	r := report(t, standalone(s), gw1, time.Hour, nil)
	r.Now(with(up(gw1, "sh-1", 0), dispatch.StateWarming))
	heard(gw1 + " warming")
	r.Now(up(gw1, "sh-1", 0.5))
	heard(gw1 + " up")
	r.Now(up(gw1, "sh-1", 0.25))
	heard(gw1 + " up")
	if got := hash(s, gw1)["availability"]; got != "0.250" {
		t.Errorf("the message came before its report: availability %s", got)
	}
	r.Now(with(up(gw1, "sh-1", 0), dispatch.StateDraining))
	heard(gw1 + " draining")
	if got := hash(s, gw1); got["state"] != "draining" || got["availability"] != "0.000" {
		t.Errorf("state %s, availability %s", got["state"], got["availability"])
	}
}

func TestReporterPutTellsNewState(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	heard := listen(t, s)
	r := report(t, standalone(s), gw1, interval, nil)
	r.Put(up(gw1, "sh-1", 0.5))
	heard(gw1 + " up")
	r.Put(with(up(gw1, "sh-1", 0), dispatch.StateDown))
	heard(gw1 + " down")
}

// TestReporterHealsItsKey finds something else at its key: the key is the gateway's, so it takes it back.
func TestReporterHealsItsKey(t *testing.T) {
	for _, c := range [][]string{
		{"SET", "edged:gw:{" + gw1 + "}", "garbage"},
		{"LPUSH", "edged:gw:{" + gw1 + "}", "a", "b"},
		{"HSET", "edged:gw:{" + gw1 + "}", "of_another_version", "1", "boot", "\x00\xff", "seq", "garbage"},
	} {
		t.Run(c[0], func(t *testing.T) {
			s := redistest.Start(t)
			s.Do(c...)
			r := report(t, standalone(s), gw1, interval, nil)
			r.Now(up(gw1, "sh-1", 0.5))
			written(t, r)
			got := hash(s, gw1)
			if _, stays := got["of_another_version"]; got["boot"] != r.Boot() || stays || left(t, s, gw1) < 0 {
				t.Errorf("%v", got)
			}
			r.Stop(soon(t))
			if s.Do("EXISTS", c[1]) != "0" {
				t.Error("the key stays")
			}
		})
	}
}

// TestReporterBrokenList cannot list itself, because something else lies at the load balancer's key. The report is written
// all the same, and the failure says which key.
func TestReporterBrokenList(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Do("SET", "edged:slb:sh-1", "garbage")
	heard := listen(t, s)
	var b book
	r := report(t, standalone(s), gw1, interval, b.log())
	r.Now(up(gw1, "sh-1", 0.5))
	heard(gw1 + " up")
	eventually(t, "failures", func() bool { return r.Stats().Failures > 2 })
	if stats := r.Stats(); !strings.Contains(stats.LastError, "edged:slb:sh-1") || stats.OK {
		t.Errorf("%+v", stats)
	}
	if hash(s, gw1)["state"] != "up" {
		t.Error("there is no report")
	}
	if n := len(b.lines("reports are not written")); n != 1 {
		t.Errorf("%d lines for one trouble", n)
	}
	s.Do("DEL", "edged:slb:sh-1")
	eventually(t, "its place", func() bool { return r.Stats().OK })
}

func TestReporterWithoutAddress(t *testing.T) {
	s := redistest.Start(t)
	r := report(t, standalone(s), gw1, interval, nil)
	r.Now(dispatch.Report{State: dispatch.StateUp})
	eventually(t, "the failure", func() bool { return strings.Contains(r.Stats().LastError, "without address") })
	if n := s.Do("DBSIZE"); n != "0" {
		t.Errorf("%s keys", n)
	}
}

// TestWriteScriptOrder carries an attempt out late, as a server does that hung: what came after it stands. One of another
// process is no matter of order.
func TestWriteScriptOrder(t *testing.T) {
	s := redistest.Start(t)
	write := func(boot, seq, state string) string {
		return s.Do("EVAL", dispatch.WriteScript, "1", "edged:gw:{a}", "60000", boot, seq, "boot", boot, "seq", seq, "state", state,
			"address", "x:1")
	}
	for i, c := range []struct{ boot, seq, state, before, stands string }{
		{"b1", "1", "up", "\n\n", "up"},
		{"b1", "3", "draining", "b1\n1\nx:1", "draining"},
		{"b1", "2", "up", "", "draining"},
		{"b1", "3", "up", "", "draining"},
		{"b2", "1", "warming", "b1\n3\nx:1", "warming"},
		{"b2", "10", "up", "b2\n1\nx:1", "up"},
		{"b2", "9", "down", "", "up"},
	} {
		if got := write(c.boot, c.seq, c.state); got != c.before {
			t.Errorf("step %d: the writer before was %q, want %q", i, got, c.before)
		}
		if got := s.Do("HGET", "edged:gw:{a}", "state"); got != c.stands {
			t.Errorf("step %d: state %s, want %s", i, got, c.stands)
		}
	}
}

// TestReporterCrowd lets many goroutines talk to one Reporter while it ends: nobody waits and the last word is no accident.
func TestReporterCrowd(t *testing.T) {
	s := redistest.Start(t)
	r := report(t, standalone(s), gw1, interval, nil)
	done := make(chan struct{}, 4)
	for i := range cap(done) {
		go func() {
			for j := range 2000 {
				share := float64(j%100) / 100
				if i == 0 && j%500 == 0 {
					r.Now(up(gw1, "sh-1", share))
				} else {
					r.Put(up(gw1, "sh-1", share))
				}
				_ = r.Stats()
			}
			done <- struct{}{}
		}()
	}
	for range cap(done) {
		select {
		case <-done:
		case <-time.After(limit):
			t.Fatal("a caller waits")
		}
	}
	r.Now(up(gw1, "sh-1", 0.125))
	eventually(t, "the last word", func() bool { return hash(s, gw1)["availability"] == "0.125" })
	ends := make(chan struct{}, 2)
	for range cap(ends) {
		go func() { r.Stop(context.Background()); ends <- struct{}{} }()
	}
	for range cap(ends) {
		<-ends
	}
	if got := names(mustRead(t, reader(t, standalone(s), nil))); slices.Contains(got, gw1) {
		t.Errorf("%v after the end", got)
	}
}
