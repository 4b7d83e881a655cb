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

	"github.com/spf13/cobra"

	"edged/admin"
	"edged/config"
	"edged/gateway"
	"edged/handover"
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
			// First of all: what is open now was passed on, or not.
			before, err := handover.Receive()
			if err != nil {
				return err
			}
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			s := starting{log: newLog(c.ErrOrStderr(), level), path: path, before: before}
			if s.cfg, err = config.Load(path); err != nil {
				return explain(s.leave(err), c.ErrOrStderr())
			}
			stop, err := startProfile(profile)
			if err != nil {
				return s.leave(err)
			}
			return errors.Join(s.leave(serve(s, c.OutOrStdout())), stop())
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
	started  time.Time // the cold start
	gateway  *gateway.Gateway
	admin    *admin.Server
	leave    chan struct{}      // an operator wants the process to leave once it is empty
	quit     chan struct{}      // ends trim
	unfollow context.CancelFunc // ends followQueues; nil where nobody follows
	work     sync.WaitGroup
	reports  reports
	people   *people
	files    int // limit of open files
	sockets  []handover.Socket
	counters counters
	succession

	interfaces health.Source // that its links use; nil: those of this box
}

// starting is what an instance is made of.
type starting struct {
	cfg        *config.Config
	log        *slog.Logger
	interfaces health.Source // that its links use; nil: those of this box

	// Of a process of its own.
	path       string                // of the configuration
	before     *handover.Predecessor // whose links it takes over; nil: there is none
	supervisor *handover.Systemd     // nil: there is none
	sockets    []handover.Socket     // that systemd passed
}

// passed returns the listening sockets that systemd passed, by their names (FileDescriptorName). They stay open, so that a
// drain can be taken back.
func (i *instance) passed() map[string][]int {
	names := map[string][]int{}
	for _, s := range i.sockets {
		names[s.Name] = append(names[s.Name], s.FD)
		if !slices.ContainsFunc(i.cfg.Listeners, func(l gateway.Listener) bool {
			return l.Name == s.Name || l.Address == "systemd:"+s.Name
		}) {
			i.log.Warn("a passed socket has no listener of its name", "name", s.Name)
		}
	}
	return names
}

// newInstance takes the sockets that cfg names and starts to serve.
func newInstance(cfg *config.Config, log *slog.Logger) (*instance, error) {
	return startInstance(starting{cfg: cfg, log: log})
}

// startInstance starts to serve: with the links of a process before this one, if there is one.
func startInstance(s starting) (*instance, error) {
	i := &instance{
		cfg: s.cfg, log: s.log, started: time.Now(), leave: make(chan struct{}, 1), quit: make(chan struct{}),
		interfaces: s.interfaces, sockets: s.sockets,
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return nil, fmt.Errorf("limit of open files: %w", err)
	}
	i.files = int(min(files.Cur, 1<<30))
	i.people = newPeople(peopleConfig{
		Redis: s.cfg.Redis.Conn(), Registry: s.cfg.Registry, Bus: s.cfg.Bus, Offline: s.cfg.Offline.Log(),
		Reports: s.cfg.Health.Interval, MaxFrame: s.cfg.Gateway.MaxFrame,
	}, s.log)
	got, err := i.open(s.before)
	if err == nil && s.path != "" {
		err = i.prepareReloads(s)
	}
	if err == nil && s.before != nil {
		err = s.before.Ready()
	}
	if err != nil {
		i.keeping.refuse()
		i.people.stop(context.Background())
		return nil, err
	}
	i.run(got)
	if s.before != nil {
		i.takenOver(s.before, got)
	}
	if got.own.Exit {
		i.leaveWhenEmpty()
	}
	return i, nil
}

// open makes the gateway and its windows, and takes their sockets. Of what another process serves it touches nothing.
func (i *instance) open(before *handover.Predecessor) (*inherited, error) {
	if err := fault("serve"); err != nil {
		return nil, err
	}
	queues := i.queues() // takes its time: before the links stand still
	if before != nil || i.cfg.Keeper.Enabled {
		netpoll.GrowFiles(i.mostConnections())
	}
	got, err := i.inherit(before)
	if err != nil {
		return nil, err
	}
	if before == nil {
		got = i.revive()
	}
	o := gateway.Options{
		Config: i.cfg.Gateway, Listeners: i.cfg.Listeners, Managers: i.cfg.Manager,
		Passed: i.passed(), Version: version, Files: i.files, Log: i.log,
		Queues: queues, Inherit: got.gateway,
		Delivery: i.cfg.Delivery, Slow: i.cfg.Slow, Rooms: i.cfg.Rooms,
	}
	i.people.lend(&o)
	if err = i.newGateway(o, got); err != nil {
		return nil, err
	}
	if err = i.newReports(got.own.Health); err != nil {
		return nil, err
	}
	if before == nil {
		i.admin, err = admin.New(i.cfg.Admin, source{i, i.people}, i.log)
	} else {
		i.admin, err = admin.NewFrom(i.cfg.Admin, source{i, i.people}, i.log, got.adminSocket)
	}
	return got, err
}

