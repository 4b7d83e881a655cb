package gateway_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/gateway"
	"edged/wire"
)

func TestLinksAreSpreadEvenly(t *testing.T) {
	t.Parallel()
	var ms []*plain
	var addresses []string
	for range 3 {
		m := serve(t, "", "", nil)
		ms, addresses = append(ms, m), append(addresses, m.address)
	}
	o := options(addresses...)
	o.Config.Reactors = 2
	r := start(t, o)
	for range 60 {
		r.dial().beat()
	}
	for i, m := range ms {
		eventually(t, "every link is announced", func() bool { return len(m.items) >= 18 })
		if n := len(m.items); n > 22 {
			t.Errorf("Manager %d has %d of 60 links", i, n)
		}
	}
}

// TestManagersComeAndGo kills Managers under load, one, the other, both, and brings them back as other processes.
func TestManagersComeAndGo(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	one, two := b.run("one", ""), b.run("two", "")
	o := options(one.address, two.address)
	o.Config.StallTimeout = 10 * time.Second
	r := start(t, o)
	links := make([]*client, 8)
	for i := range links {
		links[i] = r.login()
	}
	n := uint32(0)
	say := func(times int) {
		for range times {
			for _, c := range links {
				c.numbered(n, 50)
			}
			n++
		}
	}
	say(200)
	eventually(t, "both have work", func() bool { return b.count("one") > 0 && b.count("two") > 0 })
	say(100)
	one.kill()
	say(300)
	eventually(t, "the other one has it all", func() bool { return b.complete(links, n) })
	if st := r.total(); st.Moved == 0 {
		t.Error("no link has moved")
	}

	two.kill()
	say(100)
	time.Sleep(o.Managers.Grace + 200*time.Millisecond)
	say(100) // nobody is there
	if r.Links() != len(links) {
		t.Fatalf("%d links", r.Links())
	}
	three := b.run("three", one.address)
	eventually(t, "the first one back has it all", func() bool { return b.complete(links, n) })

	b.run("four", two.address)
	say(50)
	three.kill()
	say(50)
	eventually(t, "all has arrived", func() bool { return b.complete(links, n) })
	b.check()
	for _, c := range links {
		c.beat()
		c.write(wire.AppendBye(nil, 1, 0, ""))
	}
	eventually(t, "every end is told once", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.closed) == len(links)
	})
	for link, n := range b.closed {
		if n != 1 {
			t.Errorf("link %s was closed %d times", link, n)
		}
	}
	r.balanced()
}

// TestLastWordsWhileNobodyIsThere: links that end while no Manager is there are told to whoever comes, beginning, words and
// end.
func TestLastWordsWhileNobodyIsThere(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	addresses := []string{deadAddress(t), deadAddress(t), deadAddress(t)}
	o := options(addresses...)
	o.Config.Login = "none"
	r := start(t, o)
	var links []*client
	for i := range 12 {
		c := r.dial()
		c.link = string(c.welcome().LinkID)
		if i%2 == 0 {
			time.Sleep(50 * time.Millisecond) // some before, some behind the moment when they are given up
		}
		c.numbered(0, 10)
		c.numbered(1, 10)
		c.write(wire.AppendBye(nil, 1, 0, ""))
		c.eof()
		links = append(links, c)
	}
	time.Sleep(o.Managers.Grace)
	b.run("late", addresses[2])
	eventually(t, "all has arrived", func() bool { return b.complete(links, 2) })
	b.run("later", addresses[0])
	b.mu.Lock()
	for _, c := range links {
		if b.closed[c.link] != 1 {
			t.Errorf("link %s was closed %d times", c.link, b.closed[c.link])
		}
	}
	b.mu.Unlock()
	b.check()
}

// TestAnotherProcessAtTheOnlyAddress: it learns of the links before anything of them.
func TestAnotherProcessAtTheOnlyAddress(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	one := b.run("one", "")
	r := start(t, options(one.address))
	links := []*client{r.login(), r.login(), r.login()}
	for n := range uint32(300) {
		for _, c := range links {
			c.numbered(n, 20)
		}
		if n == 150 {
			one.kill()
		}
		if n == 200 {
			time.Sleep(500 * time.Millisecond)
			b.run("two", one.address)
		}
	}
	eventually(t, "all has arrived", func() bool { return b.complete(links, 300) })
	b.check()
	for _, c := range links {
		eventually(t, "the new process knows all links", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.known[[2]string{"two", c.link}]
		})
	}
}

