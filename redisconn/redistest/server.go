package redistest

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	readyLimit = 30 * time.Second
	pollGap    = 5 * time.Millisecond

	// Below the kernel's usual ephemeral ports, together with a Cluster's second port of each server, 10000 above the first:
	// no connection takes the port of a server that is to be restarted.
	firstPort, ports = 16000, 6000
)

// Server is one redis-server process, and what replaces it at the same address. Its methods fail the test rather than return
// an error; they are for one goroutine.
type Server struct {
	Addr          string // 127.0.0.1:port
	Password      string // of the default user, for Do; set it when a test changes it in the server
	CA, Cert, Key string // files, of StartTLS

	t       testing.TB
	dir     string
	args    []string
	tls     *tls.Config
	process *process // nil: not running
}

// Start runs a server without persistence on a free port until the test ends. args are more settings, as on the command line of
// redis-server: "--requirepass", "secret"; or "--appendonly", "yes", "--appendfsync", "always" for one that keeps its data when it
// is killed and restarted.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := newServer(t)
	for i, a := range args[:max(0, len(args)-1)] {
		if a == "--requirepass" {
			s.Password = args[i+1]
		}
	}
	s.start(func(port string) []string { return append([]string{"--port", port}, args...) })
	return s
}

func newServer(t testing.TB) *Server {
	s := &Server{t: t, dir: t.TempDir()}
	t.Cleanup(s.Kill)
	return s
}

// start runs a new server with the arguments for a port.
func (s *Server) start(args func(port string) []string) {
	s.t.Helper()
	var err error
	for range 10 { // another process may take the port between our look and the server's
		port := strconv.Itoa(freePort(s.t))
		s.Addr = net.JoinHostPort("127.0.0.1", port)
		s.args = args(port)
		if err = s.run(); err == nil {
			return
		}
	}
	s.t.Fatal(err)
}

func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := firstPort + rand.IntN(ports)
		if free(port) && free(port+10000) {
			return port
		}
	}
	t.Fatal("redistest: no free port")
	return 0
}

func free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// run starts the process and waits until it answers.
func (s *Server) run() error {
	file, environment, err := program()
	if err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
	fixed := []string{"--bind", "127.0.0.1", "--dir", s.dir, "--logfile", filepath.Join(s.dir, "log"), "--daemonize", "no",
		"--save", "", "--repl-diskless-sync-delay", "0"}
	if !slices.Contains(s.args, "--appendonly") {
		fixed = append(fixed, "--appendonly", "no")
	}
	s.process, err = launch(file, environment, append(slices.Clip(s.args), fixed...))
	if err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
	for deadline := time.Now().Add(readyLimit); time.Now().Before(deadline); time.Sleep(pollGap) {
		if s.process.hasEnded() {
			break
		}
		if s.answers() {
			return nil
		}
	}
	s.Kill()
	return fmt.Errorf("redistest: %s at %s does not answer; its log:\n%s", file, s.Addr, s.log())
}

func (s *Server) log() string {
	b, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(b)
}

// answers reports whether it is our process that answers, as a foreign one may have the port, and has read its data.
func (s *Server) answers() bool {
	info, err := s.do("INFO")
	return err == nil && strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", s.process.child.Pid)) && !strings.Contains(info, "loading:1\r\n")
}

// Stop ends the server in order, as an operator would, and waits for it. A paused one is continued for that.
func (s *Server) Stop() { s.end(syscall.SIGTERM, syscall.SIGCONT) }

// Kill ends the server at once, also one that is paused, and waits for it.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

func (s *Server) end(signals ...os.Signal) {
	s.t.Helper()
	if s.process == nil {
		return
	}
	if err := s.process.end(signals); err != nil {
		s.t.Errorf("redistest: %s: %v", s.Addr, err)
	}
	s.process = nil
}

// Restart runs a server at the same address, with what the one before left in its files: nothing, unless it was started with
// "--appendonly", "yes". One that still runs is killed first.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if err := s.run(); err != nil {
		s.t.Fatal(err)
	}
}

// Pause makes the server hang (SIGSTOP): connections stay and new ones are taken by the kernel, but nothing is answered.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Continue ends a Pause.
func (s *Server) Continue() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(signal syscall.Signal) {
	s.t.Helper()
	if s.process == nil {
		s.t.Fatalf("redistest: %s does not run", s.Addr)
	}
	if err := s.process.child.Signal(signal); err != nil {
		s.t.Fatalf("redistest: %s: %v", s.Addr, err)
	}
}

// Do carries out a command on a connection of its own and returns what redis-cli would print when not on a terminal: the
// items of an array a line each, nothing for nil. An error fails the test.
func (s *Server) Do(args ...string) string {
	s.t.Helper()
	out, err := s.do(args...)
	if err != nil {
		s.t.Fatalf("redistest: %s: %s: %v", s.Addr, strings.Join(args, " "), err)
	}
	return out
}

// wait polls until ok, and fails the test after the limit.
func (s *Server) wait(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(readyLimit); !ok(); time.Sleep(pollGap) {
		if time.Now().After(deadline) {
			s.t.Fatalf("redistest: %s: waited in vain: %s; its log:\n%s", s.Addr, what, s.log())
		}
	}
}
