package gateway_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/gateway"
	"edged/wire"
)

func TestFull(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", echo)
	o := options(m.address)
	o.Config.Reactors = 2
	o.Config.Capacity = 100
	r := start(t, o)
	links := make([]*client, 100)
	for i := range links {
		links[i] = r.dial()
		links[i].beat()
	}
	if err := r.Ready(); err == nil {
		t.Error("ready while full")
	}
	seen := map[time.Duration]bool{}
	for range 20 {
		b := r.dial().bye(wire.ByeOverloaded)
		if b.RetryAfter <= 0 || b.RetryAfter > 31*time.Second {
			t.Errorf("retry after %v", b.RetryAfter)
		}
		seen[b.RetryAfter] = true
	}
	if len(seen) < 10 {
		t.Errorf("only %d different times to come back", len(seen))
	}
	for _, c := range links {
		c.beat()
	}
	eventually(t, "100 links are announced", func() bool { return len(m.items) == 100 })
	links[50].write(wire.AppendBye(nil, wire.ByeNormal, 0, ""))
	links[50].eof()
	c := r.dial()
	c.send(wire.KindHello, "u")
	c.welcome()
	r.dial().bye(wire.ByeOverloaded)
	r.balanced()
	if st := r.total(); st.Links != 100 || st.Opened != 101 || st.Refused[wire.ByeOverloaded] != 21 {
		t.Errorf("links %d, opened %d, refused %v", st.Links, st.Opened, st.Refused)
	}
}

// TestFullAtOnce has more clients come at the same moment than there is room for: no reactor may take one too many.
func TestFullAtOnce(t *testing.T) {
	t.Parallel()
	o := options()
	o.Config.Reactors = 4
	o.Config.Capacity = 50
	r := start(t, o)
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			c := r.dial()
			c.write(wire.AppendHeartbeat(nil))
			if _, err := c.next(patience); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if st := r.total(); st.Opened != 50 || st.Links != 50 || st.Refused[wire.ByeOverloaded] != 150 {
		t.Errorf("opened %d, links %d, refused %v", st.Opened, st.Links, st.Refused)
	}
}

// lives checks that each link's items are one `opened`, then others, then one `closed`.
type lives struct {
	t     *testing.T
	state map[string]int // 1: opened, 2: closed
	ended int
}

func (v *lives) see(i *edgedpb.UpItem) {
	if i.Link == nil {
		return
	}
	name := fmt.Sprint(i.Link.Index, ":", i.Link.Uniq)
	state := v.state[name]
	switch {
	case i.GetOpened() != nil && state == 0:
		v.state[name] = 1
	case i.GetClosed() != nil && state == 1:
		v.state[name] = 2
		v.ended++
	case i.GetMessage() != nil && state == 1:
	case i.GetRefused() != nil || i.GetUndelivered() != nil:
	default:
		v.t.Errorf("link %s in state %d: %.100v", name, state, i)
	}
}