// TestManagerThatDoesNotRead fills everything towards a Manager. Other links are answered, memory stays bounded, and when it
// reads again nothing is lost.
func TestManagerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindAll)
	o := options(m.address)
	o.Managers.Buffer = 128 << 10
	o.Config.StallTimeout = 10 * time.Second
	r := start(t, o)
	type talker struct {
		*client
		index uint32
	}
	var talkers []talker
	for range 4 {
		c, l := welcomed(r, m)
		talkers = append(talkers, talker{c, l.Index})
	}
	bystander, link := welcomed(r, m)
	m.send(data(link, "x")) // from now on it counts as one without receipts
	bystander.expectData("x")
	m.pause()
	const each = 3000
	written := make(chan struct{}, len(talkers))
	for _, c := range talkers {
		go func() {
			defer func() { written <- struct{}{} }()
			_ = c.conn.SetWriteDeadline(time.Now().Add(3 * patience))
			for n := range uint32(each) {
				if _, err := c.conn.Write(numbered(n, 200)); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	r.stuck(len(talkers))
	late, gone := r.dial(), 0
	late.bye(wire.ByeOverloaded) // who comes now could only wait
	for range 20 {
		began := time.Now()
		bystander.beat()
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("a heartbeat was answered after %v", d)
		}
	}
	bounded(t, r, o)

	// Answers and ends are held.
	stale := &edgedpb.LinkRef{Index: link.Index, Uniq: link.Uniq + 1}
	for i := range 500 {
		m.send(withRef(uint64(i)+1, data(stale, "x")))
	}
	m.send(data(link, "y"))
	bystander.expectData("y")
	bystander.write(wire.AppendBye(nil, 1, 0, ""))
	bystander.eof()

	m.resume()
	next := map[uint32]uint32{}
	for refs, done := uint64(1), false; !done; {
		i := m.next()
		switch {
		case i.GetMessage() != nil:
			n := binary.BigEndian.Uint32(i.GetMessage().Payload)
			if n != next[i.Link.Index] {
				t.Fatalf("link %d: message %d instead of %d", i.Link.Index, n, next[i.Link.Index])
			}
			next[i.Link.Index]++
		case i.GetRefused() != nil:
			if i.GetRefused().Ref != refs {
				t.Fatalf("refused %d instead of %d", i.GetRefused().Ref, refs)
			}
			refs++
		case i.GetClosed() != nil && i.Link.Index == link.Index:
			gone++
		default:
			t.Fatalf("item %.100v", i)
		}
		done = refs == 501 && gone == 1
		for _, c := range talkers {
			done = done && next[c.index] == each
		}
	}
	for range talkers {
		<-written
	}
	if st := r.total(); st.Waiting != 0 || st.Stalls == 0 {
		t.Errorf("waiting %d, stalls %d", st.Waiting, st.Stalls)
	}
	r.balanced()
}

// stuck waits until n links wait and nothing moves any more: at first what lies between us and the Manager still takes some.
func (r *rig) stuck(n int) {
	r.t.Helper()
	stalls, since := uint64(0), time.Now()
	eventually(r.t, "links wait and nothing moves", func() bool {
		st := r.total()
		if st.Waiting != n || st.Stalls != stalls {
			stalls, since = st.Stalls, time.Now()
		}
		return time.Since(since) > 150*time.Millisecond
	})
}

// bounded fails the test if more waits for the Managers than the bound and what one turn may add.
func bounded(t *testing.T, r *rig, o gateway.Options) {
	t.Helper()
	st, err := r.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range st.Relay.Streams {
		if s.HeldBytes > int64(o.Managers.Buffer)+(32<<10) {
			t.Errorf("%d bytes wait for Manager %d", s.HeldBytes, s.Manager)
		}
	}
	for _, s := range st.Shards {
		if s.Loop.BufferBytes > 16<<20 {
			t.Errorf("%d bytes of input and output", s.Loop.BufferBytes)
		}
	}
}

// TestStallTimeout: who waited too long is sent away, and not for having been silent before.
func TestStallTimeout(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindAll)
	o := options(m.address)
	o.Managers.Buffer = 64 << 10
	o.Config.Heartbeat = 100 * time.Millisecond
	o.Config.IdleTimeout = 300 * time.Millisecond
	o.Config.FrameTimeout = 300 * time.Millisecond
	o.Config.StallTimeout = 2 * time.Second
	o.Listeners[0].PingInterval = 150 * time.Millisecond
	r := start(t, o)
	c, l := welcomed(r, m)
	m.send(data(l, "x"))
	c.expectData("x")
	m.pause()
	go func() {
		for {
			if _, err := c.conn.Write(numbered(0, 1000)); err != nil {
				return
			}
		}
	}()
	r.stuck(1)
	began := time.Now() // some time after it began to wait
	for {
		body, err := c.next(patience)
		if err != nil {
			t.Fatal(err)
		}
		if wire.Kind(body[0]) == wire.KindPing && time.Since(began) < time.Second {
			continue
		}
		b := wire.ParseBye(body[1:])
		if wire.Kind(body[0]) != wire.KindBye || b.Reason != wire.ByeNoManager || b.RetryAfter <= 0 {
			t.Fatalf("% x", head(body))
		}
		break
	}
	if d := time.Since(began); d < 500*time.Millisecond || d > 5*time.Second {
		t.Errorf("sent away after %v", d)
	}
	eventually(t, "nobody waits", func() bool { return r.total().Waiting == 0 })
	m.resume()
	for m.next().GetClosed() == nil {
	}
	r.balanced()
}

