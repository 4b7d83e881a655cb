//go:build e2e

package tests

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edged/batch"
	"edged/redisconn/redistest"
	"edged/wire"
)

// home is a gateway of a fleet over one Redis, with a Manager that binds HELLO's user/device.
func home(t *testing.T, r *redistest.Server, managers ...string) *gateway {
	t.Helper()
	more := fmt.Sprintf("[redis]\naddresses = [%q]\n[health]\ninterval = \"1s\"\n", r.Addr)
	return start(t, setup{gateway: "reactors = 2", managers: managers, more: more})
}

// where asks one gateway on which devices a user is online, as "device gateway".
func where(g *gateway, user string) (found []string) {
	g.t.Helper()
	status, out, errs := run(g.t, "ctl", "--socket", g.admin, "users", user, "--json")
	if status != 0 {
		g.t.Fatalf("ctl users: %d %s", status, errs)
	}
	var devices []struct {
		Device, Gateway string
	}
	if err := json.Unmarshal([]byte(out), &devices); err != nil {
		g.t.Fatalf("%v in %q", err, out)
	}
	for _, d := range devices {
		found = append(found, d.Device+" "+d.Gateway)
	}
	return found
}

// TestPresence: who is online is known in the whole fleet, ends with the link, is moved by the next login, and a gateway that is
// killed leaves no ghosts for longer than its lease.
func TestPresence(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	k := newKit(t, echoHandler())
	one, two := home(t, r, k.address), home(t, r, k.address)
	const users = 100
	var links []*client
	for i := range users {
		links = append(links, dialIn(t, one.address(), fmt.Sprintf("u%d/phone", i)))
	}
	for i := range users {
		waitFor(t, "the other gateway knows the user", func() bool {
			f := where(two, fmt.Sprint("u", i))
			return len(f) == 1 && f[0] == "phone "+one.advertise
		})
		if i == 3 { // the rest by what lies in Redis, which is quicker
			break
		}
	}
	waitFor(t, "all routes", func() bool { return keys(r, "edged:route:*") == users })
	links[0].close()
	waitFor(t, "one left", func() bool { return len(where(two, "u0")) == 0 })
	moved := dialIn(t, two.address(), "u1/phone")
	waitFor(t, "one moved", func() bool { f := where(two, "u1"); return len(f) == 1 && f[0] == "phone "+two.advertise })
	links[1].close() // the late end of the old link
	waitFor(t, "its link is gone", func() bool { return one.account().Links == users-2 })
	if f := where(one, "u1"); len(f) != 1 || f[0] != "phone "+two.advertise {
		t.Errorf("after the old link's end the user is at %q", f)
	}
	one.kill()
	killed := time.Now()
	waitFor(t, "the dead one's users are offline", func() bool { return len(where(two, "u2")) == 0 })
	if d := time.Since(killed); d > 15500*time.Millisecond {
		t.Errorf("offline after %v, want 15 s", d)
	}
	for i := 2; i < users; i += 9 {
		if f := where(two, fmt.Sprint("u", i)); len(f) != 0 {
			t.Errorf("u%d is a ghost at %q", i, f)
		}
	}
	if f := where(two, "u1"); len(f) != 1 {
		t.Errorf("the living one's user is at %q", f)
	}
	moved.close()
	two.stop()
	if lease := r.Do("EXISTS", "edged:lease:{"+two.advertise+"}"); lease != "0" {
		t.Error("a gateway that stopped has left its lease")
	}
}

// keys is how many keys Redis has of a pattern.
func keys(r *redistest.Server, pattern string) int {
	return len(strings.Fields(r.Do("KEYS", pattern)))
}