// TestChurn has clients come and go while the Manager closes links on its own: each link is opened and closed exactly once,
// and nothing of it stays.
func TestChurn(t *testing.T) {
	t.Parallel()
	total := 10000
	if testing.Short() || gateway.RaceEnabled {
		total = 2000
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := serve(t, "", "", func(i *edgedpb.UpItem, m *plain) {
		switch msg := i.GetMessage(); {
		case msg.GetKind() == edgedpb.ClientMessage_HELLO && len(msg.Payload) > 0:
			m.send(bind(i.Link, "u", "d"), patch(i.Link, map[string]string{"a.b": string(msg.Payload)}), closing(i.Link, &edgedpb.Close{}),
				withRef(1, data(i.Link, "late")))
		case msg.GetKind() == edgedpb.ClientMessage_HELLO:
			m.send(closing(i.Link, &edgedpb.Close{Reason: 1}))
		}
	})
	o := options(m.address)
	o.Config.Reactors = 2
	o.Config.Capacity = 64
	r := start(t, o)
	var wg sync.WaitGroup
	for w := range 8 {
		random := rand.New(rand.NewPCG(seed, uint64(w)))
		wg.Go(func() {
			for range total / 8 {
				conn, err := net.Dial("tcp", r.Addresses()[0])
				if err != nil {
					t.Error(err)
					return
				}
				_ = conn.(*net.TCPConn).SetLinger(0) // no port is left in TIME_WAIT
				churn(random, conn)
				_ = conn.Close()
			}
		})
	}
	wg.Wait()
	eventually(t, "all have come and gone", func() bool {
		st := r.total()
		return st.Opened+st.Refused[wire.ByeOverloaded] == uint64(total/8*8) && st.Links == 0
	})
	r.balanced()
	st := r.total()
	v := &lives{t: t, state: map[string]int{}}
	for v.ended < int(st.Opened) {
		v.see(m.next())
	}
	for len(m.items) > 0 {
		v.see(m.next())
	}
	if len(v.state) != int(st.Opened) {
		t.Errorf("the Manager saw %d links of %d", len(v.state), st.Opened)
	}
	if st.Opened < uint64(total)/2 {
		t.Errorf("only %d of %d became links", st.Opened, total)
	}
}

func churn(random *rand.Rand, conn net.Conn) {
	switch random.IntN(6) {
	case 0: // nothing
	case 1:
		_, _ = conn.Write(wire.Append(nil, wire.KindHello, []byte("x")))
	case 2:
		_, _ = conn.Write(wire.Append(nil, wire.KindHello, []byte("x")))
		_ = conn.SetReadDeadline(time.Now().Add(time.Duration(random.IntN(2000)) * time.Microsecond))
		_, _ = conn.Read(make([]byte, 100))
	case 3:
		_, _ = conn.Write(wire.AppendBye(wire.Append(nil, wire.KindHello, nil), wire.ByeNormal, 0, ""))
	case 4:
		_, _ = conn.Write([]byte{0, 9, 200})
	case 5:
		_, _ = conn.Write([]byte{0, 0, 0, 9, byte(wire.KindHello)})
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		_, _ = conn.Read(make([]byte, 100))
	}
}

// TestManyLinksNoGoroutines: a link is no goroutine, and no thread.
func TestManyLinksNoGoroutines(t *testing.T) {
	m := serve(t, "", "", echo)
	r := start(t, options(m.address))
	c := r.dial()
	c.send(wire.KindHello, "u")
	c.welcome()
	base := runtime.NumGoroutine()
	for range 500 {
		c := r.dial()
		c.send(wire.KindHello, "u")
		c.welcome()
		c.send(wire.KindData, "x")
		c.expectData("x")
	}
	if n := runtime.NumGoroutine(); n > base+2 {
		t.Errorf("%d goroutines, %d with 500 links more", base, n)
	}
}

func TestUnixListenerAndSeveralReactors(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", echo)
	o := options(m.address)
	o.Config.Reactors = 3
	path := filepath.Join(t.TempDir(), "links.sock")
	o.Listeners = []gateway.Listener{{Name: "local", Address: "unix:" + path, Kind: "tcp"}, o.Listeners[0]}
	r := start(t, o)
	shards := map[uint32]bool{}
	for range 6 {
		c := dial(t, r.Addresses()[0])
		i := m.opened()
		if value(t, i, "remote") != "unix" || value(t, i, "listener") != "local" {
			t.Errorf("session %v", i.Session)
		}
		shards[i.Link.Index>>24] = true
		c.write(wire.AppendBye(nil, 1, 0, ""))
		m.ended()
	}
	if len(shards) != 3 {
		t.Errorf("links on %d of 3 shards", len(shards))
	}
	c := dial(t, r.Addresses()[1])
	c.send(wire.KindHello, "u")
	c.welcome()
	if i := m.opened(); value(t, i, "listener") != "main" {
		t.Errorf("session %v", i.Session)
	}
}
