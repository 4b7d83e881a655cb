package handover_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for another process.
const patience = 20 * time.Second

// process is one that plays a role, and those that succeed it: they share its three descriptors.
type process struct {
	t     testing.TB
	stdin *os.File
	lines chan string
	log   *lockedBuffer
	mu    sync.Mutex
	born  map[int]bool // processes that said so; guarded by mu
	pid   int          // the one that serves
	port  int
}

// startProcess starts this binary under another name, as a child that is gone when the test ends.
func startProcess(t testing.TB, role string, env ...string) *process {
	t.Helper()
	return startIn(t, nil, role, env...)
}

// startIn does so with other attributes.
func startIn(t testing.TB, attr *syscall.SysProcAttr, role string, env ...string) *process {
	t.Helper()
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, stdin: inW, lines: make(chan string, 1000), log: &lockedBuffer{}, born: map[int]bool{}}
	errR, errW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: exe, Args: []string{role}, Env: append(os.Environ(), env...), Stdin: inR, Stdout: outW, Stderr: errW, SysProcAttr: attr}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.pid = cmd.Process.Pid
	started.Store(p.pid, true)
	for _, f := range []*os.File{inR, outW, errW} {
		_ = f.Close()
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(p.lines)
		s := bufio.NewScanner(outR)
		for s.Scan() {
			if pid, ok := strings.CutPrefix(s.Text(), "born "); ok {
				n, _ := strconv.Atoi(pid)
				p.mu.Lock()
				p.born[n] = true
				p.mu.Unlock()
				continue
			}
			p.lines <- s.Text()
		}
	})
	wg.Go(func() { _, _ = io.Copy(p.log, errR) })
	t.Cleanup(func() {
		_ = inW.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		started.Delete(cmd.Process.Pid)
		p.reapOthers()
		for range p.lines { //nolint:revive // emptied, so that its reader ends
		}
		wg.Wait()
		_ = outR.Close()
		_ = errR.Close()
		if t.Failed() {
			t.Logf("what the processes said:\n%s", p.log)
		}
	})
	return p
}

// started holds the PIDs that os/exec waits for.
var started sync.Map

// reapOthers ends and reaps the successors of p: they are children of this process too (CLONE_PARENT). So is one that never
// came to be the new program: of those only the zombies are left.
func (p *process) reapOthers() {
	for pid, state := range children() {
		if _, mine := started.Load(pid); mine {
			continue
		}
		p.mu.Lock()
		born := p.born[pid]
		p.mu.Unlock()
		if born {
			_ = unix.Kill(pid, unix.SIGKILL)
		} else if state != "Z" {
			continue // of a test that runs beside this one
		}
		if _, err := unix.Wait4(pid, nil, 0, nil); err != nil && !errors.Is(err, unix.ECHILD) {
			p.t.Errorf("wait for %d: %v", pid, err)
		}
	}
}

// children returns the children of this process with their states.
func children() map[int]string {
	pids := map[int]string{}
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		stat, err := os.ReadFile("/proc/" + d.Name() + "/stat")
		if err != nil {
			continue
		}
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if pid, err := strconv.Atoi(d.Name()); err == nil && len(f) > 1 && f[1] == strconv.Itoa(os.Getpid()) {
			pids[pid] = f[0]
		}
	}
	return pids
}

func startEcho(t testing.TB) *process {
	t.Helper()
	p := startProcess(t, "echo")
	p.serving()
	return p
}

// serving waits until an echo says where it listens.
func (p *process) serving() {
	p.t.Helper()
	port, err := strconv.Atoi(p.expect("serving")[0])
	if err != nil {
		p.t.Fatal(err)
	}
	p.port = port
}

// tell gives the process that serves a command.
func (p *process) tell(format string, args ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.stdin, format+"\n", args...); err != nil {
		p.t.Fatal(err)
	}
}

