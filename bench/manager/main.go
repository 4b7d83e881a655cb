// Command manager is the Manager of the benchmark: it lets every link in as a user of its own and sends DATA back as it
// came. It is built on the SDK, as a backend in Go would be, and does nothing else.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"edged/sdk/manager"
)

// padKey is the session key that fills a session up to its wanted size.
const padKey = "bench.pad"

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to serve gateways at")
	procs := flag.Int("procs", 1, "`processors` of Go's scheduler: what waits for sockets alone is served best by one; 0: as many as CPUs")
	session := flag.Int("session", 150, "`bytes` that the session of a link is filled up to; 0: not at all")
	flag.Parse()
	if *procs > 0 {
		runtime.GOMAXPROCS(*procs)
	}
	if err := run(*listen, *session); err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(1)
	}
}

func run(listen string, session int) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	manager.PaceGC(context.Background())
	m := manager.New(manager.Options{ID: "bench", Handler: handler(session)})
	served := make(chan error, 1)
	go func() { served <- m.Serve(l) }()
	fmt.Println("ready", l.Addr())
	select {
	case err := <-served:
		return err
	case <-stop:
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return m.Stop(ctx)
}

// handler binds each link to a user that no other link has, so that none replaces another.
func handler(session int) manager.Handler {
	var users atomic.Uint64
	return manager.Handler{
		Hello: func(e *manager.Event) {
			user, device := fmt.Sprintf("user%06d", users.Add(1)), "bench"
			check(e.Bind(user, device))
			if n := session - sessionLen(e.Session) - len("user") - len(user) - len("device") - len(device) - len(padKey); n > 0 {
				check(e.Patch(map[string]string{padKey: strings.Repeat("x", n)}, nil))
			}
		},
		Data: func(e *manager.Event) { check(e.Data(e.Payload)) },
	}
}

// sessionLen is the size of a session as the gateway's limit counts it.
func sessionLen(s manager.Session) int {
	n := 0
	_ = s.Each(func(k, v []byte) bool {
		n += len(k) + len(v)
		return true
	})
	return n
}

// check ends the process: an operation that is not sent would only show as a link that waits for ever.
func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(1)
	}
}
