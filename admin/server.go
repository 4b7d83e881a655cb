package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// limits keep a slow or hostile peer, and a hung Source, from holding anything
// for long. Tests shorten them.
type limits struct {
	source time.Duration // for one answer of the Source
	beat   time.Duration // between two signs of life of a stream
	header time.Duration // for a request's head to arrive
	read   time.Duration // for the whole request to arrive
	write  time.Duration // from the head to the last byte of the answer
	idle   time.Duration // for the next request
	grace  time.Duration // for requests at work when Close is called
	conns  int           // open at a time, for each address
}

// order is how long the context of a call lives. It ends before the call is given up, so that a Source that waits for others
// has the time to say for whom.
func (l limits) order() time.Duration { return l.source * 3 / 4 }

func defaultLimits() limits {
	return limits{
		source: 2 * time.Second,
		beat:   5 * time.Second,
		header: 5 * time.Second,
		read:   10 * time.Second,
		write:  20 * time.Second,
		idle:   time.Minute,
		grace:  2 * time.Second,
		conns:  64,
	}
}

// Server answers on the addresses of one Config. New binds, Serve answers,
// Close ends.
type Server struct {
	// Static after New.
	src     Source
	log     *slog.Logger
	limits  limits
	token   string // "": no token opens anything
	sockets []*socket
	made    *ownFile // the token file that New wrote, or nil
	routes  map[string]route
	runtime *prometheus.Registry
	http    *http.Server
	base    context.Context // parent of every request's context
	cancel  context.CancelFunc

	calls    calls
	draining atomic.Bool // a goroutine is in Source.Drain
	reloader Reloader    // nil: the Source is none; static after New
	people   *people

	// Who runs: accept loops, then connections, then calls of the Source. Close
	// waits for them in this order, as each starts only the next.
	accepting sync.WaitGroup
	conns     sync.WaitGroup
	working   sync.WaitGroup

	closing sync.Once
	closed  error // what the first Close said
}

// calls are the Source's methods behind their limits.
type calls struct {
	status  shared[Status]
	metrics shared[[]Metric]
	healthy shared[struct{}]
	ready   shared[struct{}]
}

// New binds every address of cfg. A client that connects before Serve waits.
func New(cfg Config, src Source, log *slog.Logger) (*Server, error) {
	return newServer(cfg, src, log, defaultLimits(), nil)
}

func newServer(cfg Config, src Source, log *slog.Logger, lim limits, inherited func(string) (int, bool)) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{src: src, log: log, limits: lim, runtime: runtimeRegistry()}
	s.base, s.cancel = context.WithCancel(context.Background())
	s.people = newPeople(s.base, src)
	s.reloader, _ = src.(Reloader)
	s.routes = s.table()
	s.bindCalls()
	s.http = s.newHTTP()
	s.http.RegisterOnShutdown(s.people.end) // who follows presence would stay for ever
	err := s.bindAll(cfg, inherited)
	if err == nil {
		err = s.takeToken(cfg, inherited != nil)
	}
	if err != nil {
		s.cancel()
		return nil, errors.Join(err, s.release())
	}
	return s, nil
}

func (s *Server) bindCalls() {
	none := struct{}{}
	d, wg := s.limits.source, &s.working
	s.calls.status = shared[Status]{what: "Status", limit: d, wg: wg, f: func() (Status, error) { return s.src.Status(), nil }}
	s.calls.metrics = shared[[]Metric]{what: "Metrics", limit: d, wg: wg, f: func() ([]Metric, error) { return s.src.Metrics(), nil }}
	s.calls.healthy = shared[struct{}]{what: "Healthy", limit: d, wg: wg, f: func() (struct{}, error) { return none, s.src.Healthy() }}
	s.calls.ready = shared[struct{}]{what: "Ready", limit: d, wg: wg, f: func() (struct{}, error) { return none, s.src.Ready() }}
}

func (s *Server) newHTTP() *http.Server {
	return &http.Server{
		Handler:                      s,
		ReadHeaderTimeout:            s.limits.header,
		ReadTimeout:                  s.limits.read,
		WriteTimeout:                 s.limits.write,
		IdleTimeout:                  s.limits.idle,
		MaxHeaderBytes:               16 << 10,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:                  func(net.Listener) context.Context { return s.base },
		ConnState:                    s.count,
	}
}

