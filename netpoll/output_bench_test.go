package netpoll_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"edged/netpoll"
)

// BenchmarkSend is a turn of eight messages to one peer: written, sent by one call, and read by the peer.
func BenchmarkSend(b *testing.B) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _, _ = unix.Close(fds[0]), unix.Close(fds[1]) }()
	o := netpoll.NewOutput(smallFrames.config(netpoll.Config{}), fds[0])
	frame, in := appendFrame(nil, make([]byte, 62)), make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		for range 8 {
			o.Write(o.Conn, frame)
		}
		o.Flush()
		if n, err := unix.Read(fds[1], in); n != 8*len(frame) {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkWrite is the same without the system calls.
func BenchmarkWrite(b *testing.B) {
	o := netpoll.NewOutput(smallFrames.config(netpoll.Config{}), -1)
	frame := appendFrame(nil, make([]byte, 62))
	b.ReportAllocs()
	for b.Loop() {
		for range 8 {
			o.Write(o.Conn, frame)
		}
		o.Sent(8 * len(frame))
	}
}

// BenchmarkParts is 60 KiB of messages for a peer that takes 4,000 bytes at a time.
func BenchmarkParts(b *testing.B) {
	o := netpoll.NewOutput(smallFrames.config(netpoll.Config{}), -1)
	frame := appendFrame(nil, make([]byte, 98))
	b.ReportAllocs()
	for b.Loop() {
		for range 600 {
			o.Write(o.Conn, frame)
		}
		for range 15 {
			o.Sent(4000)
		}
	}
}

// BenchmarkThin is 60 KiB of messages of which every other one is taken out.
func BenchmarkThin(b *testing.B) {
	o := netpoll.NewOutput(smallFrames.config(netpoll.Config{}), -1)
	frame := appendFrame(nil, make([]byte, 98))
	odd := false
	other := func([]byte) bool { odd = !odd; return odd }
	b.ReportAllocs()
	for b.Loop() {
		for range 600 {
			o.Write(o.Conn, frame)
		}
		o.Thin(o.Conn, 1<<20, other)
		o.Sent(300 * len(frame))
	}
}