// mostConnections is how many connections the gateway's reactors may have room for: see gateway.Config.Capacity.
func (i *instance) mostConnections() int {
	c := i.cfg.Gateway
	if c.Capacity == 0 {
		return i.files
	}
	const besideShare = 2 << 10 // of each reactor
	return min(i.files, 2*c.Capacity+besideShare*max(c.Reactors, runtime.NumCPU()))
}

// run lets everything go on.
func (i *instance) run(got *inherited) {
	runtime.GOMAXPROCS(netpoll.Procs(i.gateway.Reactors()))
	i.gateway.Start()
	i.people.join(i.gateway, got.names, got.resumed())
	if i.gateway.Draining() { // as it was handed over
		i.reports.monitor.SetDraining(true)
	}
	i.startReports()
	i.keep()
	i.admin.Serve()
	i.work.Go(func() { trim(i.quit, i.gateway.Trim) })
	if i.interfaces == nil {
		ctx, stop := context.WithCancel(context.Background())
		i.unfollow = stop
		i.work.Go(func() { i.followQueues(ctx) })
	}
}

func serve(s starting, stdout io.Writer) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	var err error
	s.supervisor = handover.NewSystemd()
	if s.before == nil {
		if s.sockets, err = handover.ListenFDs(); err != nil {
			return err
		}
		recoverTuning(tuning.Box{}, s.cfg, false, s.log)
	}
	i, err := startInstance(s)
	if err != nil {
		return err
	}
	g := i.gateway
	fmt.Fprintf(stdout, "edged %s ready: listening on %s, advertised as %s, %d reactors, capacity %d links\n",
		version, strings.Join(g.Addresses(), ", "), g.Advertise(), g.Reactors(), g.Capacity())
	s.log.Info("ready", "listen", g.Addresses(), "advertise", g.Advertise(), "reactors", g.Reactors(), "capacity", g.Capacity(),
		"managers", s.cfg.Manager.Addresses, "admin", i.admin.Addresses())
	if lacksManager(s.cfg) {
		s.log.Warn("not ready: " + errNoManager.Error())
	}
	i.tell(s.supervisor)
	why := i.untilToldToLeave(signals)
	if why == succeeded {
		return i.leaveToSuccessor()
	}
	i.stays.Store(true)
	i.callOff()
	if why == signalled && !g.Draining() && i.keeping.leaves() {
		return i.leaveToKeeper(s.supervisor, signals)
	}
	if s.supervisor != nil {
		_ = s.supervisor.Notify("STOPPING=1", "STATUS=draining")
	}
	return i.drainAndStop(signals)
}

// leaving is why a process ends.
type leaving int

const (
	signalled leaving = iota // by a signal
	emptied                  // the end of `ctl drain --exit`
	succeeded                // another process serves
)

func (i *instance) untilToldToLeave(signals <-chan os.Signal) leaving {
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGHUP {
				_ = fault("hangup")
				i.work.Go(i.reloadBySignal)
				continue
			}
			i.log.Info("leaving", "signal", s.String())
			return signalled
		case <-i.leave:
			i.log.Info("leaving: drained")
			return emptied
		case <-i.succeeded:
			return succeeded
		}
	}
}

// hurry cancels when another signal to leave comes.
func hurry(signals <-chan os.Signal, cancel context.CancelFunc, log *slog.Logger) {
	for s := range signals {
		if s != syscall.SIGHUP {
			log.Warn("leaving at once", "signal", s.String())
			cancel()
			return
		}
	}
}

// drainAndStop sends the links away and ends everything within drain_timeout, or at once when another signal comes.
func (i *instance) drainAndStop(signals <-chan os.Signal) error {
	limit := i.cfg.Gateway.DrainTimeout
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	go hurry(signals, cancel, i.log)
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
	if i.callOff != nil {
		i.callOff()
	}
	if i.unfollow != nil {
		i.unfollow()
	}
	i.work.Wait()
	i.stopReports(ctx)
	err := errors.Join(i.gateway.Stop(ctx), i.admin.Close(ctx))
	if i.keeping != nil {
		i.keeping.end(ctx)
	}
	i.people.stop(context.Background()) // the links are gone, and nobody asks any more
	i.log.Info("stopped")
	return err
}
