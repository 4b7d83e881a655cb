package gateway_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/gateway"
	"edged/wire"
)

// slowRig is a gateway whose links are slow soon, and one such link.
func slowRig(t *testing.T, change func(*gateway.Slow)) (*rig, *plain, *client) {
	t.Helper()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Slow = gateway.DefaultSlow()
	o.Slow.Bytes = 8 << 10
	change(&o.Slow)
	r := start(t, o)
	c := r.dial()
	if err := c.conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	c.send(wire.KindHello, "ann/1")
	c.link = string(c.welcome().LinkID)
	return r, m, c
}

// filler is a numbered payload of a KiB.
func filler(n int) string { return fmt.Sprintf("%06d%s", n, strings.Repeat(".", 1018)) }

// fill sends what item makes until stop says that the link takes no more, and returns how many that were.
func fill(t *testing.T, m *plain, item func(n int) *edgedpb.DownItem, stop func() bool) (n int) {
	t.Helper()
	for end := time.Now().Add(patience); !stop(); {
		for range 50 {
			m.send(item(n))
			n++
		}
		if time.Now().After(end) {
			t.Fatalf("the link still takes more after %d", n)
		}
	}
	return n
}

func TestSlowClosed(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"data", "push", "required"} {
		r, m, c := slowRig(t, func(s *gateway.Slow) { s.Data, s.Push, s.Required = "close", "close", "close" })
		l := c.ref()
		closed := func() bool { return r.total().Ended[wire.ByeSlow] == 1 }
		n := fill(t, m, func(n int) *edgedpb.DownItem {
			switch class {
			case "data":
				return withRef(uint64(n)+1, data(l, filler(n)))
			case "push":
				return withRef(uint64(n)+1, push(l, &edgedpb.Push{Payload: []byte(filler(n))}))
			}
			return push(l, required(fmt.Sprint(n), filler(n)))
		}, closed)
		// All that did not go out is told: those up to the end with the link's name before its end, the others as stale.
		told, ended := map[uint64]int{}, false
		count := func(i *edgedpb.UpItem) bool {
			ended = ended || i.GetClosed() != nil
			if x := i.GetRefused(); x != nil {
				told[x.Ref-1]++
			}
			for _, x := range i.GetUndelivered().GetLosses() {
				var k uint64
				_, _ = fmt.Sscan(x.MsgId, &k)
				told[k]++
			}
			return ended && told[uint64(n)-1] > 0
		}
		m.until("the last one", count)
		got := c.numbersToBye(wire.ByeSlow)
		for k := range uint64(n) {
			want := 1
			if got[k] && class != "required" {
				want = 0
			}
			if told[k] != want {
				t.Errorf("%s: message %d of %d (arrived %v) is told %d times", class, k, n, got[k], told[k])
				break
			}
		}
		r.balanced()
	}
}

// numbersToBye reads DATA and pushes of filler up to a BYE, and returns their numbers.
func (c *client) numbersToBye(want wire.Reason) map[uint64]bool {
	c.t.Helper()
	got := map[uint64]bool{}
	for {
		body, err := c.next(patience)
		if err != nil {
			c.t.Fatal(err)
		}
		payload := body[1:]
		switch wire.Kind(body[0]) {
		case wire.KindBye:
			if why := wire.ParseBye(payload).Reason; why != want {
				c.t.Errorf("BYE %v, not %v", why, want)
			}
			return got
		case wire.KindPush:
			p, _ := wire.ParsePush(payload)
			payload = p.Payload
		}
		var k uint64
		_, _ = fmt.Sscanf(string(payload), "%06d", &k)
		got[k] = true
	}
}

// TestSlowRefused: what the link does not take comes back, the link lives, and takes again what comes when it reads.
func TestSlowRefused(t *testing.T) {
	t.Parallel()
	r, m, c := slowRig(t, func(s *gateway.Slow) { s.Data, s.Push, s.Required = "refuse", "refuse", "refuse" })
	l := c.ref()
	refused := func() uint64 { return r.total().Refusals[0] }
	n := fill(t, m, func(n int) *edgedpb.DownItem {
		if n%2 == 0 {
			return withRef(uint64(n)+1, data(l, filler(n)))
		}
		return withRef(uint64(n)+1, push(l, &edgedpb.Push{Payload: []byte(filler(n))}))
	}, func() bool { return refused() > 0 })
	m.send(push(l, required("req", "x")), withRef(1<<40, data(&edgedpb.LinkRef{}, "end")))
	told := map[int]bool{}
	lost := ""
	m.until("the end", func(i *edgedpb.UpItem) bool {
		if x := i.GetRefused(); x != nil && x.Ref < 1<<40 {
			if x.Code != edgedpb.Refused_CODE_UNSPECIFIED || i.Link.GetUniq() != l.Uniq {
				t.Errorf("refused %v", i)
			}
			told[int(x.Ref)-1] = true
		}
		for _, x := range i.GetUndelivered().GetLosses() {
			lost += x.MsgId + x.Reason.String()
		}
		return i.GetRefused().GetRef() == 1<<40
	})
	if lost != "reqWINDOW_FULL" {
		t.Errorf("undelivered %q", lost)
	}
	for k := range n {
		if told[k] {
			continue
		}
		if k%2 == 0 {
			c.expectData(filler(k))
		} else {
			c.expectPush(filler(k))
		}
	}
	m.send(data(l, "again"))
	c.expectData("again")
	if st := r.sum(); st.DataDropped == 0 {
		t.Error("nothing was counted")
	}
}

