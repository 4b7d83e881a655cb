package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"edged/admin"
	"edged/config"
	"edged/gateway"
	"edged/health"
	"edged/netpoll"
	"edged/tuning"
)

func serveCommand() *cobra.Command {
	var path, profile string
	var verbose bool
	c := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the gateway",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := load(path, c.ErrOrStderr())
			if err != nil {
				return err
			}
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			stop, err := startProfile(profile)
			if err != nil {
				return err
			}
			return errors.Join(serve(cfg, c.OutOrStdout(), newLog(c.ErrOrStderr(), level)), stop())
		},
	}
	c.Flags().StringVar(&path, "config", "/etc/edged/edged.toml", "configuration `file`")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "log what concerns single links too")
	c.Flags().StringVar(&profile, "cpuprofile", "", "write a CPU profile to this `file` until the end (make pgo)")
	return c
}

// startProfile writes a CPU profile to path until stop is called; it does nothing without a path.
func startProfile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

// instance is a running gateway with its windows.
type instance struct {
	cfg      *config.Config
	log      *slog.Logger
	started  time.Time
	gateway  *gateway.Gateway
	admin    *admin.Server
	leave    chan struct{}      // an operator wants the process to leave once it is empty
	quit     chan struct{}      // ends trim
	unfollow context.CancelFunc // ends followQueues; nil where nobody follows
	work     sync.WaitGroup
	reports  reports
	people   *people
	files    int        // limit of open files
	passed   []*os.File // sockets of systemd, kept open so that a drain can be taken back

	interfaces health.Source // that its links use; nil: those of this box
}

// passedSockets returns the listening sockets that systemd passed to this process, by their names (FileDescriptorName).
func (i *instance) passedSockets() map[string][]int {
	i.passed = activation.Files(true)
	names := map[string][]int{}
	for _, f := range i.passed {
		names[f.Name()] = append(names[f.Name()], int(f.Fd()))
		if !slices.ContainsFunc(i.cfg.Listeners, func(l gateway.Listener) bool {
			return l.Name == f.Name() || l.Address == "systemd:"+f.Name()
		}) {
			i.log.Warn("a passed socket has no listener of its name", "name", f.Name())
		}
	}
	return names
}

// newInstance takes the sockets that cfg names and starts to serve.
func newInstance(cfg *config.Config, log *slog.Logger) (*instance, error) {
	return startInstance(cfg, log, nil)
}

// startInstance is newInstance for one whose links use other interfaces than those of this box.
func startInstance(cfg *config.Config, log *slog.Logger, interfaces health.Source) (*instance, error) {
	for _, key := range cfg.WithoutEffect() {
		log.Warn("set, but without effect in this version", "key", key)
	}
	i := &instance{
		cfg: cfg, log: log, started: time.Now(), leave: make(chan struct{}, 1), quit: make(chan struct{}), interfaces: interfaces,
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return nil, fmt.Errorf("limit of open files: %w", err)
	}
	i.files = int(min(files.Cur, 1<<30))
	i.people = newPeople(peopleConfig{
		Redis: cfg.Redis.Conn(), Registry: cfg.Registry, Bus: cfg.Bus, Offline: cfg.Offline.Log(),
		Reports: cfg.Health.Interval, MaxFrame: cfg.Gateway.MaxFrame,
	}, log)
	if err := i.open(); err != nil {
		i.people.stop(context.Background())
		return nil, err
	}
	runtime.GOMAXPROCS(netpoll.Procs(i.gateway.Reactors()))
	i.people.join(i.gateway)
	i.gateway.Start()
	i.startReports()
	i.admin.Serve()
	i.work.Go(func() { trim(i.quit, i.gateway.Trim) })
	if i.interfaces == nil {
		ctx, stop := context.WithCancel(context.Background())
		i.unfollow = stop
		i.work.Go(func() { i.followQueues(ctx) })
	}
	return i, nil
}

// open makes the gateway and its windows, and takes their sockets.
func (i *instance) open() error {
	o := gateway.Options{
		Config: i.cfg.Gateway, Listeners: i.cfg.Listeners, Managers: i.cfg.Manager,
		Passed: i.passedSockets(), Version: version, Files: i.files, Log: i.log,
		Queues:   i.queues(),
		Delivery: i.cfg.Delivery, Slow: i.cfg.Slow, Rooms: i.cfg.Rooms,
	}
	i.people.lend(&o)
	var err error
	if i.gateway, err = gateway.New(o); err != nil {
		return err
	}
	if err = i.newReports(); err != nil {
		return err
	}
	i.admin, err = admin.New(i.cfg.Admin, source{i, i.people}, i.log)
	return err
}

func serve(cfg *config.Config, stdout io.Writer, log *slog.Logger) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	recoverTuning(tuning.Box{}, cfg, false, log)
	i, err := newInstance(cfg, log)
	if err != nil {
		return err
	}
	g := i.gateway
	fmt.Fprintf(stdout, "edged %s ready: listening on %s, advertised as %s, %d reactors, capacity %d links\n",
		version, strings.Join(g.Addresses(), ", "), g.Advertise(), g.Reactors(), g.Capacity())
	log.Info("ready", "listen", g.Addresses(), "advertise", g.Advertise(), "reactors", g.Reactors(), "capacity", g.Capacity(),
		"managers", cfg.Manager.Addresses, "admin", i.admin.Addresses())
	if lacksManager(cfg) {
		log.Warn("not ready: " + errNoManager.Error())
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	i.untilToldToLeave(signals)
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	return i.drainAndStop(signals)
}

// untilToldToLeave waits for a signal or the end of `ctl drain --exit`.
func (i *instance) untilToldToLeave(signals <-chan os.Signal) {
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGHUP {
				i.log.Warn("SIGHUP ignored: this version cannot reload; restart it to change its configuration")
				continue
			}
			i.log.Info("leaving", "signal", s.String())
		case <-i.leave:
			i.log.Info("leaving: drained")
		}
		return
	}
}

// drainAndStop sends the links away and ends everything within drain_timeout, or at once when another signal comes.
func (i *instance) drainAndStop(signals <-chan os.Signal) error {
	limit := i.cfg.Gateway.DrainTimeout
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	go func() {
		for s := range signals {
			if s != syscall.SIGHUP {
				i.log.Warn("leaving at once", "signal", s.String())
				cancel()
				return
			}
		}
	}()
	i.reports.monitor.SetDraining(true)
	if limit > 0 {
		i.gateway.Drain(limit * 3 / 4) // the rest is for their farewell and for the last batches
		if err := i.gateway.Wait(ctx); err != nil {
			i.log.Warn("links are cut", "links", i.gateway.Links())
		}
		_ = i.gateway.Farewell(ctx) // who has not taken its last bytes by then is cut too
	}
	return i.stop()
}

// stop ends the gateway and its windows.
func (i *instance) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	close(i.quit)
	if i.unfollow != nil {
		i.unfollow()
	}
	i.work.Wait()
	i.stopReports(ctx)
	err := errors.Join(i.gateway.Stop(ctx), i.admin.Close(ctx))
	i.people.stop(context.Background()) // the links are gone, and nobody asks any more
	i.log.Info("stopped")
	return err
}
