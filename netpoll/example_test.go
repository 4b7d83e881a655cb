package netpoll_test

import (
	"fmt"
	"io"
	"net"
	"time"

	"edged/netpoll"
)

// echo sends back what it reads.
type echo struct{ loop *netpoll.Loop }

func (e *echo) Opened(netpoll.Conn, int)         {}
func (e *echo) Closed(netpoll.Conn, error)       {}
func (e *echo) Backlog(netpoll.Conn, int)        {}
func (e *echo) Pending() bool                    { return false }
func (e *echo) Turn(time.Duration) time.Duration { return -1 }
func (e *echo) Read(c netpoll.Conn, in []byte) int {
	if !e.loop.Write(c, in) {
		e.loop.Abort(c) // it does not read what it asked for
	}
	return len(in)
}

func Example() {
	g, _ := netpoll.New(netpoll.Config{Loops: 2}, func(l *netpoll.Loop) netpoll.Handler { return &echo{l} })
	_, addr, _ := g.Listen("tcp", "127.0.0.1:0")
	g.Start()
	defer g.Stop()

	c, _ := net.Dial("tcp", addr.String())
	_, _ = c.Write([]byte("hello"))
	answer, _ := io.ReadAll(io.LimitReader(c, 5))
	fmt.Printf("%s\n", answer)
	// Output: hello
}
