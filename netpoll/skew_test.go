package netpoll_test

import (
	"net"
	"testing"

	"edged/netpoll"
)

// All come by one queue. Its loop keeps a fifth more than the mean, the others get the rest.
func TestSkew(t *testing.T) {
	const n, clients = 2, 3000
	w := newWire(t, n)
	g, opened := steered(t, netpoll.Config{Loops: n, Steer: netpoll.SteerQueue, Queues: queues(n, 1)})
	addr := listenAt(w, g)
	g.Start()
	for range clients {
		w.connect(addr, 1, -1, -1)
		wait(t, opened, "the connection")
	}
	s := told(t, g, netpoll.SteerQueue, 1, false, "")
	for i, l := range s.Loops {
		least, most := 1198, 1210
		if i == 1 {
			least, most = 1790, 1802
		}
		if l.Conns < least || l.Conns > most {
			t.Errorf("loop %d has %d of %d", i, l.Conns, clients)
		}
	}
	if s.Imbalance < 0.15 || s.Imbalance > 0.21 || int(s.Loops[1].Given) != clients-s.Loops[1].Conns {
		t.Errorf("%+v", s)
	}
}

// The hash knows no queues: how many connections it brings to their own is still told.
func TestShareByHash(t *testing.T) {
	const n, clients = 4, 400
	x := newLine(t, n)
	g, opened := steered(t, netpoll.Config{Loops: n, Steer: netpoll.SteerHash, Queues: x.byNAPI(0)})
	addr := listenAt(x, g)
	g.Start()
	for i := range clients {
		x.come(addr, i/(clients/n), -1)
		wait(t, opened, "the connection")
	}
	s := told(t, g, netpoll.SteerHash, 0, false, "")
	if share := s.OwnShare(); share == 0 || share > 0.6 {
		t.Errorf("%+v", s)
	}
}

// Few are left where they are: the difference is chance.
func TestFewAreNoSkew(t *testing.T) {
	w := newWire(t, 2)
	g, opened := steered(t, netpoll.Config{Loops: 2, Steer: netpoll.SteerQueue, Queues: queues(2, 1)})
	addr := listenAt(w, g)
	g.Start()
	for range 32 {
		w.connect(addr, 1, -1, -1)
		if loop := wait(t, opened, "the connection"); loop != 1 {
			t.Errorf("to loop %d", loop)
		}
	}
}

// Connections that others than the kernel hand out, those of a unix socket too, are evened out as well.
func TestSkewOfAUnixSocket(t *testing.T) {
	const clients = 300
	g, opened := steered(t, netpoll.Config{Loops: 2, Steer: netpoll.SteerHash})
	path := t.TempDir() + "/edge"
	tcp := listen(t, g)
	if _, _, err := g.Listen("unix", path); err != nil {
		t.Fatal(err)
	}
	g.Start()
	for range clients {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		wait(t, opened, "the connection")
	}
	dial(t, tcp)
	wait(t, opened, "the connection")
	s := told(t, g, netpoll.SteerHash, 0, false, "")
	if s.Loops[0].Conns+s.Loops[1].Conns != clients+1 || s.Imbalance > 0.02 {
		t.Errorf("%+v", s)
	}
}
