package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"edged/config"
	"edged/demo"
	"edged/health"
	"edged/nic"
)

func demoCommand() *cobra.Command {
	o := demo.Default()
	var keep, fleet, upgrade bool
	var backend string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole chain on this machine, with nothing installed",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			o.Out, o.Log = c.OutOrStdout(), newLog(c.ErrOrStderr(), slog.LevelWarn)
			o.Start = func(cfg *config.Config, log *slog.Logger) (demo.Gateway, error) {
				var interfaces health.Source
				if fleet {
					interfaces = loopback{}
				}
				i, err := startInstance(starting{cfg: cfg, log: log, interfaces: interfaces})
				if err != nil {
					return nil, err
				}
				return shown{i}, nil
			}
			switch {
			case fleet:
				return showFleet(ctx, c, o)
			case upgrade:
				if o.Links < 1 || o.People < 2 || o.Duration < leastUpgrade {
					return fmt.Errorf("the show of upgrades needs a link, two people and %v at least", leastUpgrade)
				}
				return showUpgrade(ctx, o)
			case backend != "":
				return demo.Backend(ctx, backend, o.Out, o.Log)
			case keep:
				if !c.Flags().Changed("listen") {
					o.Listen = "127.0.0.1:7000"
				}
				return demo.Keep(ctx, o)
			case o.Links < 1 || o.People < 2:
				return errors.New("the demo needs a link and two people at least")
			}
			return demo.Run(ctx, o)
		},
	}
	c.Flags().BoolVar(&keep, "keep", false, "start the gateway and the Manager, stay up, and say how to talk to them")
	c.Flags().StringVar(&backend, "manager", "", "serve the reference Manager alone, on this `address`")
	c.Flags().StringVar(&o.Listen, "listen", o.Listen, "the gateway's `address`; with --keep 127.0.0.1:7000")
	c.Flags().IntVar(&o.Links, "links", o.Links, "clients of the swarm")
	c.Flags().IntVar(&o.People, "people", o.People, "people who chat")
	c.Flags().DurationVar(&o.Duration, "duration", o.Duration, "length of the show")
	c.Flags().BoolVar(&fleet, "fleet", false, "show three gateways behind two load balancers: people who write to each other from gateway to gateway, and clients that a dispatch service tells where to go")
	for _, other := range []string{"manager", "listen", "people"} {
		c.MarkFlagsMutuallyExclusive("fleet", other)
	}
	c.Flags().BoolVar(&upgrade, "upgrade", false, "have the gateway's process replaced five times and killed twice, with a keeper beside it, while everybody talks, and say what the clients have noticed")
	c.MarkFlagsMutuallyExclusive("keep", "manager", "fleet", "upgrade")
	return c
}

// fleetLinks is the size of a fleet's swarm, if nothing else is said.
const fleetLinks = 600

// A link of a fleet takes four files, two of them in a load balancer. Beside them each gateway wants to see files to spare.
const (
	filesPerLink = 4
	filesBeside  = 1100
)

// leastUpgrade is the shortest show in which five reloads and two kills come one after the other.
const leastUpgrade = 4 * time.Second

// leastFleet is the shortest show in which the links of a drained gateway have time to come back.
const leastFleet = 3 * time.Second

func showFleet(ctx context.Context, c *cobra.Command, o demo.Options) error {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	possible := (int(min(files.Cur, 1<<30)) - filesBeside) / filesPerLink
	if !c.Flags().Changed("links") {
		o.Links = min(fleetLinks, max(possible, 1))
	}
	switch {
	case o.Links < 1 || o.Duration < leastFleet:
		return fmt.Errorf("the fleet needs a link and %v at least", leastFleet)
	case o.Links > possible:
		return fmt.Errorf("%d open files are too few for a fleet with %d links: --links, ulimit -n", files.Cur, o.Links)
	}
	return demo.Fleet(ctx, o)
}

// shown is an instance as the demo sees it.
type shown struct{ *instance }

func (s shown) Addresses() []string { return s.gateway.Addresses() }
func (s shown) Links() int          { return s.gateway.Links() }
func (s shown) Stop() error         { return s.stop() }

func (s shown) Drain(within time.Duration) {
	s.reports.monitor.SetDraining(true) // first: who is sent away must not be sent here again
	s.gateway.Drain(within)
}

// loopback is the Source of a gateway whose clients are on its own box: what the interfaces carry, or whether they are up at
// all, says nothing about it.
type loopback struct{}

func (loopback) Resolve([]string) (nic.Set, error)         { return nic.Set{}, nil }
func (loopback) Read(int, string) (nic.Counters, error)    { return nic.Counters{}, errors.ErrUnsupported }
func (loopback) Watch(ctx context.Context, _ func()) error { <-ctx.Done(); return ctx.Err() }
func (loopback) Close() error                              { return nil }