// count keeps conns. net/http tells StateNew on the accept loop, so that no
// connection is added after the loops have ended, and StateClosed last of all.
func (s *Server) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conns.Add(1)
	case http.StateClosed:
		s.conns.Done()
	}
}

func (s *Server) bindAll(cfg Config, inherited func(string) (int, bool)) error {
	for _, l := range cfg.Listen {
		e, err := parseEndpoint(l)
		if err != nil {
			return err
		}
		k, err := bind(e, s.limits.conns, inherited)
		if err != nil {
			return fmt.Errorf("admin socket %s: %w", e, err)
		}
		s.sockets = append(s.sockets, k)
	}
	return nil
}

// takeToken reads the configured token, or makes one where TCP needs it; that of the process before is kept.
func (s *Server) takeToken(cfg Config, inherit bool) error {
	var err error
	if s.token, err = cfg.secret(); err != nil || s.token != "" {
		return err
	}
	dir, tcp := "", false
	for _, k := range s.sockets {
		if k.file == nil {
			tcp = true
		} else if dir == "" {
			dir = filepath.Dir(k.file.path)
		}
	}
	switch {
	case !tcp:
	case dir == "":
		s.log.Info("admin without a token: over TCP only /healthz, /readyz and /metrics are served")
	default:
		if inherit {
			if s.token, s.made = keepToken(dir); s.made != nil {
				return nil
			}
		}
		if s.token, s.made, err = makeToken(dir); err != nil {
			return fmt.Errorf("admin token: %w", err)
		}
		s.log.Info("admin token made", "file", s.made.path)
	}
	return nil
}

// Addresses are the bound addresses in the order of the configuration, with the
// ports that the kernel chose.
func (s *Server) Addresses() []string {
	var a []string
	for _, k := range s.sockets {
		a = append(a, k.String())
	}
	return a
}

// Serve begins to answer and returns at once.
func (s *Server) Serve() {
	for _, k := range s.sockets {
		s.accepting.Go(func() {
			if err := s.http.Serve(k.listener); !errors.Is(err, http.ErrServerClosed) {
				s.log.Error("admin socket ended", "address", k.String(), "err", err)
			}
		})
	}
}

// Close removes the files that are still the Server's own, ends the listeners,
// lets requests at work finish for a short while and cuts off the rest. It
// returns when nothing of the Server runs any more; when ctx ends before that,
// because the Source hangs, it returns an error. Later calls return the same.
func (s *Server) Close(ctx context.Context) error {
	s.closing.Do(func() { s.closed = s.close(ctx) })
	return s.closed
}

func (s *Server) close(ctx context.Context) error {
	return errors.Join(s.removeFiles(true), s.end(ctx))
}

func (s *Server) end(ctx context.Context) error {
	grace, cancel := context.WithTimeout(ctx, s.limits.grace)
	defer cancel()
	if s.http.Shutdown(grace) != nil {
		_ = s.http.Close() // its listeners are closed already
	}
	s.cancel()
	err := s.closeListeners()
	ended := make(chan struct{})
	go func() {
		s.accepting.Wait()
		s.conns.Wait()
		s.working.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return err
	case <-ctx.Done():
		return errors.Join(err, fmt.Errorf("admin: requests are still at work: %w", ctx.Err()))
	}
}

// release gives up what New took, when it cannot go on.
func (s *Server) release() error {
	return errors.Join(s.removeFiles(false), s.closeListeners())
}

// removeFiles comes before the listeners are closed: see ownFile.remove. Those of a process that may go on stay.
func (s *Server) removeFiles(inherited bool) error {
	var errs []error
	if s.made != nil && (inherited || !s.made.inherited) {
		errs = append(errs, s.made.remove())
	}
	for _, k := range s.sockets {
		if k.file != nil && (inherited || !k.inherited) {
			errs = append(errs, k.file.remove())
		}
	}
	return errors.Join(errs...)
}

// closeListeners closes those that net/http has not, as Serve was never called.
func (s *Server) closeListeners() error {
	var errs []error
	for _, k := range s.sockets {
		if err := k.listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
