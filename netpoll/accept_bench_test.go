package netpoll_test

import (
	"net"
	"testing"

	"edged/netpoll"

	"golang.org/x/sys/unix"
)

// What it costs a connection to be placed: by the kernel's hash, by a program with one in eight looked at, and handed over
// from one socket. A connection that nobody looks at is the measure.
func BenchmarkAccept(b *testing.B) {
	for _, bc := range []struct {
		name   string
		steer  netpoll.Steer
		passed bool
	}{{"off", netpoll.SteerOff, false}, {"hash", netpoll.SteerHash, false}, {"cpu", netpoll.SteerCPU, false}, {"queue", netpoll.SteerQueue, false}, {"handed over", netpoll.SteerQueue, true}} {
		b.Run(bc.name, func(b *testing.B) {
			cpu, other := twoCPUs(b)
			g, opened := steered(b, netpoll.Config{Loops: 2, CPUs: []int{cpu, other}, Steer: bc.steer, Queues: queues(2, 1, cpu, other)})
			var addr string
			if bc.passed {
				fd, at := passed(b)
				if _, err := g.Adopt(fd); err != nil {
					b.Fatal(err)
				}
				addr = at
			} else {
				addr = listen(b, g)
			}
			g.Start()
			for b.Loop() {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					b.Fatal(err)
				}
				wait(b, opened, "the connection")
				_ = c.(*net.TCPConn).SetLinger(0) // no port is left in TIME_WAIT
				_ = c.Close()
			}
		})
	}
}

// BenchmarkArrival is what looking at a connection costs.
func BenchmarkArrival(b *testing.B) {
	_, addr := serve(b, netpoll.Config{}, echoFrames)
	c := dial(b, addr)
	raw, err := c.SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		for b.Loop() {
			_, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_INCOMING_NAPI_ID)
			_, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_INCOMING_CPU)
		}
	})
}
