package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"edged/admin"
	"edged/config"
	"edged/dispatch"
	"edged/health"
	"edged/redisconn"
)

func dispatchCommand() *cobra.Command {
	var path string
	var verbose bool
	c := &cobra.Command{
		Use:   "dispatch --config FILE",
		Short: "Run the address service: tells clients where to connect",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.LoadDispatch(path)
			if err != nil {
				return explain(err, c.ErrOrStderr())
			}
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			return runDispatch(cfg, c.OutOrStdout(), newLog(c.ErrOrStderr(), level))
		},
	}
	c.Flags().StringVar(&path, "config", "/etc/edged/dispatch.toml", "configuration `file`")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "log each request too")
	return c
}

const (
	spareFiles  = 64      // for Redis, the admin interface and certificates
	mostClients = 1 << 20 // connections; more would not fit into memory
)

// dispatcher is a running dispatch service with its windows.
type dispatcher struct {
	cfg     *config.Dispatch
	log     *slog.Logger
	started time.Time
	redis   *redisconn.Client
	service *dispatch.Service
	server  *dispatch.Server
	admin   *admin.Server
	cancel  context.CancelFunc // ends service.Run
	work    sync.WaitGroup
}

// newDispatcher takes the sockets that cfg names and begins to read the fleet.
func newDispatcher(cfg *config.Dispatch, log *slog.Logger) (*dispatcher, error) {
	d := &dispatcher{cfg: cfg, log: log, started: time.Now()}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return nil, fmt.Errorf("limit of open files: %w", err)
	}
	d.redis = redisconn.New(cfg.Redis, log)
	fleets := dispatch.NewFleetReader(d.redis, health.Default().Interval, log)
	var err error
	d.service, err = dispatch.NewService(dispatch.Options{Config: cfg.Dispatch, SLBs: cfg.SLBs, Fleets: fleets, Log: log})
	if err == nil {
		conns := max(int(min(files.Cur, mostClients))-spareFiles, spareFiles)
		d.server, err = dispatch.NewServer(cfg.Dispatch, d.service.Handler(), conns, log)
	}
	if err == nil {
		d.admin, err = admin.New(cfg.Admin, dispatchSource{d}, log)
	}
	if err != nil {
		return nil, errors.Join(err, d.release())
	}
	var ctx context.Context
	ctx, d.cancel = context.WithCancel(context.Background())
	d.work.Go(func() { d.service.Run(ctx) })
	return d, nil
}

// release gives up what newDispatcher took, when it cannot go on.
func (d *dispatcher) release() error {
	d.redis.Close()
	if d.server == nil {
		return nil
	}
	return d.server.Close(context.Background()) // it has not served anybody
}

func runDispatch(cfg *config.Dispatch, stdout io.Writer, log *slog.Logger) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	d, err := newDispatcher(cfg, log)
	if err != nil {
		return err
	}
	d.admin.Serve()
	if d.begin(signals) {
		addresses := d.server.Addresses()
		fmt.Fprintf(stdout, "edged %s ready: dispatch listening on %s, %d load balancers configured\n", version, strings.Join(addresses, ", "), len(cfg.SLBs))
		log.Info("ready", "listen", addresses, "slbs", len(cfg.SLBs), "mode", cfg.Dispatch.Mode, "redis", cfg.Redis.Addresses, "admin", d.admin.Addresses())
		_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
		d.untilToldToLeave(signals)
		_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	}
	return d.stop()
}

// begin answers clients as soon as the fleet is known, or is known not to be there. Clients wait that long: in a crowd that
// comes at the start nobody is sent by guess. It returns false if a signal came first.
func (d *dispatcher) begin(signals <-chan os.Signal) bool {
	for {
		select {
		case <-d.service.Began():
			d.server.Serve()
			return true
		case s := <-signals:
			if s != syscall.SIGHUP {
				return false
			}
		}
	}
}

func (d *dispatcher) untilToldToLeave(signals <-chan os.Signal) {
	for s := range signals {
		if s != syscall.SIGHUP {
			d.log.Info("leaving", "signal", s.String())
			return
		}
		d.log.Warn("SIGHUP ignored: a changed certificate is found without it; restart for another configuration")
	}
}

// stop lets requests at work finish, and ends everything.
func (d *dispatcher) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	err := d.server.Close(ctx)
	d.cancel()
	d.work.Wait()
	d.redis.Close()
	err = errors.Join(err, d.admin.Close(ctx))
	d.log.Info("stopped")
	return err
}

// dispatchSource is what the windows show of a dispatcher.
type dispatchSource struct{ *dispatcher }

// Healthy is nil while the fleet is read, or tried to be.
func (s dispatchSource) Healthy() error { return s.service.Healthy() }

// Ready is nil while clients get an answer, a stale one too.
func (s dispatchSource) Ready() error { return s.service.Ready() }

// Drain is nothing that a dispatch service could do: clients keep no connection to it.
func (s dispatchSource) Drain(context.Context, admin.DrainRequest) error {
	return errors.New("a dispatch service has no links to send away; stop it")
}

// Status is the service at a glance.
func (s dispatchSource) Status() admin.Status {
	out := admin.Status{
		ID: "dispatch", Version: version, State: admin.StateUp, PID: os.Getpid(), Started: s.started, At: time.Now(),
		Listeners: s.server.Addresses(),
	}
	st := s.service.Stats()
	switch err := s.Ready(); {
	case err != nil:
		out.State, out.Reason = admin.StateDown, err.Error()
	case st.Stale:
		out.Reason = "the fleet cannot be read: answers are stale"
	case st.Degraded:
		out.Reason = fmt.Sprintf("%d gateways are missing and believed to be there", st.Missing)
	}
	return out
}