// TestPushOverTheFleet: an operator's push finds users, devices, rooms and everyone wherever they are, and so does a program that
// can publish to Redis.
func TestPushOverTheFleet(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	k := newKit(t, echoHandler())
	one, two := home(t, r, k.address), home(t, r, k.address)
	phone, desk := dialIn(t, one.address(), "42/phone"), dialIn(t, two.address(), "42/desk")
	waitFor(t, "both devices", func() bool { return len(where(one, "42")) == 2 })
	push := func(g *gateway, args ...string) (int, string) {
		status, out, errs := run(t, append([]string{"ctl", "--socket", g.admin, "push"}, args...)...)
		return status, out + errs
	}
	gets := func(c *client, want string) {
		t.Helper()
		p, err := wire.ParsePush(c.want(wire.KindPush))
		check(t, err)
		if string(p.Payload) != want {
			t.Errorf("got %q, want %q", p.Payload, want)
		}
	}
	if status, out := push(one, "--user", "42", "--text", "hello"); status != 0 {
		t.Fatalf("status %d: %s", status, out)
	}
	gets(phone, "hello")
	gets(desk, "hello")
	if status, out := push(one, "--device", "42/desk", "--text", "you"); status != 0 {
		t.Fatalf("status %d: %s", status, out)
	}
	gets(desk, "you")
	if status, out := push(two, "--everyone", "--text", "all"); status != 0 {
		t.Fatalf("status %d: %s", status, out)
	}
	gets(phone, "all")
	gets(desk, "all")
	if status, out := push(one, "--user", "nobody", "--text", "x"); status == 0 || !strings.Contains(out, "nobody") {
		t.Errorf("status %d for a user who is offline: %s", status, out)
	}

	b := batch.AppendPush(nil, batch.ToUser("42"), 0, batch.Push{Payload: []byte("by redis")})
	r.Do("SPUBLISH", "edged:down:{"+two.advertise+"}", string(b))
	gets(desk, "by redis")
	r.Do("PUBLISH", "edged:down", string(batch.AppendDataTo(nil, batch.ToDevice("42", "phone"), 0, []byte("data"))))
	if got := phone.want(wire.KindData); string(got) != "data" {
		t.Errorf("got %q", got)
	}
	r.Do("PUBLISH", "edged:down", "garbage \xff")
	r.Do("PUBLISH", "edged:down", string(b))
	gets(phone, "by redis")
	gets(desk, "by redis")
	r.Restart() // empty: what was there comes back by itself
	waitFor(t, "the routes are back", func() bool { return len(where(one, "42")) == 2 })
	waitFor(t, "pushes find their way again", func() bool {
		status, _ := push(one, "--device", "42/desk", "--text", "again")
		return status == 0
	})
	gets(desk, "again")
}

// TestPoison: what other programs put into the stream ends in edged:dead with its reason, and the next message goes on.
func TestPoison(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	k := newKit(t, echoHandler())
	g := home(t, r, k.address)
	dir := t.TempDir()
	q := newMortal(t, "queue", dir, fmt.Sprintf("[queue]\npayload_max = 1000\n[admin]\nlisten = [%q]\n[redis]\naddresses = [%q]\n",
		"unix:"+filepath.Join(dir, "admin.sock"), r.Addr))
	q.start()
	c := dialIn(t, g.address(), "42/phone")
	waitFor(t, "the route", func() bool { return len(where(g, "42")) == 1 })
	r.Do("SET", "edged:log:{clash}", "no sorted set")
	poison := [][]string{
		{"payload", "x"},
		{"to", "", "payload", "x"},
		{"to", "user:", "payload", "x"},
		{"to", "planet:mars", "payload", "x"},
		{"to", "user:42", "payload", strings.Repeat("x", 1001)},
		{"to", "user:42", "payload", "x", "ack", "maybe"},
		{"to", "user:42", "payload", "x", "offline", "perhaps"},
		{"to", "user:42", "payload", "x", "ttl_ms", "soon"},
		{"to", "user:42", "payload", "x", "msg_id", strings.Repeat("m", 256)},
		{"temperature", "21.5", "unit", "C"},
		{"to", "room:live", "payload", "x", "offline", "1"},
		{"to", "user:clash", "payload", "x", "offline", "1", "msg_id", "c"},
	}
	for i, fields := range poison {
		r.Do(append([]string{"XADD", "edged:in", "*"}, fields...)...)
		r.Do("XADD", "edged:in", "*", "to", "user:42", "payload", fmt.Sprint("good ", i), "offline", "1", "ack", "required", "msg_id", fmt.Sprint("g", i))
	}
	for i := range poison {
		p, err := wire.ParsePush(c.want(wire.KindPush))
		check(t, err)
		if string(p.Payload) != fmt.Sprint("good ", i) || p.Version != uint64(i+1) || string(p.MsgID) != fmt.Sprint("g", i) {
			t.Errorf("push %d: %q, version %d, %s", i, p.Payload, p.Version, p.MsgID)
		}
		check(t, c.send(wire.KindAck, []byte{byte(p.TID >> 24), byte(p.TID >> 16), byte(p.TID >> 8), byte(p.TID)}))
	}
	waitFor(t, "all poison is dead", func() bool { return r.Do("XLEN", "edged:dead") == fmt.Sprint(len(poison)) })
	dead := r.Do("XRANGE", "edged:dead", "-", "+")
	for _, want := range []string{"reason", "planet:mars", "maybe", "temperature", "no-members"} {
		if !strings.Contains(dead, want) {
			t.Errorf("edged:dead has no %q", want)
		}
	}
	waitFor(t, "nothing is pending", func() bool { return strings.HasPrefix(r.Do("XPENDING", "edged:in", "edged"), "0") })
	waitFor(t, "the device has everything", func() bool { return r.Do("HGET", "edged:sync:{42}", "phone") == fmt.Sprint(len(poison)) })
	if _, err := os.Stat(filepath.Join(dir, "admin.sock")); err != nil {
		t.Error(err)
	}
}

