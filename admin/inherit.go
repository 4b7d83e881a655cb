package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// File is a listening socket that another process can go on with.
type File struct {
	Listen string // as it stands in the configuration
	FD     int    // the Server's own
}

// NewFrom is New for a process that takes over from another one: inherited returns the descriptor of an address that the other
// listens on, which is the Server's from then on. Until Serve nothing is accepted, and if it never comes everything stays as the
// other one left it.
func NewFrom(cfg Config, src Source, log *slog.Logger, inherited func(listen string) (fd int, ok bool)) (*Server, error) {
	return newServer(cfg, src, log, defaultLimits(), inherited)
}

// Files returns the listening sockets.
func (s *Server) Files() []File {
	var files []File
	for _, k := range s.sockets {
		raw, err := k.still.Listener.(syscall.Conn).SyscallConn()
		if err == nil {
			_ = raw.Control(func(fd uintptr) { files = append(files, File{k.endpoint.String(), int(fd)}) })
		}
	}
	return files
}

// Pause stops accepting: who connects waits in the kernel, for Resume or for another process. Requests at work go on.
func (s *Server) Pause() {
	for _, k := range s.sockets {
		k.still.pause()
	}
}

// Resume accepts again.
func (s *Server) Resume() {
	for _, k := range s.sockets {
		k.still.resume()
	}
}

// Detach is Close for a process whose place another one has taken: files and sockets are left to that one.
func (s *Server) Detach(ctx context.Context) error {
	s.closing.Do(func() { s.closed = s.end(ctx) })
	return s.closed
}

// still is a listener that can stand still without being closed.
type still struct {
	net.Listener
	mu     sync.Mutex
	moved  sync.Cond // of mu: one of the fields below has changed
	paused bool      // guarded by mu
	closed bool      // guarded by mu
	inside bool      // somebody is in the Listener's Accept; guarded by mu
}

func newStill(l net.Listener) *still {
	s := &still{Listener: l}
	s.moved.L = &s.mu
	return s
}

// Accept is for one goroutine at a time.
func (s *still) Accept() (net.Conn, error) {
	for {
		s.mu.Lock()
		for s.paused && !s.closed {
			s.moved.Wait()
		}
		s.inside = true
		s.mu.Unlock()
		c, err := s.Listener.Accept()
		s.mu.Lock()
		s.inside = false
		s.moved.Broadcast()
		s.mu.Unlock()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
	}
}

// pause breaks an Accept off and waits until it is: who connects in that moment may still be taken.
func (s *still) pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.paused {
		return
	}
	s.paused = true
	_ = s.Listener.(deadliner).SetDeadline(time.Unix(1, 0))
	for s.inside {
		s.moved.Wait()
	}
}

func (s *still) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = false
	_ = s.Listener.(deadliner).SetDeadline(time.Time{})
	s.moved.Broadcast()
}

func (s *still) Close() error {
	err := s.Listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.moved.Broadcast()
	return err
}

type deadliner interface{ SetDeadline(t time.Time) error }

// adopt makes a listener of an inherited descriptor, which it closes. It returns nil where that is of no use, as the path of a
// Unix socket leads to it no more.
func adopt(e endpoint, fd int) (net.Listener, *ownFile) {
	f := os.NewFile(uintptr(fd), e.String())
	defer func() { _ = f.Close() }() // the listener has a duplicate
	var file *ownFile
	if e.network == "unix" {
		info, err := os.Lstat(e.address)
		if err != nil || info.Mode().Type() != os.ModeSocket {
			return nil, nil
		}
		file = &ownFile{path: e.address, info: info}
	}
	l, err := net.FileListener(f)
	if err != nil || l.Addr().Network() != e.network {
		return nil, nil
	}
	return l, file
}
