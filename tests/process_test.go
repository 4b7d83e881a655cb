//go:build e2e

package tests

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// setup says how a gateway is to be configured; the zero value is one reactor on a free port of 127.0.0.1, without a Manager.
type setup struct {
	gateway   string   // lines of [gateway]
	listeners []string // bodies of [[listener]]; none: one on 127.0.0.1:0
	managers  []string // addresses
	manager   string   // more lines of [manager]
	more      string   // further sections
	files     int      // RLIMIT_NOFILE; 0: as it is

	within bool     // the process is started by the test's own thread, which has a network of its own
	binary string   // of the process; empty: the one under test
	env    []string // more variables

	passed []*os.File // listening sockets to be passed as systemd does it, by these names, joined by colons
	names  string
}

// text is the configuration file.
func (s setup) text(admin string) string {
	var b strings.Builder
	gw := s.gateway
	if !strings.Contains(gw, "drain_timeout") {
		gw += "\ndrain_timeout = \"2s\""
	}
	if !strings.Contains(gw, "reactors") {
		gw += "\nreactors = 1"
	}
	fmt.Fprintf(&b, "[gateway]\n%s\n", gw)
	listeners := s.listeners
	if len(listeners) == 0 {
		listeners = []string{`address = "127.0.0.1:0"`}
	}
	for _, l := range listeners {
		fmt.Fprintf(&b, "[[listener]]\n%s\n", l)
	}
	fmt.Fprintf(&b, "[manager]\naddresses = [")
	for i, a := range s.managers {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Quote(a))
	}
	fmt.Fprintf(&b, "]\n%s\n[admin]\nlisten = [%q]\n%s\n", s.manager, "unix:"+admin, s.more)
	if !strings.Contains(s.more, "freeze") { // a busy machine has the time that it needs
		if !strings.Contains(s.more, "[handover]") {
			b.WriteString("[handover]\n")
		}
		b.WriteString("accept_pause = \"5s\"\nfreeze = \"3s\"\n")
	}
	return b.String()
}

// gateway is a running edged.
type gateway struct {
	t     *testing.T
	cmd   *exec.Cmd
	admin string // path of its socket
	log   *textLog
	out   *textLog

	// What the ready line said.
	addresses []string
	advertise string
	reactors  int
	capacity  int

	heir *os.Process // that a reload has put into the process's place; nil: none has

	exited chan struct{} // closed after the process has ended; status is set then
	status error
	ended  bool // the test has ended it, and looked at how
}

// ready is the line on standard output that says that the gateway serves.
var ready = regexp.MustCompile(`^edged \S+ ready: listening on (.+), advertised as (\S+), (\d+) reactors?, capacity (\d+) links$`)

// start runs a gateway until the test ends. It must then stop by SIGTERM with status 0.
func start(t *testing.T, s setup) *gateway {
	t.Helper()
	dir := t.TempDir()
	admin := filepath.Join(dir, "admin.sock")
	file := filepath.Join(dir, "edged.toml")
	check(t, os.WriteFile(file, []byte(s.text(admin)), 0o600))
	return startFile(t, file, admin, s)
}

func startFile(t *testing.T, file, admin string, s setup) *gateway {
	t.Helper()
	g := &gateway{t: t, admin: admin, log: &textLog{}, out: &textLog{}, exited: make(chan struct{})}
	binary := cmp.Or(s.binary, edged)
	g.cmd = exec.Command(binary, "serve", "--config", file)
	if s.files > 0 {
		g.cmd = exec.Command("sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" serve --config "$1"`, s.files), binary, file)
	}
	if len(s.passed) > 0 { // LISTEN_PID must be the process that serves, which the shell becomes
		g.cmd = exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" serve --config "$1"`, binary, file)
		s.env = append(s.env, fmt.Sprintf("LISTEN_FDS=%d", len(s.passed)), "LISTEN_FDNAMES="+s.names)
		g.cmd.ExtraFiles = s.passed
	}
	g.cmd.Env = append(os.Environ(), s.env...)
	g.cmd.Stderr = g.log
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout := must(g.cmd.StdoutPipe())(t)
	if s.within {
		check(t, g.cmd.Start())
	} else {
		check(t, spawn(g.cmd, g.exited))
	}
	lines := make(chan string, 1)
	go g.watch(bufio.NewScanner(stdout), lines)
	t.Cleanup(g.cleanup)
	select {
	case line := <-lines:
		g.parseReady(line)
	case <-g.exited:
		t.Fatalf("edged ended before it was ready: %v", g.status)
	case <-time.After(patience):
		t.Fatal("edged does not become ready")
	}
	return g
}

// spawn starts a process that the kernel ends with us. It ties that to the thread that started it (prctl(2), PR_SET_PDEATHSIG), and
// threads end, such as those of a swarm in this process: so one is kept until the process has ended. The links of that swarm are not
// for the process: netpoll makes them so that a successor inherits them.
func spawn(cmd *exec.Cmd, ended <-chan struct{}) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
		if err == nil {
			err = cmd.Start()
		}
		if started <- err; err == nil {
			<-ended
		}
	}()
	return <-started
}

// in is the same gateway for a sub-test, which may ask it but not end it.
func (g *gateway) in(t *testing.T) *gateway {
	other := *g
	other.t = t
	return &other
}

// watch reads standard output until its end, which is the process's.
func (g *gateway) watch(out *bufio.Scanner, first chan<- string) {
	for n := 0; out.Scan(); n++ {
		_, _ = fmt.Fprintln(g.out, out.Text())
		if n == 0 {
			first <- out.Text()
		}
	}
	g.status = g.cmd.Wait() // of the first process; standard output ends with the last one
	close(g.exited)
}

