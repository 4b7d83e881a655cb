package gateway_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/gateway"
	"edged/wire"
)

func TestDrain(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindAll)
	o := options(m.address)
	o.Config.Reactors = 2
	o.Config.RetryAfterMax = 10 * time.Second
	r := start(t, o)
	const links = 200
	var wg sync.WaitGroup
	var mu sync.Mutex
	waits := map[time.Duration]int{}
	for range links {
		c := r.dial()
		c.beat()
		wg.Go(func() {
			b := c.bye(wire.ByeDraining)
			mu.Lock()
			defer mu.Unlock()
			waits[b.RetryAfter]++
			if b.RetryAfter <= 0 || b.RetryAfter > o.Config.RetryAfterMax+time.Millisecond {
				t.Errorf("retry after %v", b.RetryAfter)
			}
		})
	}
	const within = time.Second
	began := time.Now()
	r.Drain(within)
	if conn, err := net.Dial("tcp", r.Addresses()[0]); err == nil {
		_ = conn.Close()
		t.Error("the listener is open")
	}
	if err := r.Ready(); err == nil || !r.Draining() {
		t.Error("ready while draining")
	}
	for _, part := range []int{25, 50, 75} {
		time.Sleep(time.Until(began.Add(within * time.Duration(part) / 100)))
		// Not sooner than the pace allows; how late this machine lets anybody run is not the gateway's.
		left := r.Links()
		passed := time.Since(began)
		if least := links - int(links*passed/within); left < least-links/8 {
			t.Errorf("%d links after %v, not %d at least", left, passed, least)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d < within*9/10 {
		t.Errorf("drained after %v", d)
	}
	wg.Wait()
	if len(waits) < links*9/10 {
		t.Errorf("only %d different times to come back", len(waits))
	}
	r.balanced()
	if st := r.total(); st.Ended[wire.ByeDraining] != links {
		t.Errorf("ended %v", st.Ended)
	}
	for closed := 0; closed < links; {
		if e := m.next().GetClosed(); e != nil {
			closed++
			if e.Reason != uint32(wire.ByeDraining) || e.Side != edgedpb.Closed_GATEWAY {
				t.Errorf("closed %v", e)
			}
		}
	}
}

// TestUndrain takes a drain back: who is still there stays, and the listeners are those of before, several times.
func TestUndrain(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", nil)
	o := options(m.address)
	path := filepath.Join(t.TempDir(), "s")
	o.Listeners = []gateway.Listener{
		{Name: "one", Address: "127.0.0.1:0", Kind: "tcp"},
		{Name: "two", Address: "unix:" + path, Kind: "tcp"},
		{Name: "three", Address: "127.0.0.1:0", Kind: "tcp"},
	}
	r := start(t, o)
	addresses := strings.Join(r.Addresses(), " ")
	old := r.dial()
	m.opened()
	for round := range 3 {
		r.Drain(time.Hour)
		r.Drain(0) // one at a time
		for _, a := range []int{0, 2} {
			if conn, err := net.Dial("tcp", r.Addresses()[a]); err == nil {
				_ = conn.Close()
				t.Fatal("the listener is open")
			}
		}
		if round == 1 { // somebody else is quicker
			lis, err := net.Listen("tcp", r.Addresses()[2])
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Undrain(); err == nil || !r.Draining() {
				t.Fatalf("undrained to a port that is taken: %v", err)
			}
			if conn, err := net.Dial("tcp", r.Addresses()[0]); err == nil {
				_ = conn.Close()
				t.Fatal("half of the listeners are open")
			}
			_ = lis.Close()
		}
		if err := r.Undrain(); err != nil {
			t.Fatal(err)
		}
		if r.Draining() || strings.Join(r.Addresses(), " ") != addresses {
			t.Fatalf("draining %v, listening on %v", r.Draining(), r.Addresses())
		}
		for i, name := range []string{"one", "two", "three"} {
			c := dial(t, r.Addresses()[i])
			c.beat()
			if got := value(t, m.opened(), "listener"); got != name {
				t.Fatalf("round %d: listener %s, not %s", round, got, name)
			}
			c.write(wire.AppendBye(nil, 1, 0, ""))
			m.ended()
		}
		old.beat()
	}
	if err := r.Undrain(); err != nil {
		t.Error(err)
	}
	if err := r.Ready(); err != nil {
		t.Error(err)
	}
}

// TestHandedOutSocketsWhileDraining: a connection that another reactor has accepted before the drain, and that comes behind
// it, is sent away. Unix sockets are handed out.
func TestHandedOutSocketsWhileDraining(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	for range 20 {
		o := options()
		o.Config.Reactors = 4
		o.Listeners[0].Address = "unix:" + path
		r := start(t, o)
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				conn, err := net.Dial("unix", path)
				if err != nil {
					return
				}
				defer func() { _ = conn.Close() }()
				_ = conn.SetReadDeadline(time.Now().Add(patience))
				for buf := make([]byte, 64); err == nil; {
					_, err = conn.Read(buf)
				}
				if e, ok := err.(net.Error); ok && e.Timeout() {
					t.Error("forgotten by the drain")
				}
			})
		}
		r.Drain(0)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := r.Wait(ctx); err != nil {
			t.Errorf("%d links are left", r.Links())
		}
		cancel()
		r.stop() // what waits in the backlog is reset with the listener
		wg.Wait()
	}
}

