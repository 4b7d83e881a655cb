package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"edged/bus"
	"edged/config"
	"edged/dispatch"
	"edged/netpoll"
	"edged/offline"
	"edged/queue"
	"edged/redisconn"
	"edged/registry"
)

// The times of the fleet. All is five times as quick as in earnest, where a report is written every 5 s: a show is short.
const (
	reportEvery = time.Second
	// correctionTime is to reports as the default is to those of 5 s.
	correctionTime = 3 * reportEvery
	listTTL        = 2 * time.Second
	refreshEvery   = 250 * time.Millisecond
	// retryAfterMost is the window over which clients that are sent away are told to come back, backoffBase what they wait
	// for by themselves.
	retryAfterMost = 500 * time.Millisecond
	backoffBase    = 200 * time.Millisecond
)

// fleetPatience is how long the fleet may take to be complete in Redis.
const fleetPatience = 10 * time.Second

// plan is who stands behind which load balancer. The last one is drained.
var plan = [...]struct{ gateway, slb string }{{"gw-1", "sh-1"}, {"gw-2", "sh-1"}, {"gw-3", "sh-2"}}

// fleet is three gateways with what belongs to them: a Manager, a Redis, a queue layer, two load balancers and a dispatch
// service.
type fleet struct {
	o       Options
	dir     string
	backend string // the Manager's address
	redis   *miniredis.Miniredis
	conn    *redisconn.Client // of all but the gateways and the dispatch service
	reader  *registry.Reader
	stored  *offline.Log
	members []*member
	service *dispatch.Service
	url     string // of the service

	halt    context.CancelFunc // ends work
	work    sync.WaitGroup     // the service, the queue layer and Redis's clock
	closers []func() error     // of what was started, in that order
}

// member is a gateway of the fleet.
type member struct {
	name, slb string
	gateway   Gateway
}

// startFleet builds the fleet, and returns when the dispatch service knows all of it; when ctx ends before that, without one.
func startFleet(ctx context.Context, o Options) (*fleet, error) {
	working, halt := context.WithCancel(context.Background())
	f := &fleet{o: o, halt: halt}
	for _, step := range []func() error{
		func() error { return f.startRedis(working) },
		f.startManager,
		func() error { f.startQueue(working); return nil },
		f.startGateways,
		func() error { return f.joined(ctx) },
		func() error { return f.startService(working) },
		func() error { return f.complete(ctx) },
	} {
		if err := step(); ctx.Err() != nil {
			return nil, f.stop()
		} else if err != nil {
			return nil, errors.Join(err, f.stop())
		}
	}
	return f, nil
}

// stop ends what was started, last things first.
func (f *fleet) stop() error {
	f.halt()
	f.work.Wait()
	var errs []error
	for _, c := range slices.Backward(f.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

func (f *fleet) closeWith(c func() error) { f.closers = append(f.closers, c) }

func (f *fleet) startManager() (err error) {
	if f.dir, err = os.MkdirTemp("", "edged-demo-"); err != nil {
		return err
	}
	f.closeWith(func() error { return os.RemoveAll(f.dir) })
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	f.backend = lis.Addr().String()
	m := NewManager(f.o.Log)
	m.post = queue.NewWriter(f.conn, queue.Default())
	served := make(chan error, 1)
	go func() { served <- m.Serve(lis) }()
	f.closeWith(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return errors.Join(m.Stop(ctx), <-served)
	})
	return nil
}

// startRedis starts a Redis in this process. Its clock stands still unless somebody turns it, and reports would live for ever.
func (f *fleet) startRedis(ctx context.Context) error {
	f.redis = miniredis.NewMiniRedis()
	if err := f.redis.Start(); err != nil {
		return fmt.Errorf("redis of the demo: %w", err)
	}
	f.closeWith(func() error { f.redis.Close(); return nil })
	f.every(ctx, reportEvery/10, func(passed time.Duration) { f.redis.FastForward(passed) })
	f.conn = redisconn.New(f.redisConfig(), f.o.Log)
	f.closeWith(func() error { f.conn.Close(); return nil })
	return nil
}

func (f *fleet) redisConfig() redisconn.Config {
	c := redisconn.Default()
	c.Addresses = []string{f.redis.Addr()}
	return c
}

// every calls g again and again until ctx ends, with the time since the last call.
func (f *fleet) every(ctx context.Context, interval time.Duration, g func(passed time.Duration)) {
	f.work.Go(func() {
		t := time.NewTicker(interval)
		defer t.Stop()
		last := time.Now()
		for {
			select {
			case <-t.C:
				now := time.Now()
				g(now.Sub(last))
				last = now
			case <-ctx.Done():
				return
			}
		}
	})
}

// startQueue starts the queue layer.
func (f *fleet) startQueue(ctx context.Context) {
	f.reader = registry.NewReader(f.conn, registry.Default())
	f.stored = offline.New(f.conn, offline.Default())
	stream := queue.NewStream(f.conn, queue.Default(), f.o.Log)
	publisher := bus.NewPublisher(f.conn, bus.Default())
	f.closeWith(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		publisher.Stop(ctx)
		return nil
	})
	service := queue.New(queue.Options{
		Config: queue.Default(), Source: stream, Offline: f.stored, Reader: f.reader, Publisher: publisher, Logger: f.o.Log,
	})
	f.work.Go(func() { service.Run(ctx) })
	f.work.Go(func() { stream.Keep(ctx) })
}

