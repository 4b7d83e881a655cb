package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
)

// Limits that keep a slow or hostile peer from holding anything for long.
const (
	headerLimit = 5 * time.Second  // for a request's head
	bodyLimit   = 30 * time.Second // for the whole request
	writeLimit  = 45 * time.Second // from the head to the last byte of the answer
	idleLimit   = time.Minute      // for the next request
	mostHeader  = 16 << 10         // bytes
	mostConns   = 128              // open at a time, for each address
)

// socketMode lets root and the daemon's group in: whoever may write to the socket may send messages to everyone.
const socketMode = 0o660

// Server serves a handler on the addresses of a Config. NewServer binds them, Serve answers, Close ends.
type Server struct {
	log       *slog.Logger
	listeners []net.Listener
	http      *http.Server
	serving   sync.WaitGroup
}

// NewServer binds every address of c.
func NewServer(c Config, h http.Handler, log *slog.Logger) (*Server, error) {
	s := &Server{log: log, http: &http.Server{
		Handler: h, ReadHeaderTimeout: headerLimit, ReadTimeout: bodyLimit, WriteTimeout: writeLimit, IdleTimeout: idleLimit,
		MaxHeaderBytes: mostHeader, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	for _, a := range c.Listen {
		l, err := bind(a)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen %s: %w", a, err), s.closeListeners())
		}
		s.listeners = append(s.listeners, netutil.LimitListener(l, mostConns))
	}
	return s, nil
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
		name := l.Addr().String()
		if l.Addr().Network() == "unix" {
			name = "unix:" + name
		}
		a = append(a, name)
	}
	return a
}

// Serve begins to answer and returns at once.
func (s *Server) Serve() {
	for _, l := range s.listeners {
		s.serving.Go(func() {
			if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				s.log.Error("listener ended", "address", l.Addr().String(), "err", err)
			}
		})
	}
}

// Close takes no more connections, lets requests at work finish until ctx ends, and cuts off the rest.
func (s *Server) Close(ctx context.Context) error {
	var err error
	if s.http.Shutdown(ctx) != nil {
		err = s.http.Close()
	}
	s.serving.Wait()
	return errors.Join(err, s.closeListeners())
}

// closeListeners closes those that net/http has not, as Serve was never called.
func (s *Server) closeListeners() error {
	var errs []error
	for _, l := range s.listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
