package offline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/offline"
	"edged/redisconn"
	"edged/redisconn/redistest"
)

// gate is an address that leads to a server while it is open, and refuses otherwise.
type gate struct {
	addr string

	mu    sync.Mutex
	to    string // empty: closed
	conns map[net.Conn]bool
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{addr: l.Addr().String(), to: to, conns: make(map[net.Conn]bool)}
	var running sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		g.lead("")
		running.Wait()
	})
	running.Go(func() {
		for {
			in, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				running.Go(func() { g.serve(in) })
			}
		}
	})
	return g
}

// lead opens the gate to another address, or closes it, and ends the connections.
func (g *gate) lead(to string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.to = to
	for c := range g.conns {
		_ = c.Close()
	}
	clear(g.conns)
}

func (g *gate) serve(in net.Conn) {
	defer in.Close()
	g.mu.Lock()
	to := g.to
	g.conns[in] = true
	g.mu.Unlock()
	if to == "" {
		return
	}
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer out.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(in, out)
		_ = in.Close()
	}()
	_, _ = io.Copy(out, in)
	_ = out.Close()
	<-done
}

// writeAhead makes the server keep its data in a file that is safe before a command is answered.
func writeAhead(t *testing.T, s *redistest.Server) {
	t.Helper()
	s.Do("CONFIG", "SET", "appendfsync", "always")
	s.Do("CONFIG", "SET", "appendonly", "yes")
	eventually(t, "the file", func() bool {
		info := s.Do("INFO", "persistence")
		return strings.Contains(info, "aof_enabled:1") && strings.Contains(info, "aof_rewrite_in_progress:0") &&
			strings.Contains(info, "aof_rewrite_scheduled:0")
	})
}

// outbox stores messages until each is acknowledged, as the queue layer would. Its fields are guarded by mu.
type outbox struct {
	mu           sync.Mutex
	acknowledged map[string]uint64 // user/msg_id → version
	failures     int
}

// send repeats what fails.
func (o *outbox) send(ctx context.Context, l *offline.Log, messages []offline.Message) {
	for len(messages) > 0 && ctx.Err() == nil {
		var again []offline.Message
		results := l.Store(ctx, messages)
		o.mu.Lock()
		for i, r := range results {
			if r.Err != nil {
				again = append(again, messages[i])
				continue
			}
			o.acknowledged[messages[i].User+"/"+messages[i].MsgID] = r.Version
		}
		o.failures += len(again)
		o.mu.Unlock()
		if messages = again; messages != nil {
			time.Sleep(5 * time.Millisecond) // not as fast as it goes
		}
	}
}

func (o *outbox) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.acknowledged)
}

// TestKilledServer kills the server under load, twice, and lets it come back with its file. What was acknowledged is there, under
// the version that was told; what was not is repeated, and is there once.
func TestKilledServer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--enable-debug-command", "yes")
	writeAhead(t, s)
	g := newGate(t, s.Addr)
	ctx := soon(t)
	const callers, perCaller, users, perCall = 4, 3000, 5, 20
	out := &outbox{acknowledged: make(map[string]uint64)}
	var work sync.WaitGroup
	for caller := range callers {
		l := offline.New(dial(t, g.addr), offline.Default())
		work.Go(func() {
			for i := 0; i < perCaller && ctx.Err() == nil; i += perCall {
				var messages []offline.Message
				for j := i; j < i+perCall; j++ {
					id := fmt.Sprint(caller, "-", j)
					messages = append(messages, msg(fmt.Sprint("u", j%users), id, "payload of "+id))
				}
				out.send(ctx, l, messages)
			}
		})
	}
	for round := range 2 {
		eventually(t, "some messages", func() bool { return out.count() > (round+1)*2000 })
		s.Kill()
		g.lead("")
		s.Restart()
		s.Do("DEBUG", "LOADAOF") // Restart alone would leave the file alone
		writeAhead(t, s)
		g.lead(s.Addr)
	}
	work.Wait()
	t.Logf("%d messages failed and were repeated", out.failures)
	if out.failures == 0 {
		t.Error("no message met the end of the server")
	}
	out.compare(t, offline.New(dial(t, s.Addr), offline.Default()), users, callers*perCaller)
}

