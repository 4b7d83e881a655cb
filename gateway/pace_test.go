package gateway_test

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"edged/wire"
)

// TestLinkRate: who says more than its rate is served all the same, at that rate; others notice nothing of it.
func TestLinkRate(t *testing.T) {
	const rate, said = 10_000, 4000
	o := options()
	o.Config.Login, o.Config.LinkRate = "none", rate
	r := start(t, o)
	loud, calm := dialWelcome(t, r), dialWelcome(t, r)
	began := time.Now()
	go func() { _, _ = loud.Write(make([]byte, said*wire.HeadLen)) }() // heartbeats
	for range 20 {
		heartbeats(t, calm, 1)
	}
	heartbeatsAnswered(t, loud, said)
	// What one window lets through, and one look finds too much, comes ahead of time.
	if took, least := time.Since(began), (said-200)*time.Second/rate; took < least {
		t.Errorf("%d messages took %v, less than %v", said, took, least)
	}
	if st := r.total(); st.Throttles == 0 || st.Links != 2 || st.Heartbeats != said+20 {
		t.Errorf("throttled %d times, %d links, %d heartbeats", st.Throttles, st.Links, st.Heartbeats)
	}
	if n := calmThrottles(t, r, calm); n != 0 {
		t.Errorf("the calm link was throttled %d times", n)
	}
	r.balanced()
}

// TestLinkRateUnlimited: 0 throttles nobody.
func TestLinkRateUnlimited(t *testing.T) {
	o := options()
	o.Config.Login, o.Config.LinkRate = "none", 0
	r := start(t, o)
	c := dialWelcome(t, r)
	go func() { _, _ = c.Write(make([]byte, 20_000*wire.HeadLen)) }()
	heartbeatsAnswered(t, c, 20_000)
	if n := r.total().Throttles; n != 0 {
		t.Errorf("throttled %d times", n)
	}
}

// TestThrottledLinkEnds: a link that is not read for a while can end, drain and be counted like any other.
func TestThrottledLinkEnds(t *testing.T) {
	o := options()
	o.Config.Login, o.Config.LinkRate = "none", 1000
	r := start(t, o)
	for range 20 {
		c := dialWelcome(t, r)
		if _, err := c.Write(make([]byte, 500*wire.HeadLen)); err != nil {
			t.Fatal(err)
		}
		heartbeatsAnswered(t, c, 10)
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	eventually(t, "all links have ended", func() bool { return r.Links() == 0 })
	r.balanced()
}

// dialWelcome opens a link and takes its WELCOME.
func dialWelcome(t *testing.T, r *rig) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", r.Addresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(2 * patience))
	head := make([]byte, wire.HeadLen)
	if _, err := io.ReadFull(c, head); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, c, int64(head[0])<<8|int64(head[1])); err != nil {
		t.Fatal(err)
	}
	return c
}

// heartbeats sends some and awaits their answers.
func heartbeats(t *testing.T, c net.Conn, n int) {
	t.Helper()
	if _, err := c.Write(make([]byte, n*wire.HeadLen)); err != nil {
		t.Fatal(err)
	}
	heartbeatsAnswered(t, c, n)
}

func heartbeatsAnswered(t *testing.T, c net.Conn, n int) {
	t.Helper()
	got := make([]byte, n*wire.HeadLen)
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, make([]byte, len(got))) {
		t.Errorf("answered with %x", got)
	}
}

// calmThrottles returns how often links are throttled while a calm one speaks.
func calmThrottles(t *testing.T, r *rig, calm net.Conn) uint64 {
	t.Helper()
	before := r.total().Throttles
	for range 50 {
		heartbeats(t, calm, 2)
		time.Sleep(time.Millisecond) // below its rate whatever the clock's steps
	}
	return r.total().Throttles - before
}
