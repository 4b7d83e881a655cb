package main

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"edged/redisconn/redistest"
)

// service answers as an address service does, with so many addresses where a client asks for all.
func service(t *testing.T, addresses int) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := addresses
		if first := r.URL.Query().Get("n"); first != "" {
			k, err := strconv.Atoi(first)
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			n = min(n, k)
		}
		body := strings.Repeat(`{"address":"192.0.2.1:7000"}`, n)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestAsk(t *testing.T) {
	o := options{target: service(t, 5), boxes: 5, gateways: 5, clients: 3, window: 100 * time.Millisecond}
	for _, o.first = range []int{0, 2, 9} {
		if n, err := ask(o); err != nil || n == 0 {
			t.Errorf("n=%d: %d requests, %v", o.first, n, err)
		}
	}
	o.first, o.boxes = 0, 6
	if _, err := ask(o); err == nil || !strings.Contains(err.Error(), "not 6 addresses") {
		t.Errorf("an answer that lacks one: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.target = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(o); err == nil {
		t.Error("nobody listens, and there is no error")
	}
}

func TestAnswer(t *testing.T) {
	good := "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y\r\n\r\nabc"
	r := bufio.NewReader(strings.NewReader(good + good))
	var body []byte
	for range 2 {
		var err error
		if body, err = answer(r, body); err != nil || string(body) != "abc" {
			t.Errorf("%q, %v", body, err)
		}
	}
	for _, bad := range []string{"", "HTTP/1.1 503 no\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"} {
		if _, err := answer(bufio.NewReader(strings.NewReader(bad)), nil); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestRun plays a small fleet against a Redis; the service is a fake, which knows its addresses without it.
func TestRun(t *testing.T) {
	redis := redistest.Start(t)
	o := options{redis: redis.Addr, target: service(t, 2), boxes: 2, gateways: 4, clients: 2, pid: os.Getpid(), window: 200 * time.Millisecond}
	r, err := run(o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Requests == 0 || r.CPU <= 0 || r.RedisIdle < 0 || r.Rate <= 0 {
		t.Errorf("%+v", r)
	}
	if _, err := run(options{}); err == nil {
		t.Error("nothing to ask, and no error")
	}
	if _, err := cpu(1 << 22); err == nil {
		t.Error("the CPU of a process that cannot be")
	}
}
