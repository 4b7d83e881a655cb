// Command asks is the load on an address service: it leaves the reports of a fleet in Redis, asks as fast as it is answered, and
// prints a line of JSON. It checks that every answer has all addresses, or as many as it asked for.
//
// The service must know the load balancers lb-0, lb-1 and so on, each with one address.
//
//	asks -redis 127.0.0.1:6379 -pid PID 127.0.0.1:7080
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"golang.org/x/sys/unix"

	"edged/dispatch"
	"edged/redisconn"
)

// patience bounds the wait for the service to know the whole fleet.
const patience = 30 * time.Second

// calm is how long the fleet's first reports, which all come at once, are over before anything is counted.
const calm = 2 * time.Second

type options struct {
	redis, target   string
	boxes, gateways int
	clients, first  int
	pid             int
	window          time.Duration
}

// result is what is printed. CPU is that of the process -pid.
type result struct {
	Requests  uint64  `json:"requests"`
	Rate      float64 `json:"rate"`       // a second
	CPU       float64 `json:"us"`         // µs a request
	RedisIdle float64 `json:"redis_idle"` // commands that Redis carried out in a second without requests
	RedisBusy float64 `json:"redis_busy"` // and with them
}

func main() {
	var o options
	flag.StringVar(&o.redis, "redis", "127.0.0.1:6379", "`address` of the Redis for reports")
	flag.IntVar(&o.boxes, "boxes", 200, "load balancers")
	flag.IntVar(&o.gateways, "gateways", 2000, "gateways behind them")
	flag.IntVar(&o.clients, "c", 32, "connections that ask")
	flag.IntVar(&o.first, "n", 0, "ask for so many addresses; 0: for all")
	flag.IntVar(&o.pid, "pid", 0, "account the CPU of this process")
	flag.DurationVar(&o.window, "d", 2*time.Second, "time to ask, and to look on before")
	flag.Parse()
	o.target = flag.Arg(0)
	r, err := run(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "asks:", err)
		os.Exit(1)
	}
	out, err := json.Marshal(r)
	if err != nil {
		fmt.Fprintln(os.Stderr, "asks:", err)
		os.Exit(1)
	}
	fmt.Println(string(out))
}

func run(o options) (result, error) {
	if o.target == "" || o.boxes < 1 || o.gateways < o.boxes || o.clients < 1 || o.first < 0 {
		return result{}, fmt.Errorf("needs an address, a box at least, a gateway for each box and a client")
	}
	conn := redisconn.Default()
	conn.Addresses = []string{o.redis}
	client := redisconn.New(conn, quiet())
	defer client.Close()
	for end := time.Now().Add(patience); !client.Connected(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return result{}, client.Err()
		}
	}
	stop := fleet(client, o)
	defer stop()
	if err := settle(o); err != nil {
		return result{}, err
	}
	var r result
	var err error
	if r.RedisIdle, err = commands(client, func() error { time.Sleep(o.window); return nil }); err != nil {
		return r, err
	}
	before, err := cpu(o.pid)
	if err != nil {
		return r, err
	}
	began := time.Now()
	r.RedisBusy, err = commands(client, func() (err error) { r.Requests, err = ask(o); return err })
	if err != nil {
		return r, err
	}
	after, err := cpu(o.pid)
	r.Rate = float64(r.Requests) / time.Since(began).Seconds()
	r.CPU = float64(after-before) / float64(time.Microsecond) / float64(max(r.Requests, 1))
	return r, err
}

// fleet reports as so many gateways do, until it is stopped.
func fleet(client *redisconn.Client, o options) (stop func()) {
	var all []*dispatch.Reporter
	for i := range o.gateways {
		id := fmt.Sprintf("10.%d.%d.%d:7000", i>>16&255, i>>8&255, i&255)
		r := dispatch.NewReporter(client, id, 5*time.Second, nil)
		r.Now(dispatch.Report{Address: id, SLB: fmt.Sprint("lb-", i%o.boxes), State: dispatch.StateUp, Version: "bench",
			Availability: 0.2 + 0.6*float64(i%97)/97, Links: i, Capacity: 100_000})
		all = append(all, r)
	}
	return func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // the server ends with the run: nobody needs the keys removed
		var wg sync.WaitGroup
		for _, r := range all {
			wg.Go(func() { r.Stop(ctx) })
		}
		wg.Wait()
	}
}