// TestExclusive: with one link for each device in the whole fleet, a login at one gateway closes the link at the other, and the
// late end of that changes nothing.
func TestExclusive(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	k := newKit(t, echoHandler())
	more := fmt.Sprintf("[redis]\naddresses = [%q]\n[registry]\nexclusive = true\n", r.Addr)
	one := start(t, setup{managers: []string{k.address}, more: more})
	two := start(t, setup{managers: []string{k.address}, more: more})
	phone := dialIn(t, one.address(), "42/phone")
	desk := dialIn(t, one.address(), "42/desk")
	waitFor(t, "both routes", func() bool { return len(where(two, "42")) == 2 })
	again := dialIn(t, two.address(), "42/phone")
	phone.wantBye(wire.ByeReplaced)
	waitFor(t, "the new route", func() bool {
		f := strings.Join(where(one, "42"), ", ")
		return strings.Contains(f, "phone "+two.advertise) && strings.Contains(f, "desk "+one.advertise)
	})
	check(t, again.exchange([]byte("alive")))
	check(t, desk.exchange([]byte("alive")))
}

// TestAwayAndBack: what was stored for a device that was away comes at another gateway, in order, once, and what was acknowledged
// there does not come again.
func TestAwayAndBack(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	k := newKit(t, echoHandler())
	one, two := home(t, r, k.address), home(t, r, k.address)
	dir := t.TempDir()
	q := newMortal(t, "queue", dir, fmt.Sprintf("[admin]\nlisten = [%q]\n[redis]\naddresses = [%q]\n", "unix:"+filepath.Join(dir, "admin.sock"), r.Addr))
	q.start()
	const messages = 500
	dialIn(t, one.address(), "7/phone").close()
	for i := range messages {
		r.Do("XADD", "edged:in", "*", "to", "user:7", "payload", fmt.Sprint(i), "offline", "1", "ack", "required", "msg_id", fmt.Sprint("m", i))
	}
	take := func(c *client, from, n int) {
		t.Helper()
		for i := from; i < from+n; i++ {
			p, err := wire.ParsePush(c.want(wire.KindPush))
			check(t, err)
			if string(p.Payload) != fmt.Sprint(i) || p.Version != uint64(i+1) || p.Flags&wire.FlagLate != 0 {
				t.Fatalf("message %d: %q, version %d, flags %x", i, p.Payload, p.Version, p.Flags)
			}
			check(t, c.write(wire.AppendAck(nil, p.TID)))
		}
	}
	c := dialIn(t, two.address(), "7/phone")
	take(c, 0, messages)
	waitFor(t, "how far the device is", func() bool { return r.Do("HGET", "edged:sync:{7}", "phone") == fmt.Sprint(messages) })
	c.close()
	for i := messages; i < messages+10; i++ {
		r.Do("XADD", "edged:in", "*", "to", "user:7", "payload", fmt.Sprint(i), "offline", "1", "ack", "required", "msg_id", fmt.Sprint("m", i))
	}
	c = dialIn(t, one.address(), "7/phone")
	take(c, messages, 10)
	other := dialIn(t, one.address(), "7/desk") // a device that never was here
	take(other, 0, messages+10)
}
