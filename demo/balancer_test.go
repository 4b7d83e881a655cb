package demo

import (
	"io"
	"net"
	"testing"
	"time"
)

// patience bounds every wait of these tests.
const patience = 10 * time.Second

// names serves its name to each connection, then what it gets, until that ends.
func names(t *testing.T, name string) (address string, stop func()) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop = func() { _ = lis.Close() }
	t.Cleanup(stop)
	go func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = io.WriteString(c, name)
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return lis.Addr().String(), stop
}

// visit says something and returns all that is heard.
func visit(t *testing.T, b *balancer, say string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", b.address(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, say)
	_ = c.(*net.TCPConn).CloseWrite() // the end of one side goes through, and the other side's answer comes back
	heard, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(heard)
}

func TestBalancerTakesTurns(t *testing.T) {
	a, _ := names(t, "a:")
	c, stop := names(t, "b:")
	b, err := newBalancer([]string{a, c})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		if got, want := visit(t, b, "hello"), []string{"a:hello", "b:hello"}[i%2]; got != want {
			t.Errorf("visit %d heard %q, want %q", i, got, want)
		}
	}
	stop() // from now on b refuses
	for range 3 {
		if got := visit(t, b, "x"); got != "a:x" {
			t.Errorf("heard %q", got)
		}
	}
	if err := b.close(); err != nil {
		t.Error(err)
	}
}

func TestBalancerWithoutAnybody(t *testing.T) {
	a, stop := names(t, "a:")
	stop()
	b, err := newBalancer([]string{a})
	if err != nil {
		t.Fatal(err)
	}
	if got := visit(t, b, ""); got != "" {
		t.Errorf("heard %q", got)
	}
	if err := b.close(); err != nil {
		t.Error(err)
	}
}

// close ends connections that nobody else ends, and waits for them.
func TestBalancerCloses(t *testing.T) {
	a, _ := names(t, "a")
	b, err := newBalancer([]string{a})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", b.address())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil { // it is through
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- b.close() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("close hangs")
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection lives")
	}
}
