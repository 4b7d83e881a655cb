package h2_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/h2"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// attended looks after a call until the function that it returns is called.
func attended(c *h2.Call, every time.Duration) (stop func()) {
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				c.Attend()
			case <-over:
				return
			}
		}
	})
	return func() {
		close(over)
		wg.Wait()
	}
}

// Whenever a call is attended, its messages come whole and in their order, and the windows never close for good.
func TestAttend(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, window := range []int{65535, 1 << 20} {
		o := serverOptions()
		o.Window = window
		address, _ := accept(t, "tcp", "127.0.0.1:0", o, func(c *h2.Call) error {
			rnd := rand.New(rand.NewPCG(seed, 2))
			defer attended(c, 200*time.Microsecond)()
			var b []byte
			for {
				var err error
				if b, err = c.Recv(b); err != nil {
					return err
				}
				if rnd.IntN(10) == 0 {
					time.Sleep(time.Duration(rnd.IntN(3000)) * time.Microsecond)
				}
				if err := c.Send(b); err != nil {
					return err
				}
			}
		})
		rnd := rand.New(rand.NewPCG(seed, 1))
		sizes := make([]int, 600)
		for i := range sizes {
			sizes[i] = rnd.IntN(300)
			if rnd.IntN(20) == 0 {
				sizes[i] = rnd.IntN(3 * window)
			}
		}
		c := dial(t, "tcp", chop(t, seed, 20000, address), options())
		within(t, "the echo", func() { bounce(t, c, sizes) })
	}
}

// A client whose server is busy is answered, and its probes go on being answered.
func TestAttendAnswers(t *testing.T) {
	free := make(chan struct{})
	address, _ := accept(t, "tcp", "127.0.0.1:0", serverOptions(), func(c *h2.Call) error {
		if _, err := c.Recv(nil); err != nil {
			return err
		}
		stop := attended(c, time.Millisecond)
		<-free // the handler is busy
		stop()
		return mirrored(c)
	})
	p := client(t, address)
	if err := errors.Join(p.preface(), p.ask(), p.fr.WriteData(1, false, append(message("first"), message("second")[:6]...))); err != nil {
		t.Fatal(err)
	}
	pong := func(data string) {
		t.Helper()
		if err := p.fr.WritePing(false, [8]byte([]byte(data))); err != nil {
			t.Fatal(err)
		}
		for {
			f, err := p.fr.ReadFrame()
			if err != nil {
				t.Fatalf("no answer to %s: %v", data, err)
			}
			if f, ok := f.(*http2.PingFrame); ok && f.IsAck() && string(f.Data[:]) == data {
				return
			}
		}
	}
	pong("12345678")
	if err := p.fr.WriteData(1, false, append(message("second")[6:], message("third")...)); err != nil {
		t.Fatal(err)
	}
	pong("87654321")
	close(free)
	want := string(message("second")) + string(message("third"))
	got := ""
	for got != want {
		f, err := p.fr.ReadFrame()
		if err != nil {
			t.Fatalf("got %q: %v", got, err)
		}
		if f, ok := f.(*http2.DataFrame); ok {
			got += string(f.Data())
		}
	}
}

// Who sends more than the window while nobody receives is let go.
func TestAttendBounds(t *testing.T) {
	o := serverOptions()
	o.Window = 65535
	ended := make(chan error, 1)
	address, _ := accept(t, "tcp", "127.0.0.1:0", o, func(c *h2.Call) error {
		_, err := c.Recv(nil)
		if err == nil {
			stop := attended(c, time.Millisecond)
			time.Sleep(200 * time.Millisecond)
			stop()
			_, err = drain(c)
		}
		ended <- err
		return err
	})
	p := client(t, address)
	if err := errors.Join(p.preface(), p.ask()); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if p.fr.WriteData(1, false, message(string(make([]byte, 10000)))) != nil {
			break // it has left
		}
	}
	within(t, "the end", func() {
		if err := <-ended; status.Code(err) != codes.Unavailable || !strings.Contains(textOf(err), "more than the window") {
			t.Errorf("got %v", err)
		}
	})
}

// A client that has said all still gets more than its window.
func TestAttendHalfClosed(t *testing.T) {
	const total = 40
	address, _ := accept(t, "tcp", "127.0.0.1:0", serverOptions(), func(c *h2.Call) error {
		if _, err := c.Recv(nil); err != io.EOF {
			return err
		}
		defer attended(c, time.Millisecond)()
		for i := range total {
			if err := c.Send(pattern(i, 10000)); err != nil {
				return err
			}
		}
		if _, err := c.Recv(nil); err != io.EOF {
			return err
		}
		return nil
	})
	o := options()
	o.Window = 65535
	c := dial(t, "tcp", address, o)
	if err := c.CloseSend(); err != nil {
		t.Fatal(err)
	}
	within(t, "the end", func() {
		got, err := drain(c)
		if err != io.EOF || len(got) != total || got[total-1] != string(pattern(total-1, 10000)) {
			t.Errorf("%d messages, %v", len(got), err)
		}
	})
}