// TestSlowDropsOldest: of DATA the newest is kept, other frames are not touched, and the Manager learns how many are missing.
func TestSlowDropsOldest(t *testing.T) {
	t.Parallel()
	r, m, c := slowRig(t, func(s *gateway.Slow) { s.Data = "drop-oldest" })
	l := c.ref()
	n := fill(t, m, func(n int) *edgedpb.DownItem {
		if n%20 == 7 {
			return push(l, &edgedpb.Push{Payload: fmt.Append(nil, n)})
		}
		return data(l, filler(n))
	}, func() bool { return r.sum().DataDropped > 100 })
	last, pushes, got := -1, 0, 0
	for last < n-1 {
		body, err := c.next(patience)
		if err != nil {
			t.Fatal(err)
		}
		if wire.Kind(body[0]) == wire.KindPush {
			pushes++
			continue
		}
		var k int
		_, _ = fmt.Sscanf(string(body[1:]), "%06d", &k)
		if k <= last || string(body[1:]) != filler(k) {
			t.Fatalf("%d came behind %d", k, last)
		}
		last = k
		got++
	}
	dropped := r.sum().DataDropped
	wantPushes := (n + 12) / 20
	if pushes != wantPushes || got+wantPushes+int(dropped) != n {
		t.Errorf("of %d %d DATA came, %d were dropped, and %d of %d pushes came", n, got, dropped, pushes, wantPushes)
	}
	told := 0
	m.until("what was dropped", func(i *edgedpb.UpItem) bool {
		if x := i.GetRefused(); x != nil {
			var k int
			if _, err := fmt.Sscan(x.Reason, &k); err != nil || x.Ref != 0 || i.Link.GetUniq() != l.Uniq {
				t.Errorf("refused %v", i)
			}
			told += k
		}
		return told >= int(dropped)
	})
	if told != int(dropped) {
		t.Errorf("%d are told of %d", told, dropped)
	}
}

// TestSlowMessages: short messages are bounded by their number.
func TestSlowMessages(t *testing.T) {
	t.Parallel()
	r, m, c := slowRig(t, func(s *gateway.Slow) { s.Bytes, s.Messages, s.Data = 256<<10, 10, "refuse" })
	l := c.ref()
	word := strings.Repeat("x", 200)
	fill(t, m, func(int) *edgedpb.DownItem { return data(l, word) }, func() bool { return r.sum().DataDropped > 0 })
	n := 0
	for ; ; n++ {
		if _, err := c.next(200 * time.Millisecond); err != nil {
			break
		}
	}
	st := r.sum()
	if n == 0 || r.total().Links != 1 {
		t.Errorf("%d came, %d links, %d dropped", n, r.total().Links, st.DataDropped)
	}
	eventually(t, "it takes what comes again", func() bool {
		m.send(data(l, "again"))
		for {
			body, err := c.next(100 * time.Millisecond)
			if err != nil || string(body[1:]) == "again" {
				return err == nil
			}
		}
	})
}

func TestSlowConfig(t *testing.T) {
	t.Parallel()
	if err := gateway.DefaultSlow().Validate(); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct {
		key    string
		change func(*gateway.Slow)
	}{
		{"bytes", func(s *gateway.Slow) { s.Bytes = 100 }},
		{"bytes", func(s *gateway.Slow) { s.Bytes = 1 << 30 }},
		{"messages", func(s *gateway.Slow) { s.Messages = 0 }},
		{"messages", func(s *gateway.Slow) { s.Messages = 1 << 30 }},
		{"data", func(s *gateway.Slow) { s.Data = "log" }},
		{"push", func(s *gateway.Slow) { s.Push = "drop-oldest" }},
		{"required", func(s *gateway.Slow) { s.Required = "" }},
		{"stored", func(s *gateway.Slow) { s.Stored = "Log" }},
	} {
		s := gateway.DefaultSlow()
		tt.change(&s)
		if err := s.Validate(); err == nil || !strings.HasPrefix(err.Error(), tt.key+": ") {
			t.Errorf("%+v: %v", s, err)
		}
	}
}
