package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"edged/config"
	"edged/swarm"
)

// Gateway is what the demo needs of a gateway; the composition root starts it.
type Gateway interface {
	Addresses() []string
	Links() int
	Drain(within time.Duration) // stop accepting, and send the links away over that time
	Stop() error
}

// Options say what is shown.
type Options struct {
	Start    func(cfg *config.Config, log *slog.Logger) (Gateway, error)
	Listen   string        // the gateway's address
	Links    int           // of the swarm
	People   int           // who chat
	Duration time.Duration // of the show
	Deeds    Deeds
	Out      io.Writer
	Log      *slog.Logger // trouble goes there
}

// Default returns the show of `edged demo`.
func Default() Options {
	return Options{Listen: "127.0.0.1:0", Links: 1000, People: 10, Duration: 15 * time.Second}
}

// swarmProcs is what the goroutines and reactors of Manager and swarm need beside the gateway's reactors.
const swarmProcs = 4

// ErrWrong means that something was lost or wrong; what it was stands in the output.
var ErrWrong = errors.New("demo: something was lost or wrong")

// chain is everything but the clients.
type chain struct {
	dir     string
	manager *Manager
	served  chan error
	gateway Gateway
	address string // the gateway's
	backend string // the Manager's
}

// start builds the chain: the Manager first, then the gateway.
func start(o Options) (c *chain, err error) {
	c = &chain{manager: NewManager(o.Log), served: make(chan error, 1)}
	if c.dir, err = os.MkdirTemp("", "edged-demo-"); err != nil {
		return nil, err
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(c.dir))
	}
	c.backend = lis.Addr().String()
	go func() { c.served <- c.manager.Serve(lis) }()
	cfg := config.Default()
	cfg.Listeners[0].Address = o.Listen
	cfg.Manager.Addresses = []string{c.backend}
	cfg.Admin.Listen = []string{"unix:" + c.adminSocket()}
	if c.gateway, err = o.Start(cfg, o.Log); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + swarmProcs)
	c.address = c.gateway.Addresses()[0]
	return c, nil
}

func (c *chain) adminSocket() string { return filepath.Join(c.dir, "admin.sock") }

func (c *chain) stop() error {
	var err error
	if c.gateway != nil {
		err = c.gateway.Stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = errors.Join(err, c.manager.Stop(ctx))
	return errors.Join(err, <-c.served, os.RemoveAll(c.dir))
}

// Run shows the chain at work until o.Duration is over or ctx ends. It returns ErrWrong if anything was lost or wrong.
func Run(ctx context.Context, o Options) error {
	c, err := start(o)
	if err != nil {
		return err
	}
	err = c.show(ctx, o)
	return errors.Join(err, c.stop())
}

func (c *chain) show(ctx context.Context, o Options) error {
	fmt.Fprintf(o.Out, "gateway on %s, Manager on %s, %d clients and %d people who chat; %v, or until Ctrl-C\n\n",
		c.address, c.backend, o.Links, o.People, o.Duration)
	talk, err := startChat(ctx, c.address, o.People)
	if err != nil {
		return err
	}
	talking, hush := context.WithCancel(ctx)
	talked := make(chan struct{})
	go func() { talk.run(talking); close(talked) }()

	cfg := swarm.Default()
	cfg.Target, cfg.Links, cfg.Duration, cfg.Checker, cfg.Loops = []string{c.address}, o.Links, o.Duration, true, 1
	cfg.Rate, cfg.Pushes, cfg.Reconnect = swarmRate*float64(o.Links), pushEvery, o.Deeds.Break
	o.Out = &oneByOne{w: o.Out}
	done := make(chan error, 1)
	go func() { done <- o.Deeds.do(talking, o) }()
	report, err := swarm.Run(ctx, cfg, func(p swarm.Progress) { progressLine(o.Out, p, talk) })
	hush()
	err = errors.Join(err, <-done)
	<-talked
	words, wrong := talk.finish()
	if err != nil {
		return err
	}
	if len(o.Deeds.List) > 0 {
		defer func() { upgradeLine(o.Out, &report, o.Deeds.Name) }()
	}
	return summary(o.Out, &report, words, wrong, o.Deeds.Break)
}

// pushEvery is which of a client's messages comes back as a push.
const pushEvery = 5

// swarmRate is how many messages a second each client of the swarm sends.
const swarmRate = 10

func progressLine(w io.Writer, p swarm.Progress, talk *chat) {
	heard, wrong := talk.words()
	fmt.Fprintf(w, "%4.0fs  %-6s  %6d links  %8.0f messages/s  p50 %-9v p99 %-9v  %5d chat words  %d errors\n",
		p.Elapsed.Seconds(), p.Phase, p.Links, p.Answered, short(p.P50), short(p.P99), heard, p.Errors+uint64(wrong))
}

func short(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

// summary says how it went. Where links may break, what was on its way then is no fault.
func summary(w io.Writer, r *swarm.Report, words int, wrong []string, mayBreak bool) error {
	fmt.Fprintln(w)
	if err := r.WriteText(w); err != nil {
		return err
	}
	fmt.Fprintf(w, "chat: %d words said and heard\n", words)
	for _, line := range wrong {
		fmt.Fprintln(w, "wrong:", line)
	}
	if good := r.OK() || mayBreak && r.Faults() == 0; !good || len(wrong) > 0 {
		return ErrWrong
	}
	fmt.Fprintln(w, "\nnothing was lost, doubled, out of order or wrong")
	return nil
}

// Keep starts the chain without clients, says how to talk to it, and leaves it up until ctx ends.
func Keep(ctx context.Context, o Options) error {
	c, err := start(o)
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(c.address)
	if err != nil {
		return errors.Join(err, c.stop())
	}
	fmt.Fprintf(o.Out, `edged demo ready: gateway on %[1]s, Manager on %[2]s; Ctrl-C ends it

  python3 docs/client.py %[3]s %[4]s hello
  edged swarm --target %[1]s --links 1000 --duration 10s --checker
  edged ctl --socket %[5]s status
  curl --unix-socket %[5]s http://edged/metrics

`, c.address, c.backend, host, port, c.adminSocket())
	<-ctx.Done()
	return c.stop()
}

// Backend serves the reference Manager alone, on address, until ctx ends.
func Backend(ctx context.Context, address string, w io.Writer, log *slog.Logger) error {
	lis, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	m := NewManager(log)
	served := make(chan error, 1)
	go func() { served <- m.Serve(lis) }()
	fmt.Fprintf(w, "edged demo Manager ready on %s\n", lis.Addr())
	select {
	case <-ctx.Done():
	case err := <-served:
		return err
	}
	stop, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(m.Stop(stop), <-served)
}
