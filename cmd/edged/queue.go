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
	"edged/bus"
	"edged/config"
	"edged/offline"
	"edged/queue"
	"edged/redisconn"
	"edged/registry"
)

func queueCommand() *cobra.Command {
	var path string
	var verbose bool
	c := &cobra.Command{
		Use:   "queue --config FILE",
		Short: "Run the queue layer: takes messages, stores them, gets them to their users",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.LoadQueue(path)
			if err != nil {
				return explain(err, c.ErrOrStderr())
			}
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			return runQueue(cfg, c.OutOrStdout(), newLog(c.ErrOrStderr(), level))
		},
	}
	c.Flags().StringVar(&path, "config", "/etc/edged/queue.toml", "configuration `file`")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "log more")
	return c
}

// queuer is a running queue layer with its windows.
type queuer struct {
	cfg       *config.Queue
	log       *slog.Logger
	started   time.Time
	redis     *redisconn.Client
	stream    *queue.Stream
	stored    *offline.Log
	reader    *registry.Reader
	publisher *bus.Publisher
	service   *queue.Service
	handler   *queue.Handler
	server    *queue.Server
	admin     *admin.Server
	cancel    context.CancelFunc // ends service.Run
	leave     context.CancelFunc // ends stream.Keep
	work      sync.WaitGroup     // service.Run
	keep      sync.WaitGroup     // stream.Keep
}

// newQueuer takes the sockets that cfg names and begins to work.
func newQueuer(cfg *config.Queue, log *slog.Logger) (*queuer, error) {
	q := &queuer{cfg: cfg, log: log, started: time.Now()}
	q.redis = redisconn.New(cfg.Redis, log)
	var err error
	if q.handler, err = queue.NewHandler(queue.NewWriter(q.redis, cfg.Queue), cfg.Queue); err == nil {
		q.server, err = queue.NewServer(cfg.Queue, q.handler, log)
	}
	if err == nil {
		q.admin, err = admin.New(cfg.Admin, queueSource{q}, log)
	}
	if err != nil {
		return nil, errors.Join(err, q.release())
	}
	q.stream = queue.NewStream(q.redis, cfg.Queue, log)
	q.stored = offline.New(q.redis, cfg.Offline)
	q.reader = registry.NewReader(q.redis, presenceUntouched())
	q.publisher = bus.NewPublisher(q.redis, cfg.Bus)
	q.service = queue.New(queue.Options{
		Config: cfg.Queue, Source: q.stream, Offline: q.stored, Reader: q.reader, Publisher: q.publisher, Logger: log,
	})
	var running, living context.Context
	running, q.cancel = context.WithCancel(context.Background())
	living, q.leave = context.WithCancel(context.Background())
	q.work.Go(func() { q.service.Run(running) })
	q.keep.Go(func() { q.stream.Keep(living) })
	return q, nil
}

// presenceUntouched lets the gateways say how long edged:presence is: what this process adds to it never trims more.
func presenceUntouched() registry.Config {
	c := registry.Default()
	c.Events = 100_000_000
	return c
}

// release gives up what newQueuer took, when it cannot go on.
func (q *queuer) release() error {
	q.redis.Close()
	if q.server == nil {
		return nil
	}
	return q.server.Close(context.Background()) // it has not served anybody
}

func runQueue(cfg *config.Queue, stdout io.Writer, log *slog.Logger) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	q, err := newQueuer(cfg, log)
	if err != nil {
		return err
	}
	q.admin.Serve()
	q.server.Serve()
	where := "no HTTP"
	if a := q.server.Addresses(); len(a) > 0 {
		where = "listening on " + strings.Join(a, ", ")
	}
	fmt.Fprintf(stdout, "edged %s ready: queue %s in group %s, %s\n", version, q.stream.Consumer(), cfg.Queue.Group, where)
	log.Info("ready", "consumer", q.stream.Consumer(), "group", cfg.Queue.Group, "listen", q.server.Addresses(), "redis", cfg.Redis.Addresses,
		"admin", q.admin.Addresses())
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	for s := range signals {
		if s != syscall.SIGHUP {
			log.Info("leaving", "signal", s.String())
			break
		}
		log.Warn("SIGHUP ignored: restart for another configuration")
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	return q.stop()
}

// stop lets requests at work and what was read be finished, and ends everything.
func (q *queuer) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := q.server.Close(ctx)
	q.cancel()
	q.work.Wait()
	q.leave()
	q.keep.Wait()
	if e := q.stream.Leave(ctx); e != nil {
		q.log.Warn("the consumer stays in the group", "err", e)
	}
	q.publisher.Stop(ctx)
	err = errors.Join(err, q.admin.Close(ctx))
	q.redis.Close()
	q.log.Info("stopped")
	return err
}

// queueSource is what the windows show of a queue layer.
type queueSource struct{ *queuer }

// Healthy is nil while the service runs.
func (s queueSource) Healthy() error { return s.service.Healthy() }

// Ready is nil while messages go through.
func (s queueSource) Ready() error {
	if err := s.service.Ready(); err != nil {
		return err
	}
	return s.stream.Err()
}

// Drain is nothing that a queue layer could do: it has no links.
func (s queueSource) Drain(context.Context, admin.DrainRequest) error {
	return errors.New("a queue layer has no links to send away; stop it")
}

// Status is the service at a glance.
func (s queueSource) Status() admin.Status {
	out := admin.Status{
		ID: s.stream.Consumer(), Version: version, State: admin.StateUp, PID: os.Getpid(), Started: s.started, At: time.Now(),
		Listeners: s.server.Addresses(),
	}
	st := s.service.Stats()
	out.MessagesIn, out.MessagesOut = st.Read, st.Finished
	b, known := s.stream.Backlog()
	switch err := s.Ready(); {
	case err != nil:
		out.State, out.Reason = admin.StateDown, err.Error()
	case known && b.Oldest > lateFrom:
		out.Reason = fmt.Sprintf("behind: %d entries in the stream, the oldest for %v", b.Length, b.Oldest.Round(time.Second))
	}
	return out
}

// lateFrom is the age of a message from which on the status says that the layer is behind.
const lateFrom = 5 * time.Second