// expect returns the words behind the first one of the next line that begins with one of first.
func (p *process) expect(first ...string) []string {
	p.t.Helper()
	limit := time.After(patience)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("the processes have ended; %v was expected\n%s", first, p.log)
			}
			words := strings.Fields(line)
			if len(words) > 0 && slices.Contains(first, words[0]) {
				if len(first) > 1 {
					return words
				}
				return words[1:]
			}
		case <-limit:
			p.t.Fatalf("no line %v within %v\n%s", first, patience, p.log)
		}
	}
}

// reload has it replaced, and returns what was said of that, or of the error.
func (p *process) reload(mode, fault, path, freeze string) (words []string, ok bool) {
	p.t.Helper()
	p.tell("reload %s %s %s %s", mode, fault, path, freeze)
	said := map[string][]string{}
	for said["running"] == nil || mode == "fork" && said["reloaded"] == nil {
		w := p.expect("running", "reloaded", "error") // the first two in any order
		if w[0] == "error" {
			return w[1:], false
		}
		said[w[0]] = w[1:]
	}
	pid, err := strconv.Atoi(said["running"][0])
	if err != nil {
		p.t.Fatal(err)
	}
	p.pid = pid
	return append(said["running"], said["reloaded"]...), true
}

// stat returns how many links the process has, and how many it found torn.
func (p *process) stat() (links, torn int) {
	p.t.Helper()
	p.tell("stat")
	w := p.expect("stat")
	links, _ = strconv.Atoi(w[0])
	torn, _ = strconv.Atoi(w[1])
	if w[2] != "false" || w[3] != "noted" {
		p.t.Errorf("frozen: %s, the note says %q", w[2], w[3])
	}
	return links, torn
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// crowd are clients of an echo, that talk all the time: half a number, a little later the other half.
type crowd struct {
	t       *testing.T
	port    int
	wg      sync.WaitGroup
	stop    atomic.Bool
	said    atomic.Int64
	broken  atomic.Int64
	wrong   atomic.Int64
	longest atomic.Int64 // ns that an answer took
}

func startCrowd(t *testing.T, port, links int) *crowd {
	t.Helper()
	c := &crowd{t: t, port: port}
	for i := range links {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		c.wg.Go(func() { c.talk(conn, i) })
	}
	t.Cleanup(c.end)
	return c
}

func (c *crowd) talk(conn net.Conn, i int) {
	defer func() { _ = conn.Close() }()
	for n := uint32(1); !c.stop.Load(); n++ {
		if err := c.say(conn, n, i%2 == 0); err != nil {
			c.broken.Add(1)
			return
		}
		c.said.Add(1)
	}
}

// say sends the number n, which is the nth of this link, and waits for the answer.
func (c *crowd) say(conn net.Conn, n uint32, halves bool) error {
	var b [8]byte
	binary.BigEndian.PutUint32(b[:], n)
	_ = conn.SetDeadline(time.Now().Add(patience))
	first := 4
	if halves {
		first = 2
	}
	if _, err := conn.Write(b[:first]); err != nil {
		return err
	}
	if halves {
		time.Sleep(5 * time.Millisecond) // so that a hand-over finds halves
		if _, err := conn.Write(b[first:4]); err != nil {
			return err
		}
	}
	began := time.Now()
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return err
	}
	for took := int64(time.Since(began)); ; {
		longest := c.longest.Load()
		if took <= longest || c.longest.CompareAndSwap(longest, took) {
			break
		}
	}
	if binary.BigEndian.Uint32(b[:4]) != n || binary.BigEndian.Uint32(b[4:]) != n {
		c.wrong.Add(1)
		return errors.New("wrong answer")
	}
	return nil
}

func (c *crowd) end() {
	c.stop.Store(true)
	c.wg.Wait()
}

// goesOn fails the test unless all links live, nothing was lost or doubled, and everybody still gets answers.
func (c *crowd) goesOn() {
	c.t.Helper()
	said := c.said.Load()
	for end := time.Now().Add(patience); c.said.Load() < said+100; {
		if time.Now().After(end) {
			c.t.Fatal("nobody gets an answer")
		}
		time.Sleep(time.Millisecond)
	}
	if b, w := c.broken.Load(), c.wrong.Load(); b != 0 || w != 0 {
		c.t.Fatalf("%d links broken, %d of them for a wrong answer", b, w)
	}
}
