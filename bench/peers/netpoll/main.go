// Command netpoll is the echo on github.com/cloudwego/netpoll, as its documents show it: the handler takes the whole frames that
// have come and sends them back with one flush.
package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"os"

	"github.com/cloudwego/netpoll"
)

func main() {
	loops := flag.Int("loops", 1, "pollers")
	flag.Parse()
	if err := run(*loops, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "netpoll:", err)
		os.Exit(1)
	}
}

func run(loops int, address string) error {
	if err := netpoll.Configure(netpoll.Config{PollerNum: loops}); err != nil {
		return err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	converted, err := netpoll.ConvertListener(l)
	if err != nil {
		return err
	}
	e, err := netpoll.NewEventLoop(echo)
	if err != nil {
		return err
	}
	fmt.Println("ready", l.Addr())
	return e.Serve(converted)
}

// echo is called when something has come, and must leave nothing whole behind.
func echo(_ context.Context, c netpoll.Connection) error {
	r, w := c.Reader(), c.Writer()
	for r.Len() >= 2 {
		head, err := r.Peek(2)
		if err != nil {
			return err
		}
		n := 2 + int(binary.BigEndian.Uint16(head))
		if r.Len() < n {
			break // the rest wakes us
		}
		frame, err := r.Next(n)
		if err != nil {
			return err
		}
		to, err := w.Malloc(n)
		if err != nil {
			return err
		}
		copy(to, frame)
	}
	if err := r.Release(); err != nil {
		return err
	}
	return w.Flush()
}