// TestStop: what clients have sent before and the ends of their links reach the Manager; nothing stays in the process.
func TestStop(t *testing.T) {
	goroutines, files := runtime.NumGoroutine(), countFiles(t)
	for round := range 3 {
		m := serve(t, "", "", bindAll)
		o := options(m.address)
		o.Config.Reactors = 2
		g, err := gateway.New(o)
		if err != nil {
			t.Fatal(err)
		}
		g.Start()
		r := &rig{Gateway: g, t: t}
		for i := range 20 {
			c := r.dial()
			c.send(wire.KindHello, "u")
			c.welcome()
			for range i {
				c.send(wire.KindData, "x")
			}
			c.beat()
			if i%2 == 0 {
				_ = c.conn.Close()
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := g.Stop(ctx); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if err := g.Stop(ctx); err != nil {
			t.Errorf("stopped again: %v", err)
		}
		if _, err := g.Stats(ctx); err == nil {
			t.Error("a stopped gateway answers")
		}
		cancel()
		v := &lives{t: t, state: map[string]int{}}
		messages := 0
		for v.ended < 20 {
			i := m.next()
			v.see(i)
			if i.GetMessage().GetKind() == edgedpb.ClientMessage_DATA {
				messages++
			}
		}
		if messages != 190 {
			t.Errorf("%d messages of 190", messages)
		}
		m.kill()
		if n := g.Links(); n != 0 {
			t.Errorf("%d links", n)
		}
	}
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
	eventually(t, "no file is left", func() bool {
		return countFiles(t) <= files+30+1
	})
}

// TestStopTellsLinks: they are told to come back elsewhere.
func TestStopTellsLinks(t *testing.T) {
	t.Parallel()
	r := start(t, options())
	c := r.dial()
	c.beat()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if b := c.bye(wire.ByeDraining); b.RetryAfter <= 0 {
		t.Errorf("BYE %+v", b)
	}
}

// TestStopWithAFullManager: what is held for it is flushed as long as the time allows.
func TestStopWithAFullManager(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindAll)
	o := options(m.address)
	o.Managers.Buffer = 64 << 10
	r := start(t, o)
	links := map[uint32]bool{}
	var clients []*client
	for range 10 {
		c, l := welcomed(r, m)
		clients = append(clients, c)
		links[l.Index] = true
	}
	m.pause()
	for _, c := range clients {
		go func() {
			for {
				if _, err := c.conn.Write(numbered(0, 1000)); err != nil {
					return
				}
			}
		}()
	}
	eventually(t, "all links wait", func() bool { return r.total().Waiting == len(links) })
	time.AfterFunc(200*time.Millisecond, m.resume)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.Stop(ctx); err != nil {
		t.Error(err)
	}
	for len(links) > 0 {
		if i := m.next(); i.GetClosed() != nil {
			delete(links, i.Link.Index)
		}
	}
}

// TestStopWithoutStart gives everything back too.
func TestStopWithoutStart(t *testing.T) {
	before := countFiles(t)
	o := options(deadAddress(t))
	g, err := gateway.New(o)
	if err != nil {
		t.Fatal(err)
	}
	taken := options()
	taken.Listeners[0].Address = g.Addresses()[0]
	if _, err := gateway.New(taken); err == nil {
		t.Error("two gateways on one port")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := g.Stop(ctx); err != nil {
		t.Error(err)
	}
	g.Start() // too late
	if n := countFiles(t); n > before {
		t.Errorf("%d files, then %d", before, n)
	}
}

func countFiles(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(d)
}
