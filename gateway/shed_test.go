package gateway_test

import (
	"testing"
	"time"

	"edged/gateway"
	"edged/wire"
)

// TestShed sends a fifth of the links away, evenly, and takes new ones meanwhile.
func TestShed(t *testing.T) {
	t.Parallel()
	for _, over := range []bool{false, true} {
		name := map[bool]string{false: "alone", true: "over a hand-over"}[over]
		t.Run(name, func(t *testing.T) {
			m := serve(t, "", "", bindAll)
			o := options(m.address)
			o.Config.Reactors = 2
			o.Config.RetryAfterMax = 10 * time.Second
			r := start(t, o)
			const links, within = 200, time.Second
			for range links {
				r.dial().beat()
			}
			began := time.Now()
			r.Shed(0.2, within)
			time.Sleep(within / 2)
			p := r.progress()
			left, passed := r.Links(), time.Since(began)
			if gone := links - left; gone > int(40*passed/within)+8 || gone == 0 {
				t.Errorf("%d are gone after %v", gone, passed)
			}
			if passed < within*7/10 && (p.Total < 38 || p.Total > 42 || !p.Shedding || p.Left < p.Total/4 || p.Left >= p.Total) {
				t.Errorf("progress %+v", p)
			}
			if over {
				r = r.succeed(o)
			}
			for range 10 {
				r.dial().beat()
			}
			eventually(t, "all are gone", func() bool { return r.progress() == gateway.DrainProgress{} })
			if d := time.Since(began); d < within*9/10 {
				t.Errorf("gone after %v", d)
			}
			if n := r.Links(); n < links-42+10 || n > links-38+10 || r.Draining() || r.Ready() != nil {
				t.Errorf("%d links, draining %v, %v", n, r.Draining(), r.Ready())
			}
			if n := r.total().Ended[wire.ByeDraining]; int(n) != links+10-r.Links() {
				t.Errorf("%d ended so", n)
			}
			r.balanced()
		})
	}
}

// TestShedIsSpread: whom it meets is by chance, and so is when they come back.
func TestShedIsSpread(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindAll)
	o := options(m.address)
	o.Config.RetryAfterMax = 10 * time.Second
	r := start(t, o)
	var all []*client
	for range 100 {
		all = append(all, r.dial())
		all[len(all)-1].beat()
	}
	r.Shed(0.5, 0)
	eventually(t, "half are gone", func() bool { return r.Links() == 50 })
	gone, waits, runs, last := 0, map[time.Duration]bool{}, 0, false
	for _, c := range all {
		body, err := c.next(10 * time.Millisecond)
		if now := err == nil && len(body) > 0; now != last {
			runs++
			last = now
		}
		if last {
			b := wire.ParseBye(body[1:])
			if b.Reason != wire.ByeDraining || b.RetryAfter <= 0 || b.RetryAfter > o.Config.RetryAfterMax+time.Millisecond {
				t.Errorf("%+v", b)
			}
			waits[b.RetryAfter] = true
			gone++
		}
	}
	if gone != 50 || len(waits) < 45 || runs < 20 { // 50 of 100 by chance: some 50 runs, with a deviation of 5
		t.Errorf("%d gone in %d runs, %d times to come back", gone, runs, len(waits))
	}
}

func TestShedsThatDoNothing(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindAll)
	r := start(t, options(m.address))
	for range 10 {
		r.dial().beat()
	}
	r.Shed(0.9, time.Hour)
	eventually(t, "it has begun", func() bool { return r.progress().Total == 9 })
	r.Shed(0, 0)
	eventually(t, "it is taken back", func() bool { return r.progress().Total == 0 })
	if r.Links() < 9 {
		t.Errorf("%d links", r.Links())
	}
	r.Drain(time.Hour)
	r.Shed(1, 0)
	time.Sleep(sleepy)
	if p := r.progress(); p.Shedding || r.Links() < 8 {
		t.Errorf("%d links, %+v", r.Links(), p)
	}
}
