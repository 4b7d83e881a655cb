package gateway_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/bus"
	"edged/relay"
)

// TestOrder: an operator's batch is carried out as one by Redis; what is none is refused.
func TestOrder(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	r := start(t, options(m.address))
	c := r.loginAs("ann/1")
	if err := r.Order(encode(t, data(c.ref(), "link"), saying(toUser("ann"), "user"), saying(toAll(), "all"), withRef(3, saying(toUser("eve"), "x")))); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"link", "user", "all"} {
		c.expectData(want)
	}
	if err := r.Order([]byte{0xff}); !errors.Is(err, relay.ErrGarbage) {
		t.Errorf("garbage: %v", err)
	}
	if err := r.Order(nil); err != nil {
		t.Errorf("nothing: %v", err)
	}
	m.opened()
	m.message(edgedpb.ClientMessage_HELLO, "ann/1")
	m.none(20 * time.Millisecond) // nobody is told of an operator's refs
	if st := r.sum(); st.BusItems != 4 || st.BusNotHere != 1 {
		t.Errorf("%d items, %d for nobody", st.BusItems, st.BusNotHere)
	}
}

// TestByRedis: reports go to the link's Manager; what is not for this gateway, and garbage, does no harm.
func TestByRedis(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Config.Reactors = 3
	r := start(t, o)
	var all []*client
	for i := range 6 {
		all = append(all, r.loginAs(fmt.Sprint("ann/", i)))
	}
	r.Receiver().Batch(bus.FromOwn, []byte("garbage"))
	r.Receiver().Missed(bus.FromOwn) // there is no log
	r.publish(bus.FromOwn, pushing(toUser("ann"), required("m1", "x")), pushing(toUser("eve"), required("m2", "y")), ending(toDevice("ann", "5"), 7))
	for i, c := range all {
		c.expectPush("x")
		if i < 5 {
			c.ack(0)
		}
	}
	acked := 0
	for _, rep := range m.reports(6) {
		if rep.acked {
			acked++
		} else if rep.id != "m1" || rep.loss != edgedpb.Loss_LINK_CLOSED || rep.link[0] != all[5].ref().Index {
			t.Errorf("report %+v", rep)
		}
	}
	if acked != 5 {
		t.Errorf("%d acknowledged", acked)
	}
	m.noReports(20 * time.Millisecond)
}

// TestPublishersTogether: batches by Redis, by operators and by Managers come through together, each in its order.
func TestPublishersTogether(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Config.Reactors = 2
	r := start(t, o)
	c := r.loginAs("ann/1")
	const n = 500 // what the link has to take fits into its output, however slow this machine is
	var wg sync.WaitGroup
	wg.Go(func() {
		for k := range n {
			r.publish(bus.FromOwn, saying(toUser("ann"), fmt.Sprint("own ", k)))
		}
	})
	wg.Go(func() {
		for k := range n {
			if err := r.Order(encode(t, saying(toAll(), fmt.Sprint("order ", k)))); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		for k := range n {
			m.send(data(c.ref(), fmt.Sprint("link ", k)))
		}
	})
	wg.Wait()
	next := map[string]int{}
	for range 3 * n {
		var who string
		var k int
		if _, err := fmt.Sscan(string(c.expect(3)), &who, &k); err != nil || k != next[who] {
			t.Fatalf("%s %d, not %d: %v", who, k, next[who], err)
		}
		next[who]++
	}
}
