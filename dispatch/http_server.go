package dispatch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
)

// Limits that keep a slow or hostile peer from holding anything for long.
const (
	headerLimit = 5 * time.Second  // for a request's head
	readAll     = 10 * time.Second // for the whole request
	writeLimit  = 15 * time.Second // from the head to the last byte of the answer
	idleLimit   = 15 * time.Second // for the next request: a proxy has one soon, a client not
	mostHeader  = 16 << 10         // bytes
)

// socketMode lets every process of the box in: what is served is public.
const socketMode = 0o666

// Server serves a handler on the addresses of a Config. NewServer binds them, Serve answers, Close ends.
type Server struct {
	log       *slog.Logger
	listeners []listener
	// Two, because one that serves without TLS first leaves HTTP/2 out of those with it (net/http of Go 1.26: both ways to
	// set it up share a sync.Once), although it is offered to them.
	plain, tls *http.Server
	crowded    int64 // connections from which on each gets one answer only
	open       atomic.Int64
	serving    sync.WaitGroup
}

type listener struct {
	net.Listener
	name   string
	secure bool // by TLS
}

// NewServer binds every address of c, over which it answers h, by TLS if c names a certificate; a Unix socket is for
// proxies on the box and always plain. It holds conns connections at most at a time; from half of that on a connection is
// closed after its answer, so that idle ones do not keep clients out.
func NewServer(c Config, h http.Handler, conns int, log *slog.Logger) (*Server, error) {
	s := &Server{log: log, crowded: int64(max(conns/2, 1))}
	s.plain, s.tls = s.newHTTP(h), s.newHTTP(h)
	if c.Cert != "" {
		pair, err := newKeyPair(c.Cert, c.Key, log)
		if err != nil {
			return nil, fmt.Errorf("cert: %w", err)
		}
		s.tls.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get}
	}
	for _, a := range c.Listen {
		l, err := bind(a)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen %s: %w", a, err), s.closeListeners())
		}
		unix := l.Addr().Network() == "unix"
		s.listeners = append(s.listeners, listener{netutil.LimitListener(l, max(conns, 1)), nameOf(l), c.Cert != "" && !unix})
	}
	return s, nil
}

func (s *Server) newHTTP(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           s.sparing(h),
		ReadHeaderTimeout: headerLimit,
		ReadTimeout:       readAll,
		WriteTimeout:      writeLimit,
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    mostHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnState:         s.track,
	}
}

// sparing closes connections after their answer while there are many.
func (s *Server) sparing(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.open.Load() > s.crowded {
			w.Header()["Connection"] = []string{"close"}
		}
		h.ServeHTTP(w, r)
	})
}

func (s *Server) track(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.open.Add(-1)
	}
}

func nameOf(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}

// bind listens on "host:port" or "unix:/path".
func bind(address string) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return net.Listen("tcp", address)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStale takes away the socket that a dead process left. What is no socket, or answers, stays.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && info.Mode().Type() != os.ModeSocket {
		return nil // bind says what is wrong with it
	}
	if err != nil {
		return err
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path)
	}
	if err == nil {
		_ = c.Close()
	}
	return nil
}

// Addresses are the bound ones in the order of the configuration, with the ports that the kernel chose.
func (s *Server) Addresses() []string {
	var a []string
	for _, l := range s.listeners {
		a = append(a, l.name)
	}
	return a
}

// Serve begins to answer and returns at once.
func (s *Server) Serve() {
	for _, l := range s.listeners {
		s.serving.Go(func() {
			var err error
			if l.secure {
				err = s.tls.ServeTLS(l, "", "")
			} else {
				err = s.plain.Serve(l)
			}
			if !errors.Is(err, http.ErrServerClosed) {
				s.log.Error("listener ended", "address", l.name, "err", err)
			}
		})
	}
}

// Close takes no more connections, lets requests at work finish until ctx ends, and cuts off the rest.
func (s *Server) Close(ctx context.Context) error {
	var ends sync.WaitGroup
	var errs [2]error
	for i, h := range []*http.Server{s.plain, s.tls} {
		ends.Go(func() {
			if h.Shutdown(ctx) != nil {
				errs[i] = h.Close()
			}
		})
	}
	ends.Wait()
	s.serving.Wait()
	return errors.Join(errs[0], errs[1], s.closeListeners())
}

// closeListeners ends what Serve has not taken over.
func (s *Server) closeListeners() error {
	var errs []error
	for _, l := range s.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
