package main

import (
	"os"
	"strconv"
)

// natsReady is in the line in which nats-server tells the port that it has picked. It listens by then.
const natsReady = "Listening for client connections on"

// serveNATS starts nats-server, and as a client of it the backend, which a fan-out does without. Its runtime counts as many CPUs as the others have threads.
func (b *bench) serveNATS(r row, s subject) (target, error) {
	c := command(b.now.nats, "-a", "127.0.0.1", "-p", "-1")
	c.cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(s.loops))
	p, err := b.start(c, natsReady, nil)
	if err != nil {
		return target{}, err
	}
	if err := p.await(b.ctx, readyLimit); err != nil {
		return target{}, err
	}
	t, err := served(target{}, p)
	if err != nil || r.mode == fanout {
		return t, err
	}
	backend, err := b.ready(s, b.now.cnats, "-m", "backend", "-t", strconv.Itoa(s.loops), t.address)
	if err != nil {
		return target{}, err
	}
	t.servers = append(t.servers, backend)
	t.pids = append(t.pids, backend.cmd.Process.Pid)
	return t, nil
}