// compare checks that the logs hold what was acknowledged, n messages, and no more.
func (o *outbox) compare(t *testing.T, l *offline.Log, users, n int) {
	t.Helper()
	if len(o.acknowledged) != n {
		t.Errorf("%d of %d messages were acknowledged", len(o.acknowledged), n)
	}
	total := 0
	for i := range users {
		user := fmt.Sprint("u", i)
		p := pull(t, l, user, "d", 0, 0)
		total += len(p.Entries)
		for j, e := range p.Entries {
			id := string(e.MsgID)
			if told := o.acknowledged[user+"/"+id]; e.Version != uint64(j+1) || told != e.Version || string(e.Payload) != "payload of "+id {
				t.Fatalf("%s: place %d has version %d, %s; it was acknowledged as %d", user, j, e.Version, id, told)
			}
		}
	}
	if total != n {
		t.Errorf("%d of %d messages are there", total, n)
	}
}

// TestRedisAway: without Redis each message has its error at once, and within the context's time where Redis hangs.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	s, l := open(t)
	store(t, l, several("u", 100)...)
	s.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for i, r := range l.Store(ctx, append(several("u", 200), msg("", "", ""))) {
		if r.Err == nil || r.Version != 0 || (i == 200) != errors.Is(r.Err, offline.ErrUser) {
			t.Fatalf("message %d: %+v", i, r)
		}
	}
	if _, err := l.Pull(ctx, "u", "d", 0, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := l.Sync(ctx, []offline.Point{{User: "u", Device: "d", Version: 1}})[0]; !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	s.Continue()
	eventually(t, "an answer", func() bool { _, err := l.Pull(soon(t), "u", "d", 0, 0); return err == nil })
	for i, v := range store(t, l, several("u", 200)...) { // what was given up may have been carried out
		if v != i+1 && v != -i-1 {
			t.Fatalf("message %d has version %d", i+1, v)
		}
	}
	s.Kill()
	eventually(t, "an error", func() bool { _, err := l.Pull(soon(t), "u", "d", 0, 0); return err != nil })
	if st := l.Stats(); st.Failed != 200 || st.Refused != 1 {
		t.Errorf("%+v", st)
	}
	none := offline.New(redisconnAway(t), offline.Default())
	if r := none.Store(t.Context(), several("u", 1))[0]; !errors.Is(r.Err, redisconn.ErrNotConnected) {
		t.Error(r.Err)
	}
}

// TestCluster takes messages their whole way in a Cluster of three, whose nodes learn the scripts each at its time, and kills one.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	config := offline.Default()
	config.Count = 30
	l := offline.New(dial(t, c.Addrs()...), config)
	const users = 60
	var messages []offline.Message
	for i := range 40 * users {
		messages = append(messages, msg(fmt.Sprint("u", i%users), fmt.Sprint(i), fmt.Sprint(i)))
	}
	for round := range 2 {
		for i, v := range store(t, l, messages...) {
			if want := i/users + 1; round == 0 && v != want || round == 1 && v != -want {
				t.Fatalf("message %d has version %d, want %d", i, v, want)
			}
		}
	}
	var points []offline.Point
	for i := range users {
		points = append(points, offline.Point{User: fmt.Sprint("u", i), Device: "d", Version: 35})
	}
	for _, err := range l.Sync(soon(t), points) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range users {
		if p := pull(t, l, fmt.Sprint("u", i), "d", 0, 0); len(p.Entries) != 5 || p.Oldest != 11 || p.Last != 40 || p.Synced != 35 {
			t.Fatalf("user %d: %+v", i, p)
		}
	}
	lost := c.Owner("edged:log:{u0}")
	var others []offline.Message
	for i := range users {
		if user := fmt.Sprint("u", i); c.Owner("edged:log:{"+user+"}") != lost {
			others = append(others, msg(user, "late", ""))
		}
	}
	lost.Kill()
	eventually(t, "the others", func() bool {
		results := l.Store(soon(t), append([]offline.Message{msg("u0", "late", "")}, others...))
		if results[0].Err == nil {
			t.Error("stored at a dead node")
		}
		for _, r := range results[1:] {
			if r.Err != nil {
				return false
			}
		}
		return true
	})
	if got := store(t, l, others[0]); got[0] != -41 {
		t.Errorf("version %d", got[0])
	}
}