// settle waits until the service's answer has every load balancer.
func settle(o options) error {
	end := time.Now().Add(patience)
	for {
		have := 0
		if resp, err := http.Get("http://" + o.target + "/v1/addresses"); err == nil {
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			have = bytes.Count(body, []byte(`"address":`))
		}
		if have == o.boxes {
			time.Sleep(calm)
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the answer has %d addresses, not %d", have, o.boxes)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// ask has every client ask for the length of the window.
func ask(o options) (uint64, error) {
	want := o.boxes
	query := ""
	if o.first > 0 {
		want, query = min(o.first, o.boxes), "?n="+strconv.Itoa(o.first)
	}
	request := []byte("GET /v1/addresses" + query + " HTTP/1.1\r\nHost: bench\r\n\r\n")
	end := time.Now().Add(o.window)
	var total atomic.Uint64
	errs := make(chan error, o.clients)
	for range o.clients {
		go func() {
			n, err := askOn(o.target, request, want, end)
			total.Add(n)
			errs <- err
		}()
	}
	for range o.clients {
		if err := <-errs; err != nil {
			return 0, err
		}
	}
	return total.Load(), nil
}

// askOn asks on one connection.
func askOn(target string, request []byte, want int, end time.Time) (n uint64, err error) {
	c, err := net.Dial("tcp", target)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_ = c.SetDeadline(end.Add(patience))
	r := bufio.NewReaderSize(c, 64<<10)
	var body []byte
	for ; time.Now().Before(end); n++ {
		if _, err := c.Write(request); err != nil {
			return n, err
		}
		if body, err = answer(r, body); err != nil {
			return n, err
		}
		// A look at some answers is enough: to count would cost as much as to serve.
		if n%64 == 0 && bytes.Count(body, []byte(`"address":`)) != want {
			return n, fmt.Errorf("an answer has not %d addresses: %.200s", want, body)
		}
	}
	return n, nil
}

// answer reads one answer into body.
func answer(r *bufio.Reader, body []byte) ([]byte, error) {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return body, err
		}
		text := strings.TrimRight(string(line), "\r\n")
		if first && !strings.HasPrefix(text, "HTTP/1.1 200") {
			return body, fmt.Errorf("answered %q", text)
		}
		if v, ok := strings.CutPrefix(text, "Content-Length: "); ok {
			if length, err = strconv.Atoi(v); err != nil {
				return body, err
			}
		}
		if text == "" {
			break
		}
	}
	if length < 0 {
		return body, fmt.Errorf("an answer without Content-Length")
	}
	if cap(body) < length {
		body = make([]byte, length)
	}
	body = body[:length]
	_, err := io.ReadFull(r, body)
	return body, err
}

// commands returns how many commands a second Redis carried out while f ran.
func commands(client *redisconn.Client, f func() error) (float64, error) {
	before, err := processed(client)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := f(); err != nil {
		return 0, err
	}
	took := time.Since(began).Seconds()
	after, err := processed(client)
	return float64(after-before) / took, err
}

func processed(client *redisconn.Client) (uint64, error) {
	text, err := client.Do(context.Background(), func(b rueidis.Builder) rueidis.Completed {
		return b.Info().Section("stats").Build()
	}).ToString()
	if err != nil {
		return 0, err
	}
	_, text, ok := strings.Cut(text, "total_commands_processed:")
	text, _, _ = strings.Cut(text, "\r\n")
	if !ok {
		return 0, fmt.Errorf("INFO has no total_commands_processed")
	}
	return strconv.ParseUint(text, 10, 64)
}

// cpu returns the user and system time of a process (clock_getcpuclockid(3)).
func cpu(pid int) (time.Duration, error) {
	if pid == 0 {
		return 0, nil
	}
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
		return 0, fmt.Errorf("CPU of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}
