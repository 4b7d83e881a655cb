package h2_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"edged/h2"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func polled() h2.Options {
	o := options()
	o.Polled = true
	return o
}

// await waits until a polled call can be read; false: it is closed.
func await(t testing.TB, c *h2.Call) bool {
	t.Helper()
	fd, ok := c.Hold()
	if !ok {
		return false
	}
	defer c.Release()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds())); n != 1 && err != unix.EINTR {
		t.Errorf("nothing to read: %v", err)
		return false
	}
	return true
}

// chop carries connections to an address, in pieces of up to so many bytes.
func chop(t *testing.T, seed uint64, most int, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	carry := func(from, to net.Conn, random *rand.Rand) {
		defer from.Close()
		defer to.Close()
		for b := make([]byte, most); ; {
			n, err := from.Read(b[:1+random.IntN(most)])
			if err != nil {
				return
			}
			if random.IntN(50) == 0 {
				time.Sleep(time.Millisecond)
			}
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
	}
	wg.Go(func() {
		one, err := l.Accept()
		if err != nil {
			return
		}
		other, err := net.Dial("tcp", address)
		if err != nil {
			_ = one.Close()
			return
		}
		wg.Go(func() { carry(one, other, rand.New(rand.NewPCG(seed, 1))) })
		carry(other, one, rand.New(rand.NewPCG(seed, 2)))
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// Whatever pieces the bytes come and go in, messages arrive whole and in their order, and nothing waits but in Send, FinishSend and
// our own poll.
func TestPollAndTrySend(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	_, address := serve(t, "tcp", "127.0.0.1:0", echo)
	for _, most := range []int{7, 3000, 1 << 17} {
		c := dial(t, "tcp", chop(t, seed, most, address), polled())
		random := rand.New(rand.NewPCG(seed, uint64(most)))
		n, longest := 300, 12000
		if most == 7 {
			n, longest = 60, 300
		}
		var sent [][]byte
		for i := range n {
			b := binary.BigEndian.AppendUint32(nil, uint32(i))
			for range random.IntN(longest) {
				b = append(b, byte(random.Uint32()))
			}
			sent = append(sent, b)
		}
		var how [3]int
		go func() {
			for _, b := range sent {
				p := c.TrySend(b)
				how[p]++
				var err error
				switch p {
				case h2.Busy:
					err = c.Send(b)
				case h2.Begun:
					err = c.FinishSend()
				}
				if err != nil {
					t.Errorf("send: %v", err)
					return
				}
			}
			if err := c.CloseSend(); err != nil {
				t.Errorf("close: %v", err)
			}
		}()
		within(t, "the messages", func() {
			var b []byte
			for i := 0; ; {
				var whole bool
				var err error
				if b, whole, err = c.Poll(b); err == io.EOF && i == n {
					return
				}
				if err != nil || whole && (i == n || !bytes.Equal(b, sent[i])) {
					t.Errorf("message %d: %d bytes, %v", i, len(b), err)
					return
				}
				if whole {
					i, b = i+1, b[:0]
				} else if !await(t, c) {
					return
				}
			}
		})
		if how[h2.Done] == 0 {
			t.Errorf("pieces of %d: busy, begun, done: %d", most, how)
		}
		c.Close()
	}
}

func TestTrySendIsBusy(t *testing.T) {
	o := polled()
	c := script(t, o, func(p *peer) error {
		_, _ = io.Copy(io.Discard, p)
		return nil
	})
	if p := c.TrySend(make([]byte, 16384)); p != h2.Busy {
		t.Errorf("more than a frame: %v", p)
	}
	for sent := 0; ; sent += 1005 {
		p := c.TrySend(make([]byte, 1000))
		if p != h2.Done {
			if p != h2.Busy || sent+1005 <= 65535 {
				t.Errorf("after %d bytes of the window: %v", sent, p)
			}
			break
		}
	}
	if p := c.TrySend(nil); p != h2.Done {
		t.Errorf("a message that fits: %v", p)
	}
	c.Close()
	if p := c.TrySend(nil); p != h2.Busy {
		t.Errorf("after the end: %v", p)
	}
	if _, ok := c.Hold(); ok {
		t.Error("the descriptor of a closed call can be held")
	}
	if _, _, err := c.Poll(nil); status.Code(err) != codes.Canceled {
		t.Errorf("Poll after the end: %v", err)
	}
}

// A full socket takes a part; the rest goes out when there is room.
func TestTrySendIsBegun(t *testing.T) {
	const window = 1 << 30
	begun := make(chan struct{})
	c := script(t, polled(), func(p *peer) error {
		_ = p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
		_ = p.fr.WriteWindowUpdate(0, window)
		if err := p.ok(); err != nil {
			return err
		}
		if err := p.fr.WriteData(1, false, message("x")); err != nil { // so that the window is known
			return err
		}
		<-begun
		_, _ = io.Copy(io.Discard, p)
		return nil
	})
	within(t, "the window", func() {
		if _, err := c.Recv(nil); err != nil {
			t.Error(err)
		}
	})
	p := h2.Done
	for p == h2.Done {
		p = c.TrySend(make([]byte, 16000))
	}
	if p != h2.Begun {
		t.Fatalf("a full socket: %v", p)
	}
	if p := c.TrySend(nil); p != h2.Busy {
		t.Errorf("while one has begun: %v", p)
	}
	close(begun)
	within(t, "the rest", func() {
		if err := c.FinishSend(); err != nil {
			t.Error(err)
		}
	})
	if p := c.TrySend(nil); p != h2.Done {
		t.Errorf("when it has ended: %v", p)
	}
}

// Who holds the descriptor finds the end, and it is not closed before he lets go.
func TestHeldWhileClosed(t *testing.T) {
	c := script(t, polled(), func(p *peer) error {
		_, _ = io.Copy(io.Discard, p)
		return nil
	})
	fd, ok := c.Hold()
	if !ok {
		t.Fatal("it cannot be held")
	}
	c.Close()
	events := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(events, int(patience.Milliseconds())); n != 1 || events[0].Revents&unix.POLLNVAL != 0 {
		t.Errorf("%d events, %+v, %v", n, events, err)
	}
	c.Release()
}

func TestPollAllocations(t *testing.T) {
	c := script(t, polled(), mirror)
	fd, ok := c.Hold()
	if !ok {
		t.Fatal("it cannot be held")
	}
	defer c.Release()
	events := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for _, size := range []int{0, 200, 12000} {
		body := make([]byte, size)
		var b []byte
		trip := func() {
			if p := c.TrySend(body); p != h2.Done {
				t.Fatalf("%d bytes: %v", size, p)
			}
			for whole := false; !whole; {
				_, _ = unix.Poll(events, int(patience.Milliseconds()))
				var err error
				if b, whole, err = c.Poll(b); err != nil {
					t.Fatal(err)
				}
				if !whole {
					continue
				}
				if len(b) != size {
					t.Fatalf("%d bytes, not %d", len(b), size)
				}
				var rest []byte
				if rest, whole, err = c.Poll(b[:0]); whole || err != nil || len(rest) > 0 { // until nothing is left
					t.Fatalf("%d bytes more, %v", len(rest), err)
				}
				whole = true
			}
			b = b[:0]
		}
		for range 100 {
			trip()
		}
		if n := testing.AllocsPerRun(500, trip); n > 0 {
			t.Errorf("%d bytes: %v allocations", size, n)
		}
	}
}
