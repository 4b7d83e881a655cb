package handover_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"edged/handover"

	"golang.org/x/sys/unix"
)

// tcpPair returns a client and the descriptor of the accepted end, which blocks.
func tcpPair(t testing.TB) (*net.TCPConn, int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	fd, err := unix.Dup(int(f.Fd()))
	_ = f.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		_ = unix.Close(fd)
	})
	return c.(*net.TCPConn), fd
}

// The kernel's counters say exactly what was read and written, whatever waits unread or unacknowledged, while more comes in.
func TestFlow(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 50 {
		c, fd := tcpPair(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			b := make([]byte, 3000)
			for range 20 {
				if _, err := c.Write(b[:1+len(b)/2]); err != nil {
					return
				}
			}
		})
		var read, written uint32
		b := make([]byte, 2000)
		for range 10 {
			if r.IntN(2) == 0 {
				n, err := unix.Read(fd, b[:1+r.IntN(len(b)-1)])
				if err != nil {
					t.Fatal(err)
				}
				read += uint32(n)
			} else {
				n, err := unix.Write(fd, b[:1+r.IntN(len(b)-1)])
				if err != nil {
					t.Fatal(err)
				}
				written += uint32(n)
			}
			if err := handover.CheckFlow(fd, read, written); err != nil {
				t.Fatal(err)
			}
		}
		for _, wrong := range [][2]uint32{{read - 1, written}, {read + 1, written}, {read, written - 1}, {read, written + 1}} {
			if err := handover.CheckFlow(fd, wrong[0], wrong[1]); !errors.Is(err, handover.ErrTorn) {
				t.Errorf("%d and %d instead of %d and %d: %v", wrong[0], wrong[1], read, written, err)
			}
		}
		_ = c.Close()
		wg.Wait()
	}
}

// A FIN is no byte, in whatever order the two sides end and whatever is unread then.
func TestFlowAfterFIN(t *testing.T) {
	for _, tc := range []struct {
		name                   string
		client, server, unread bool
	}{
		{"the client ended", true, false, false},
		{"the client ended, something is unread", true, false, true},
		{"this side ended", false, true, false},
		{"both ended", true, true, false},
		{"both ended, something is unread", true, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, fd := tcpPair(t)
			if _, err := c.Write([]byte("12345")); err != nil {
				t.Fatal(err)
			}
			if n, err := unix.Write(fd, []byte("123")); n != 3 || err != nil {
				t.Fatal(n, err)
			}
			read := uint32(5)
			if tc.unread {
				read = 2
			}
			if n, err := io.ReadFull(fdReader(fd), make([]byte, read)); n != int(read) || err != nil {
				t.Fatal(n, err)
			}
			if tc.client {
				_ = c.CloseWrite()
				until(t, "its FIN", func() bool {
					n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}, 0)
					return n == 1 && err == nil
				})
			}
			if tc.server {
				_ = unix.Shutdown(fd, unix.SHUT_WR)
				_ = c.SetReadDeadline(time.Now().Add(patience))
				if b, err := io.ReadAll(c); string(b) != "123" || err != nil {
					t.Fatal(b, err)
				}
			}
			if err := handover.CheckFlow(fd, read, 3); err != nil {
				t.Error(err)
			}
			if tc.client && !tc.unread {
				if n, _ := unix.Read(fd, make([]byte, 1)); n != 0 {
					t.Error("there is more")
				}
				if err := handover.CheckFlow(fd, read, 3); err != nil {
					t.Errorf("the end was read: %v", err)
				}
			}
		})
	}
}

type fdReader int

func (fd fdReader) Read(b []byte) (int, error) { return unix.Read(int(fd), b) }

// What the counters cannot tell is torn.
func TestFlowUnknown(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.Close(pair[0]), unix.Close(pair[1]) }()
	if err := handover.CheckFlow(pair[0], 0, 0); !errors.Is(err, handover.ErrTorn) {
		t.Errorf("a unix socket: %v", err)
	}
	if err := handover.CheckFlow(-1, 0, 0); !errors.Is(err, handover.ErrTorn) {
		t.Errorf("nothing: %v", err)
	}
	// Urgent data is taken out of the stream behind the reader's back: closed rather than guessed.
	c, fd := tcpPair(t)
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(s uintptr) { err = unix.Sendto(int(s), []byte("ab"), unix.MSG_OOB, nil) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	if _, err := c.Write([]byte("c")); err != nil {
		t.Fatal(err)
	}
	read := uint32(0)
	for read < 2 {
		n, err := unix.Read(fd, make([]byte, 10))
		if err != nil {
			t.Fatal(err)
		}
		read += uint32(n)
	}
	if err := handover.CheckFlow(fd, read, 0); !errors.Is(err, handover.ErrTorn) {
		t.Errorf("urgent data: %v", err)
	}
}

func BenchmarkCheckFlow(b *testing.B) {
	_, fd := tcpPair(b)
	for b.Loop() {
		if err := handover.CheckFlow(fd, 0, 0); err != nil {
			b.Fatal(err)
		}
	}
}
