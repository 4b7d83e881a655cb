//go:build e2e

package tests

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"edged/redisconn/redistest"
	"edged/sdk/manager"
)

// TestChaos sends messages that are stored and must be acknowledged to users whose devices come and go, through two queue
// processes and two gateways, while every few seconds one of these, or Redis, is killed and comes back. In the end every device
// has every message of its user, in the order of the versions but for what was marked late, and knew each double by its stamp.
//
// `make chaos` runs it as long and as large as docs/PERFORMANCE.md says; EDGED_CHAOS is "<duration> <users> <seed>".
func TestChaos(t *testing.T) {
	long, users, seed := 12*time.Second, 100, rand.Uint64()
	if words := strings.Fields(os.Getenv("EDGED_CHAOS")); len(words) > 0 {
		long = must(time.ParseDuration(words[0]))(t)
		if len(words) > 1 {
			users = must(strconv.Atoi(words[1]))(t)
		}
		if len(words) > 2 {
			seed = must(strconv.ParseUint(words[2], 10, 64))(t)
		}
	}
	t.Logf("EDGED_CHAOS=\"%v %d %d\"", long, users, seed)
	c := newChaos(t, users, seed)
	c.run(long)
	c.check()
}

// chaos is the whole chain.
type chaos struct {
	t        *testing.T
	seed     uint64
	redis    *redistest.Server
	gateways []*mortal
	queues   []*mortal
	post     *poster
	people   *people
}

func newChaos(t *testing.T, users int, seed uint64) *chaos {
	c := &chaos{t: t, seed: seed}
	c.redis = redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	m := newKit(t, manager.Handler{Hello: func(e *manager.Event) {
		who := strings.Split(string(e.Payload), "/")
		synced, _ := strconv.ParseUint(who[2], 10, 64)
		_ = e.BindSynced(who[0], who[1], synced)
	}})
	redis := fmt.Sprintf("[redis]\naddresses = [%q]\n", c.redis.Addr)
	for range 2 {
		dir := t.TempDir()
		s := setup{
			managers: []string{m.address}, listeners: []string{fmt.Sprintf("address = %q", freePort(t))},
			more: redis + "[delivery]\nretry = \"1s\"\n[health]\ninterval = \"1s\"\n",
		}
		c.gateways = append(c.gateways, newMortal(t, "serve", dir, s.text(filepath.Join(dir, "admin.sock"))))
		dir = t.TempDir()
		text := fmt.Sprintf("[queue]\nclaim_after = \"1s\"\n[admin]\nlisten = [%q]\n%s", "unix:"+filepath.Join(dir, "admin.sock"), redis)
		c.queues = append(c.queues, newMortal(t, "queue", dir, text))
	}
	for _, p := range append(c.gateways[:2:2], c.queues...) {
		p.start()
	}
	var addresses []string
	for _, g := range c.gateways {
		waitFor(t, "the gateway listens", func() bool { return len(g.listening()) > 0 })
		addresses = append(addresses, g.listening())
	}
	c.post = newPoster(c.redis.Addr)
	c.people = newPeople(addresses, users, seed)
	return c
}

// run sends and kills for so long. What is killed when, and for how long, follows from the seed.
func (c *chaos) run(long time.Duration) {
	random := rand.New(rand.NewPCG(c.seed, 1))
	stop := make(chan struct{})
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		c.people.feed(c.post, c.seed, stop)
	}()
	c.people.start()
	began := time.Now()
	victims := append(append([]*mortal{}, c.gateways...), c.queues...)
	for time.Since(began) < long {
		time.Sleep(time.Second + time.Duration(random.Int64N(int64(2*time.Second))))
		away := time.Duration(random.Int64N(int64(1500 * time.Millisecond)))
		n := random.IntN(len(victims) + 1)
		if n == len(victims) {
			c.t.Logf("%6.2fs Redis dies for %v", time.Since(began).Seconds(), away)
			c.redis.Kill()
			time.Sleep(away)
			c.redis.Restart()
			continue
		}
		c.t.Logf("%6.2fs %s %d dies for %v", time.Since(began).Seconds(), victims[n].role, n%2, away)
		victims[n].kill()
		time.Sleep(away)
		victims[n].start()
	}
	close(stop)
	<-sent
}

// check waits until everybody has everything.
func (c *chaos) check() {
	t := c.t
	c.people.stayOnline()
	began := time.Now()
	limit := time.Minute
	for len(c.people.behind(1)) > 0 && time.Since(began) < limit {
		time.Sleep(100 * time.Millisecond)
	}
	for _, missing := range c.people.behind(5) {
		t.Error(missing)
	}
	c.people.stop()
	p := c.people
	t.Logf("%d messages to %d users, %d devices: %d pushes, %d doubles, %d late; %d logins; all there %v after the last one",
		p.sentCount(), len(p.users), len(p.devices), p.pushes.Load(), p.doubles.Load(), p.late.Load(), p.logins.Load(), time.Since(began).Round(time.Millisecond))
	for _, f := range p.faults() {
		t.Error(f)
	}
	if p.pushes.Load() == 0 || p.sentCount() == 0 {
		t.Error("nothing was sent: the test tests nothing")
	}
	if dead := c.redis.Do("XLEN", "edged:dead"); dead != "0" {
		t.Errorf("%s dead letters", dead)
	}
}

// mortal is a process that is killed and started again.
type mortal struct {
	t    *testing.T
	role string // sub-command
	file string
	log  *textLog
	cmd  *exec.Cmd
	text string
}

func newMortal(t *testing.T, role, dir, text string) *mortal {
	t.Helper()
	m := &mortal{t: t, role: role, file: filepath.Join(dir, role+".toml"), log: &textLog{}, text: text}
	check(t, os.WriteFile(m.file, []byte(text), 0o600))
	t.Cleanup(func() {
		m.kill()
		for _, bad := range []string{"panic:", "fatal error:", "DATA RACE"} {
			if strings.Contains(m.log.String(), bad) {
				t.Errorf("the log of %s has %q in it", m.role, bad)
			}
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", m.role, m.log.tail(4<<10))
		}
	})
	return m
}

func (m *mortal) start() {
	m.t.Helper()
	m.cmd = exec.Command(edged, m.role, "--config", m.file)
	m.cmd.Stdout, m.cmd.Stderr = io.Discard, m.log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	check(m.t, m.cmd.Start())
}

func (m *mortal) kill() {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait() // killed
	m.cmd = nil
}

// listening is the address in a gateway's configuration, once it takes connections.
func (m *mortal) listening() string {
	_, rest, _ := strings.Cut(m.text, "address = \"")
	address, _, _ := strings.Cut(rest, "\"")
	conn, err := (&poster{address: address}).dial()
	if err != nil {
		return ""
	}
	_ = conn.Close()
	return address
}
