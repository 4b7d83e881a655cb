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

// echo is called when something has come, and again at once if it leaves something: it waits for the rest of a frame that was begun.
func echo(_ context.Context, c netpoll.Connection) error {
	r, w := c.Reader(), c.Writer()
	for more := true; more; more = r.Len() > 0 {
		if err := answer(r, w); err != nil {
			return err
		}
	}
	if err := r.Release(); err != nil {
		return err
	}
	return w.Flush()
}

// answer sends back one frame.
func answer(r netpoll.Reader, w netpoll.Writer) error {
	if err := beforeWait(r, w, 2); err != nil {
		return err
	}
	head, err := r.Peek(2)
	if err != nil {
		return err
	}
	n := 2 + int(binary.BigEndian.Uint16(head))
	if err := beforeWait(r, w, n); err != nil {
		return err
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
	return nil
}

// beforeWait sends what is ready if n bytes are not there yet: their sender may wait for it.
func beforeWait(r netpoll.Reader, w netpoll.Writer, n int) error {
	if r.Len() >= n {
		return nil
	}
	return w.Flush()
}
