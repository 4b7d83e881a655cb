package main

import (
	"net"
	"strings"
	"testing"
	"time"
)

func TestInTime(t *testing.T) {
	for rate, want := range map[float64]string{10010: "", 9100: "", 8000: "8000 logins a second when 10000 were due"} {
		if err := inTime(report{Connects: rate}); errText(err) != want {
			t.Errorf("at %v: %v", rate, err)
		}
	}
}

// TestStorming: the logins of a row keep their rate, and the gateway has room for them and for the relay.
func TestStorming(t *testing.T) {
	r := loginRows()[0]
	crowd := r.storming(2.5)
	if crowd.links != 25000 || crowd.mode != storm || r.mode != logins || r.capacity() < r.links+loginKept+500 {
		t.Errorf("%+v in a gateway for %d", crowd, r.capacity())
	}
}

// TestStormKeeps: cload opens links at the rate that it is given, and keeps as many as it is told.
func TestStormKeeps(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	most := make(chan int, 1)
	events := make(chan int, 1000)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			events <- 1
			go func() {
				_, _ = c.Read(make([]byte, 1))
				_ = c.Close()
				events <- -1
			}()
		}
	}()
	go func() {
		open, high := 0, 0
		for seen := 0; seen < 2*300; seen++ {
			open += <-events
			high = max(high, open)
		}
		most <- high
	}()
	began := time.Now()
	rep, said, err := runLoad(t, buildC(t, "cload"), nil, "-m", "storm", "-c", "300", "-r", "1000", "-k", "50", "-i", "10", l.Addr().String())
	if err != nil || rep.check(300, 0, true) != nil {
		t.Fatalf("%v, %+v: %s", err, rep, said)
	}
	if took := time.Since(began); took < 290*time.Millisecond || rep.Connects > 1100 {
		t.Errorf("300 links at 1,000 a second took %v, it says %.0f a second", took, rep.Connects)
	}
	select {
	case n := <-most:
		if n < 40 || n > 150 {
			t.Errorf("%d links were open at once, of 50 to keep and 10 on their way", n)
		}
	case <-time.After(programLimit):
		t.Error("not all links were closed")
	}
	_ = l.Close()
}

// TestRedisCalls: what a server says is found, and one that never did it is at 0.
func TestRedisCalls(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			asked := make([]byte, 100)
			n, _ := c.Read(asked)
			if strings.HasPrefix(string(asked[:n]), "INFO commandstats\r\n") {
				_, _ = c.Write([]byte("$99\r\n# Commandstats\r\ncmdstat_hsetnx:calls=9,usec=1\r\ncmdstat_hset:calls=42,usec=7\r\n\r\n+OK\r\n"))
			}
			_ = c.Close()
		}
	}()
	for command, want := range map[string]int{"hset": 42, "hdel": 0} {
		if n, err := redisCalls(l.Addr().String(), command); n != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", command, n, err, want)
		}
	}
	if _, err := redisCalls("127.0.0.1:1", "hset"); err == nil {
		t.Error("nobody answers and nobody minds")
	}
}
