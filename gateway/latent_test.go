package gateway

import (
	"net"
	"strconv"
	"testing"
	"time"

	"edged/batch"
)

// keys returns the gateway's keys as an item shows them.
func keys(t *testing.T, i batch.UpItem) map[string]string {
	t.Helper()
	m := map[string]string{}
	if err := batch.SessionEach(i.Session, func(k, v []byte) bool { m[string(k)] = string(v); return true }); err != nil {
		t.Fatal(err)
	}
	return m
}

func same(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: session %v, not %v", what, got, want)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: %s is %q, not %q", what, k, got[k], v)
		}
	}
}

// TestLatentSession: a link that says nothing has no session in memory, and yet each of its items shows the same one, before and
// after it is stored, also when the connection was reset and nobody can ask it for its peer any more.
func TestLatentSession(t *testing.T) {
	b := newBench(t, 1, func(c *Config) { c.Login = "none" })
	conn, n := b.dial()
	quiet, q := b.dial()
	opened := map[linkName]map[string]string{}
	b.on(func() {
		items := b.sent(0)
		opened[n], opened[q] = keys(t, items[0]), keys(t, items[1])
		if b.s.sessions.Len() != 0 {
			t.Errorf("%d sessions of links that said nothing", b.s.sessions.Len())
		}
	})
	if at, err := strconv.ParseInt(opened[n]["opened_at"], 10, 64); err != nil || time.Since(time.UnixMilli(at)).Abs() > time.Minute {
		t.Errorf("opened_at %q", opened[n]["opened_at"])
	}
	if opened[n]["remote"] != conn.LocalAddr().String() || opened[n]["listener"] != "main" || opened[n]["link"] == opened[q]["link"] {
		t.Errorf("opened with %v", opened[n])
	}
	b.turn(func() {
		b.read(n, []byte("\x00\x03\x01hi"))
		if b.s.sessions.Len() != 0 {
			t.Error("a HELLO stored a session")
		}
		b.read(n, []byte("\x00\x03\x03hi"))
		if b.s.sessions.Len() != 1 {
			t.Error("DATA stored no session")
		}
	})
	b.on(func() {
		items := b.sent(0)
		same(t, "HELLO", keys(t, items[2]), opened[n])
		same(t, "DATA", keys(t, items[3]), opened[n])
	})
	_ = quiet.(*net.TCPConn).SetLinger(0)
	_ = quiet.Close()
	for end := time.Now().Add(patience); b.g.Links() > 1 && time.Now().Before(end); {
		b.turn(func() {})
	}
	b.turn(func() {})
	b.on(func() {
		items := b.sent(0)
		last := items[len(items)-1]
		if last.What != batch.UpClosed {
			t.Fatalf("the last item is %v", last.What)
		}
		same(t, "closed", keys(t, last), opened[q])
	})
}

// TestLatentSessionWhenTheWallJumps: a clock that is set does not change when links opened.
func TestLatentSessionWhenTheWallJumps(t *testing.T) {
	b := newBench(t, 1, func(c *Config) { c.Login = "none" })
	_, n := b.dial()
	b.on(func() { b.s.wall -= time.Hour.Milliseconds() }) // as if it had been an hour earlier then
	var before map[string]string
	b.on(func() {
		l := b.s.links.Get(n.place, n.uniq)
		b.s.scratch = batch.AppendOpened(nil, b.s.name(n.place, n.uniq), b.s.field(n.place, n.uniq, l))
		before = keys(t, parse(b, b.s.scratch)[0])
	})
	_, later := b.dial() // finds the wall an hour on
	b.on(func() {
		l := b.s.links.Get(n.place, n.uniq)
		if l.flags&latent != 0 {
			t.Error("the old link is latent still")
		}
		item := batch.AppendOpened(nil, b.s.name(n.place, n.uniq), b.s.field(n.place, n.uniq, l))
		same(t, "the old link", keys(t, parse(b, item)[0]), before)
		items := b.sent(0)
		at, err := strconv.ParseInt(keys(t, items[len(items)-1])["opened_at"], 10, 64)
		if err != nil || time.Since(time.UnixMilli(at)).Abs() > time.Minute || b.s.links.Get(later.place, later.uniq).flags&latent == 0 {
			t.Errorf("the new link opened at %v", time.UnixMilli(at))
		}
	})
}

// TestOldLatentLinkIsSettled: a record of 32 bits does not tell for ever when its link opened.
func TestOldLatentLinkIsSettled(t *testing.T) {
	b := newBench(t, 1, func(c *Config) { c.Login = "none" })
	_, n := b.dial()
	b.on(func() {
		l := b.s.links.Get(n.place, n.uniq)
		l.opened -= 21 * 24 * 60 * 60 * 1000
		at := b.s.openedAt(l)
		b.s.deadlines.Set(n.place, b.s.now())
		b.s.expire()
		if l.flags&latent != 0 {
			t.Error("it is latent still")
		}
		if got := string(b.s.sessions.Value(l.session, "opened_at")); got != strconv.FormatInt(at, 10) {
			t.Errorf("opened_at %s, not %d", got, at)
		}
	})
}