// TestOneOfTwoDoesNotRead: the links of the other one are served, and new links are given to it.
func TestOneOfTwoDoesNotRead(t *testing.T) {
	t.Parallel()
	stuck, well := serve(t, "", "", bindAll), serve(t, "", "", echo)
	o := options(stuck.address, well.address)
	o.Managers.Buffer = 64 << 10
	o.Config.StallTimeout = 10 * time.Second
	r := start(t, o)
	a, b := r.login(), r.login() // one each
	if len(stuck.items) == 0 || len(well.items) == 0 {
		t.Fatal("not one each")
	}
	link := stuck.opened().Link
	stuck.send(data(link, "x"))
	for _, c := range []*client{a, b} {
		if body, err := c.next(100 * time.Millisecond); err == nil && string(body[1:]) == "x" {
			a, b = c, map[*client]*client{a: b, b: a}[c]
			break
		}
	}
	stuck.pause()
	go func() {
		for n := range uint32(2000) {
			if _, err := a.conn.Write(numbered(n, 500)); err != nil {
				return
			}
		}
	}()
	r.stuck(1)
	for i := range 30 {
		c := r.login()
		want := fmt.Sprint("message ", i)
		c.send(wire.KindData, want)
		c.expectData(want)
		b.send(wire.KindData, want)
		b.expectData(want)
	}
	if st := r.total(); st.Links != 32 || st.Refused[wire.ByeOverloaded] != 0 {
		t.Errorf("links %d, refused %v", st.Links, st.Refused)
	}
	stuck.resume()
	for n := uint32(0); n < 2000; {
		if msg := stuck.next().GetMessage(); msg.GetKind() == edgedpb.ClientMessage_DATA {
			if got := binary.BigEndian.Uint32(msg.Payload); got != n {
				t.Fatalf("message %d instead of %d", got, n)
			}
			n++
		}
	}
}

// TestNobodyIsThere fills what is kept while all of several Managers are gone.
func TestNobodyIsThere(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	addresses := []string{deadAddress(t), deadAddress(t)}
	o := options(addresses...)
	o.Managers.Buffer = 64 << 10
	o.Managers.Grace = 100 * time.Millisecond
	o.Config.Login = "none"
	o.Config.StallTimeout = 10 * time.Second
	r := start(t, o)
	time.Sleep(300 * time.Millisecond) // both are given up
	var links []*client
	const each = 1500
	for range 4 {
		c := r.dial()
		c.link = string(c.welcome().LinkID)
		links = append(links, c)
	}
	for _, c := range links {
		go func() {
			for n := range uint32(each) {
				if _, err := c.conn.Write(numbered(n, 100)); err != nil {
					return
				}
			}
		}()
	}
	r.stuck(len(links))
	r.dial().bye(wire.ByeOverloaded)
	bounded(t, r, o)
	b.run("one", addresses[1])
	eventually(t, "all has arrived", func() bool { return b.complete(links, each) })
	b.check()
	r.balanced()
}