func (f *fleet) startGateways() error {
	for _, p := range plan {
		cfg := config.Default()
		cfg.Listeners[0].Address = "127.0.0.1:0"
		cfg.Manager.Addresses = []string{f.backend}
		cfg.Admin.Listen = []string{"unix:" + filepath.Join(f.dir, p.gateway+".sock")}
		g := &cfg.Gateway
		g.ID, g.Reactors, g.Capacity, g.RetryAfterMax = p.gateway, 1, max(f.o.Links, 2), retryAfterMost
		cfg.Redis.Addresses, cfg.Redis.SLB, cfg.Health.Interval = []string{f.redis.Addr()}, p.slb, reportEvery
		started, err := f.o.Start(cfg, f.o.Log)
		if err != nil {
			return fmt.Errorf("%s: %w", p.gateway, err)
		}
		f.closeWith(started.Stop)
		f.members = append(f.members, &member{p.gateway, p.slb, started})
	}
	runtime.GOMAXPROCS(netpoll.Procs(len(plan)) + swarmProcs)
	return nil
}

// joined waits until Redis knows the gateways: they have reported, their users count as online, and they listen.
func (f *fleet) joined(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fleetPatience)
	defer cancel()
	return wait(ctx, "the gateways to join the fleet", func() (bool, error) {
		for _, p := range plan {
			channel := bus.Channel(p.gateway)
			there := f.redis.Exists("edged:gw:{"+p.gateway+"}") && f.redis.Exists("edged:lease:{"+p.gateway+"}")
			if !there || f.redis.PubSubNumSub(channel)[channel] == 0 {
				return false, nil
			}
		}
		return true, nil
	})
}

// startService starts the load balancers and the dispatch service that names them.
func (f *fleet) startService(ctx context.Context) error {
	var slbs []dispatch.SLB
	for _, name := range balancerNames() {
		var gateways []string
		for _, m := range f.members {
			if m.slb == name {
				gateways = append(gateways, m.gateway.Addresses()[0])
			}
		}
		b, err := newBalancer(gateways)
		if err != nil {
			return err
		}
		f.closeWith(b.close)
		slbs = append(slbs, dispatch.SLB{Name: name, Addresses: []string{b.address()}})
	}
	c := dispatch.Default()
	c.Listen, c.Refresh, c.TTL, c.Correction = []string{"127.0.0.1:0"}, refreshEvery, listTTL, correctionTime
	c.Backoff.Base = backoffBase
	conn := redisconn.New(f.redisConfig(), f.o.Log)
	f.closeWith(func() error { conn.Close(); return nil })
	var err error
	f.service, err = dispatch.NewService(dispatch.Options{
		Config: c, SLBs: slbs, Fleets: dispatch.NewFleetReader(conn, reportEvery, f.o.Log), Log: f.o.Log,
	})
	if err != nil {
		return err
	}
	return f.serve(ctx, c)
}

// serve opens the dispatch service's address.
func (f *fleet) serve(ctx context.Context, c dispatch.Config) error {
	server, err := dispatch.NewServer(c, f.service.Handler(), f.o.Links+64, f.o.Log)
	if err != nil {
		return err
	}
	f.work.Go(func() { f.service.Run(ctx) })
	server.Serve()
	f.closeWith(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return server.Close(ctx)
	})
	f.url = "http://" + server.Addresses()[0] + "/v1/addresses"
	return nil
}

func balancerNames() (names []string) {
	for _, p := range plan {
		if !slices.Contains(names, p.slb) {
			names = append(names, p.slb)
		}
	}
	return names
}

// complete waits until the dispatch service knows that each gateway has room.
func (f *fleet) complete(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fleetPatience)
	defer cancel()
	return wait(ctx, "the dispatch service to see room on all gateways", func() (bool, error) {
		room := 0.0
		for _, b := range f.service.Stats().Balancers {
			room += b.Availability
		}
		return room > float64(len(plan))-0.5, nil
	})
}
