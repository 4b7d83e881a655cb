// Command echo is netpoll alone: it sends back each frame, so that the reactor can be compared with the C floor, which
// does the same work.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"time"

	"edged/netpoll"
	"edged/wire"
)

type echo struct{ loop *netpoll.Loop }

func (e *echo) Opened(netpoll.Conn, int)         {}
func (e *echo) Closed(netpoll.Conn, error)       {}
func (e *echo) Pending() bool                    { return false }
func (e *echo) Turn(time.Duration) time.Duration { return -1 }

// Backlog stops reading from who does not read, and goes on when it does again.
func (e *echo) Backlog(c netpoll.Conn, pending int) {
	if pending > 0 {
		e.loop.Pause(c)
	} else {
		e.loop.Resume(c)
	}
}

func (e *echo) Read(c netpoll.Conn, in []byte) int {
	used := 0
	for {
		_, n, err := wire.Split(in[used:], wire.MaxBody)
		if err != nil {
			e.loop.Abort(c)
			return len(in)
		}
		if n == 0 {
			return used
		}
		if !e.loop.Write(c, in[used:used+n]) {
			return used
		}
		used += n
	}
}

func main() {
	loops := flag.Int("loops", 1, "reactors")
	pin := flag.String("pin", "", "CPU of each reactor, comma-separated")
	batch := flag.Bool("batch", false, "SCHED_BATCH")
	flag.Parse()
	cfg := netpoll.Config{Loops: *loops, MaxConns: 20000, SchedBatch: *batch}
	for _, cpu := range strings.FieldsFunc(*pin, func(r rune) bool { return r == ',' }) {
		n, err := strconv.Atoi(cpu)
		fail(err)
		cfg.CPUs = append(cfg.CPUs, n)
	}
	runtime.GOMAXPROCS(netpoll.Procs(*loops))
	g, err := netpoll.New(cfg, func(l *netpoll.Loop) netpoll.Handler { return &echo{l} })
	fail(err)
	_, addr, err := g.Listen("tcp", flag.Arg(0))
	fail(err)
	g.Start()
	fmt.Println("ready", addr)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	<-stop
	g.Stop()
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}
