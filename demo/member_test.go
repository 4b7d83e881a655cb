package demo_test

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"edged/bus"
	"edged/config"
	"edged/demo"
	"edged/dispatch"
	"edged/gateway"
	"edged/offline"
	"edged/redisconn"
	"edged/registry"
)

// member is a gateway of a fleet as cmd/edged starts it, without its windows, and with reports of its links alone.
type member struct {
	*gateway.Gateway
	slb        string
	redis      *redisconn.Client
	routes     *registry.Routes
	subscriber *bus.Subscriber
	reporter   *dispatch.Reporter
	draining   atomic.Bool
	quit       chan struct{}
	work       sync.WaitGroup
}

// wiring is what a test takes out of a member, or puts in.
type wiring struct {
	log func(gateway.OfflineLog) gateway.OfflineLog // from what the gateway reads stored messages; nil: from Redis
}

// startMember starts a gateway that is known to Redis.
func startMember(cfg *config.Config, log *slog.Logger, w wiring) (demo.Gateway, error) {
	m := &member{slb: cfg.Redis.SLB, quit: make(chan struct{}), redis: redisconn.New(cfg.Redis.Conn(), log)}
	var stored gateway.OfflineLog = offline.New(m.redis, offline.Default())
	if w.log != nil {
		stored = w.log(stored)
	}
	var err error
	m.Gateway, err = gateway.New(gateway.Options{
		Config: cfg.Gateway, Listeners: cfg.Listeners, Managers: cfg.Manager, Version: "test", Files: 4096, Log: log,
		Offline: stored,
	})
	if err != nil {
		m.redis.Close()
		return nil, err
	}
	m.routes = registry.NewRoutes(registry.Options{
		Config: cfg.Registry, Client: m.redis, Directory: m.Directory(), Gateway: m.ID(), Epoch: m.Epoch(),
		AppendLinkID: m.AppendLinkID, Evicted: func(string, string, registry.Route) {}, Routed: m.Routed, Log: log,
	})
	m.subscriber = bus.NewSubscriber(m.redis, m.ID(), m.Receiver(), log)
	m.subscriber.Start()
	m.reporter = dispatch.NewReporter(m.redis, m.ID(), cfg.Health.Interval, log)
	m.Start()
	m.reporter.Now(m.report())
	m.work.Go(m.keepReporting)
	return m, nil
}

func (m *member) keepReporting() {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			m.reporter.Put(m.report())
		case <-m.quit:
			return
		}
	}
}

func (m *member) report() dispatch.Report {
	r := dispatch.Report{
		Address: m.Addresses()[0], SLB: m.slb, State: dispatch.StateUp, Reason: "links",
		Availability: max(0, 1-float64(m.Links())/float64(m.Capacity())), Links: m.Links(), Capacity: m.Capacity(), Epoch: m.Epoch(),
	}
	r.Raw = r.Availability
	if m.draining.Load() {
		r.State, r.Reason, r.Availability = dispatch.StateDraining, "draining", 0
	}
	return r
}

func (m *member) Drain(within time.Duration) {
	m.draining.Store(true)
	m.reporter.Now(m.report())
	m.Gateway.Drain(within)
}

func (m *member) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	close(m.quit)
	m.work.Wait()
	m.reporter.Stop(ctx)
	err := m.Gateway.Stop(ctx)
	m.routes.Stop(ctx)
	m.subscriber.Stop()
	m.redis.Close()
	return err
}

// starts returns an Options.Start whose gateway of that ID is wired otherwise.
func starts(id string, w wiring) func(*config.Config, *slog.Logger) (demo.Gateway, error) {
	return func(cfg *config.Config, log *slog.Logger) (demo.Gateway, error) {
		if cfg.Gateway.ID == id {
			return startMember(cfg, log, w)
		}
		return startMember(cfg, log, wiring{})
	}
}
