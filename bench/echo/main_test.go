package main

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"edged/netpoll"
)

// patience bounds every wait.
const patience = 10 * time.Second

// TestEcho: frames come back whole and in order, however they were cut.
func TestEcho(t *testing.T) {
	g, err := netpoll.New(netpoll.Config{MaxConns: 4}, func(l *netpoll.Loop) netpoll.Handler { return &echo{l} })
	if err != nil {
		t.Fatal(err)
	}
	defer g.Stop()
	_, addr, err := g.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.Start()
	c, err := net.DialTimeout("tcp", addr.String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	frames := append([]byte{0, 0, 0, 3, 'a', 'b', 'c', 0xff, 0xff}, bytes.Repeat([]byte("x"), 65535)...)
	go func() {
		for _, part := range [][]byte{frames[:1], frames[1:6], frames[6:8], frames[8:5000], frames[5000:]} {
			if _, err := c.Write(part); err != nil {
				t.Error(err)
			}
		}
	}()
	got := make([]byte, len(frames))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, frames) {
		t.Errorf("%v; the same bytes: %v", err, bytes.Equal(got, frames))
	}
}