// pid is of the process that serves.
func (g *gateway) pid() int {
	if g.heir != nil {
		return g.heir.Pid
	}
	return g.cmd.Process.Pid
}

// succeeded notes the process that a reload has put into the place of the one before. It is a child of the test's, as the one
// before is, and that one's end is awaited.
func (g *gateway) succeeded(pid int) {
	g.t.Helper()
	if pid == g.pid() {
		return
	}
	if g.heir != nil {
		g.reaped()
	}
	g.heir = must(os.FindProcess(pid))(g.t)
}

// reaped waits for the end of the heir, which must have status 0.
func (g *gateway) reaped() {
	g.t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if st, err := g.heir.Wait(); err != nil || !st.Success() {
			g.t.Errorf("process %d, which had taken over, ended with %v, %v", g.heir.Pid, st, err)
		}
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		_ = g.heir.Signal(syscall.SIGABRT)
		g.t.Errorf("process %d, which had taken over, does not end", g.heir.Pid)
		<-ended
	}
}

func (g *gateway) parseReady(line string) {
	g.t.Helper()
	m := ready.FindStringSubmatch(line)
	if m == nil {
		g.t.Fatalf("unexpected ready line %q", line)
	}
	g.addresses = strings.Split(m[1], ", ")
	g.advertise = m[2]
	g.reactors, _ = strconv.Atoi(m[3])
	g.capacity, _ = strconv.Atoi(m[4])
}

// cleanup ends the process if the test has not, and shows its log if the test failed.
func (g *gateway) cleanup() {
	if !g.ended {
		if g.t.Failed() {
			g.kill()
		} else {
			g.stop()
		}
	}
	for _, bad := range []string{"panic:", "fatal error:", "DATA RACE", "handler panicked", "source panicked"} {
		if strings.Contains(g.log.String(), bad) {
			g.t.Errorf("the log has %q in it", bad)
		}
	}
	if g.t.Failed() {
		g.t.Logf("log of edged %d:\n%s", g.cmd.Process.Pid, g.log.tail(16<<10))
	}
}

// stop ends the process by SIGTERM, which must give status 0.
func (g *gateway) stop() {
	g.t.Helper()
	g.signal(syscall.SIGTERM)
	g.wait(patience)
}

func (g *gateway) signal(s syscall.Signal) {
	g.t.Helper()
	if err := syscall.Kill(g.pid(), s); err != nil {
		g.t.Errorf("signal %v: %v", s, err)
	}
}

// wait returns when the process has left with status 0.
func (g *gateway) wait(limit time.Duration) {
	g.t.Helper()
	g.ended = true
	select {
	case <-g.exited:
		if g.status != nil {
			g.t.Errorf("edged ended with %v, want status 0", g.status)
		}
	case <-time.After(limit):
		_ = syscall.Kill(g.pid(), syscall.SIGABRT) // its stacks say where it hangs
		g.t.Errorf("edged does not leave within %v", limit)
		<-g.exited
	}
	if g.heir != nil {
		g.reaped()
	}
}

// kill ends the process without a chance to say goodbye.
func (g *gateway) kill() {
	g.ended = true
	_ = syscall.Kill(g.pid(), syscall.SIGKILL)
	<-g.exited
	if g.heir != nil {
		_, _ = g.heir.Wait()
	}
}

// address is the first listener's.
func (g *gateway) address() string { return g.addresses[0] }

func (g *gateway) proc(file string) string {
	return fmt.Sprintf("/proc/%d/%s", g.pid(), file)
}

// procStatus is a number of /proc/PID/status: Threads, or VmRSS in bytes.
func (g *gateway) procStatus(key string) int {
	g.t.Helper()
	for line := range strings.Lines(string(must(os.ReadFile(g.proc("status")))(g.t))) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			f := strings.Fields(rest)
			n, err := strconv.Atoi(f[0])
			check(g.t, err)
			if len(f) > 1 && f[1] == "kB" {
				n <<= 10
			}
			return n
		}
	}
	g.t.Fatalf("/proc/PID/status has no %s", key)
	return 0
}

func (g *gateway) files() int {
	g.t.Helper()
	return len(must(os.ReadDir(g.proc("fd")))(g.t))
}

// stat is what /proc/PID/stat says behind the name, the state first.
func (g *gateway) stat() []string {
	g.t.Helper()
	stat := string(must(os.ReadFile(g.proc("stat")))(g.t))
	return strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
}

// cpu is the time that the process has used.
func (g *gateway) cpu() time.Duration {
	g.t.Helper()
	f := g.stat()
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	check(g.t, errors.Join(err1, err2))
	return time.Duration(user+system) * (time.Second / 100) // USER_HZ
}

// run runs edged with arguments to its end and returns what it said.
func run(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(edged, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	check(t, cmd.Start())
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	if !late.Stop() {
		t.Fatalf("edged %v does not end\n%s%s", args, out.String(), errs.String())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// textLog collects what a process writes.
type textLog struct {
	mu sync.Mutex
	b  []byte // guarded by mu
}

func (l *textLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	return len(p), nil
}

func (l *textLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}

// lines are those that contain all of the words.
func (l *textLog) lines(words ...string) (found []string) {
	for line := range strings.Lines(l.String()) {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			found = append(found, line)
		}
	}
	return found
}

func (l *textLog) tail(n int) string {
	s := l.String()
	return s[max(len(s)-n, 0):]
}
