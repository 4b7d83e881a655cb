//go:build e2e

package tests

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"edged/redisconn/redistest"
	"edged/wire"
)

// dispatcher is a running `edged dispatch`.
type dispatcher struct {
	t   *testing.T
	cmd *exec.Cmd
	url string
	log *textLog
}

var dispatchReady = regexp.MustCompile(`ready.*?(127\.0\.0\.1:[0-9]+)`)

// startDispatch runs one until the test ends; more are further sections of its file.
func startDispatch(t *testing.T, redis, more string) *dispatcher {
	t.Helper()
	file := filepath.Join(t.TempDir(), "dispatch.toml")
	check(t, os.WriteFile(file, []byte(fmt.Sprintf(
		"[dispatch]\nlisten = [\"127.0.0.1:0\"]\n[redis]\naddresses = [%q]\n[admin]\nlisten = []\n%s", redis, more)), 0o600))
	d := &dispatcher{t: t, log: &textLog{}}
	d.cmd = exec.Command(edged, "dispatch", "--config", file)
	d.cmd.Stderr = d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out := must(d.cmd.StdoutPipe())(t)
	check(t, d.cmd.Start())
	late := time.AfterFunc(patience, func() { _ = d.cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	late.Stop()
	t.Cleanup(d.stop)
	found := dispatchReady.FindStringSubmatch(line)
	if err != nil || found == nil {
		t.Fatalf("edged dispatch said %q, %v; its log:\n%s", line, err, d.log.tail(10))
	}
	d.url = "http://" + found[1]
	return d
}

// stop ends it as a supervisor does; it must leave with status 0.
func (d *dispatcher) stop() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(patience, func() { _ = d.cmd.Process.Kill() })
	defer late.Stop()
	if err := d.cmd.Wait(); err != nil {
		d.t.Errorf("edged dispatch ended: %v; its log:\n%s", err, d.log.tail(10))
	}
}

// answer is the body of GET /v1/addresses.
type answer struct {
	Addresses []struct{ Address, SLB string }
	Stale     bool
	Degraded  bool
}

func (d *dispatcher) get(query string) (status int, body string) {
	d.t.Helper()
	r := must(http.Get(d.url + "/v1/addresses" + query))(d.t)
	defer r.Body.Close()
	b := must(io.ReadAll(r.Body))(d.t)
	return r.StatusCode, string(b)
}

func (d *dispatcher) ask() (a answer) {
	d.t.Helper()
	status, body := d.get("")
	if status != http.StatusOK && status != http.StatusServiceUnavailable {
		d.t.Fatalf("%d: %s", status, body)
	}
	_ = json.Unmarshal([]byte(body), &a)
	return a
}

// firsts returns how often each load balancer stood first in so many answers.
func (d *dispatcher) firsts(n int) map[string]int {
	d.t.Helper()
	count := map[string]int{}
	for range n {
		if a := d.ask(); len(a.Addresses) > 0 {
			count[a.Addresses[0].SLB]++
		}
	}
	return count
}

const twoBalancers = "[[slb]]\nname = \"sh-1\"\naddresses = [\"203.0.113.7:7000\", \"[2001:db8::7]:7000\"]\n[[slb]]\nname = \"sh-2\"\naddresses = [\"203.0.113.8:7000\"]\n"

// TestDispatch: gateways' reports make the answers, a drain shows at once, a box that died is gone when its report is, and a Redis that
// is away leaves the last list.
func TestDispatch(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	slow := func(slb string) setup { // no tick comes to help a drain
		return setup{gateway: "login = \"none\"", more: strings.Replace(reporting(r.Addr, slb), "\"1s\"", "\"5s\"", 1)}
	}
	a, c := start(t, slow("sh-1")), start(t, slow("sh-2"))
	own := start(t, slow("")) // its own load balancer
	d := startDispatch(t, r.Addr, twoBalancers)
	waitFor(t, "all three stand first at times", func() bool { return len(d.firsts(100)) == 3 })
	got := d.ask()
	if len(got.Addresses) != 4 || got.Stale || got.Degraded {
		t.Errorf("answered %+v", got)
	}
	if status, text := d.get("?n=1"); status != 200 || strings.Count(text, `"slb"`) != 1 {
		t.Errorf("?n=1: %d %s", status, text)
	}
	began := time.Now()
	if status, _, stderr := run(t, "ctl", "--socket", c.admin, "drain", "--within", "4s"); status != 0 {
		t.Fatalf("ctl drain: %s", stderr)
	}
	waitFor(t, "the one that drains stands first no more", func() bool { return d.firsts(40)["sh-2"] == 0 })
	t.Logf("a drain showed after %v", time.Since(began))
	began = time.Now()
	own.kill()
	waitWithin(t, 25*time.Second, "the one that died is out of every answer", func() bool {
		for _, x := range d.ask().Addresses {
			if x.Address == own.advertise {
				return false
			}
		}
		return true
	})
	took := time.Since(began)
	t.Logf("a gateway that was killed was gone after %v", took)
	if took > 17500*time.Millisecond { // 15 s of life, a refresh of 1 s, and some for the way
		t.Errorf("it took %v", took)
	}
	r.Pause()
	waitFor(t, "stale answers", func() bool { return d.ask().Stale })
	if got := d.ask(); len(got.Addresses) < 3 {
		t.Errorf("without Redis: %+v", got)
	}
	r.Continue()
	waitFor(t, "fresh answers", func() bool { return !d.ask().Stale })
	dial(t, a.address()).want(wire.KindWelcome)
}

// TestDispatchBadInput: whoever asks or reports nonsense hurts nobody but himself.
func TestDispatchBadInput(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	g := start(t, setup{gateway: "login = \"none\"", more: reporting(r.Addr, "sh-1")})
	waitFor(t, "a report", func() bool { return report(r, g.advertise)["state"] == "up" })
	now := fmt.Sprint(time.Now().UnixMilli())
	good := []string{"v", "1", "availability", "0.900", "state", "up", "links", "1", "capacity", "10", "address", "192.0.2.1:7000", "slb", "sh-2", "boot", "b", "seq", "1", "at", now}
	plant := func(id, field, value string) {
		fields := append([]string(nil), good...)
		for i := 0; i < len(fields); i += 2 {
			if fields[i] == field {
				fields[i+1] = value
			}
		}
		r.Do(append([]string{"HSET", "edged:gw:{" + id + "}"}, fields...)...)
	}
	r.Do("SADD", "edged:slbs", "sh-2", "nowhere")
	for _, bad := range [][3]string{{"nan:1", "availability", "NaN"}, {"v:1", "v", "7"}, {"links:1", "links", "many"}, {"address:1", "address", "x"}} {
		plant(bad[0], bad[1], bad[2])
		r.Do("ZADD", "edged:slb:sh-2", now, bad[0])
	}
	r.Do("SET", "edged:gw:{type:1}", "garbage")
	r.Do("ZADD", "edged:slb:sh-2", now, "type:1")
	plant("future:1", "at", "99999999999999")
	r.Do("ZADD", "edged:slb:sh-2", now, "future:1")
	plant("nowhere:1", "slb", "nowhere")
	r.Do("ZADD", "edged:slb:nowhere", now, "nowhere:1")
	for _, id := range []string{"nan:1", "v:1", "links:1", "address:1", "future:1", "nowhere:1"} {
		r.Do("PEXPIRE", "edged:gw:{"+id+"}", "60000")
	}
	d := startDispatch(t, r.Addr, twoBalancers)
	waitFor(t, "both load balancers are served", func() bool { return len(d.firsts(50)) == 2 })
	for _, word := range []string{"nan:1", "v:1", "links:1", "address:1", "type:1", "nowhere"} {
		waitFor(t, word+" is named in the log", func() bool { return len(d.log.lines(word)) > 0 })
	}
	for _, query := range []string{"?m=3", "?n=x", "?n=-1", "?n=99999999999999999999", "?n=1&n=2", "?n="} {
		if status, body := d.get(query); status != http.StatusBadRequest || !strings.Contains(body, "error") {
			t.Errorf("%s: %d %s", query, status, body)
		}
	}
	if status, _ := d.get("?n=10000"); status != 200 {
		t.Errorf("?n=10000: %d", status)
	}
	req := must(http.NewRequest("GET", d.url+"/v1/addresses", nil))(t)
	req.Header.Set("Accept", "text/plain")
	resp := must(http.DefaultClient.Do(req))(t)
	defer resp.Body.Close()
	text := string(must(io.ReadAll(resp.Body))(t))
	if lines := strings.Fields(text); len(lines) != 3 || !strings.Contains(text, "203.0.113.7:7000") {
		t.Errorf("as text: %q", text)
	}
	for _, bad := range []string{"[[slb]]\nname = \"sh-1\"\n", "[[slb]]\nname = \"sh-1\"\naddresses = [\"nonsense\"]\n", "[dispatcher]\n",
		twoBalancers + "[[slb]]\nname = \"sh-2\"\naddresses = [\"203.0.113.9:7000\"]\n"} {
		file := filepath.Join(t.TempDir(), "dispatch.toml")
		check(t, os.WriteFile(file, []byte("[dispatch]\nlisten = [\"127.0.0.1:0\"]\n[redis]\naddresses = [\"127.0.0.1:1\"]\n"+bad), 0o600))
		if status, _, stderr := run(t, "check", file); status != 1 || stderr == "" {
			t.Errorf("check of %q: status %d, %q", bad, status, stderr)
		}
	}
}
