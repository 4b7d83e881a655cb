// Command net is the echo as one writes it with package net: a goroutine for each link, which reads as much as there is and
// sends back the whole frames of it with one write.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"os"
)

// readBuffer is what a link reads at once.
const readBuffer = 64 << 10

func main() {
	_ = flag.Int("loops", 0, "taken and not used: the runtime has its own")
	flag.Parse()
	fmt.Fprintln(os.Stderr, "net:", serve(flag.Arg(0)))
	os.Exit(1)
}

// serve returns only with what went wrong.
func serve(address string) string {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err.Error()
	}
	fmt.Println("ready", l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return err.Error()
		}
		go echo(c)
	}
}

// echo serves a link. The frames that it sends back are those that it read, so they need no copy.
func echo(c net.Conn) {
	defer c.Close()
	buf := make([]byte, readBuffer)
	have := 0
	for {
		n, err := c.Read(buf[have:])
		have += n
		used := whole(buf[:have])
		if used > 0 {
			if _, err := c.Write(buf[:used]); err != nil {
				return
			}
			have = copy(buf, buf[used:have])
		}
		if err == nil && have == len(buf) { // the frame is longer than the buffer
			buf = append(buf, make([]byte, readBuffer)...)
		}
		if err != nil {
			return
		}
	}
}

// whole returns how many bytes the whole frames at the beginning of b have.
func whole(b []byte) int {
	used := 0
	for len(b)-used >= 2 {
		n := 2 + int(binary.BigEndian.Uint16(b[used:]))
		if len(b)-used < n {
			break
		}
		used += n
	}
	return used
}
