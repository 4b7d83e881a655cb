package netpoll_test

import (
	"bufio"
	"encoding/gob"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"edged/handover"
	"edged/netpoll"
)

// heir is a process that goes on with the groups of this one: it has inherited their descriptors under the same numbers.
type heir struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func newHeir(t *testing.T, g *netpoll.Group) *heir {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = os.Stderr
	h := &heir{t: t, cmd: cmd}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	h.in, h.out = in, bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.end)
	if err := gob.NewEncoder(in).Encode(appendStates(g)); err != nil {
		t.Fatal(err)
	}
	h.hear("loaded")
	return h
}

func (h *heir) hear(want string) {
	h.t.Helper()
	heard := make(chan string, 1)
	go func() { line, err := h.out.ReadString('\n'); heard <- fmt.Sprint(line, err) }()
	if got := wait(h.t, heard, want); got != want+"\n<nil>" {
		h.t.Fatalf("the new process said %q, want %q", got, want)
	}
}

// start lets it go on.
func (h *heir) start() {
	h.t.Helper()
	if _, err := h.in.Write([]byte("go")); err != nil {
		h.t.Fatal(err)
	}
	h.hear("runs")
}

func (h *heir) end() {
	_ = h.in.Close()
	_ = h.cmd.Wait()
}

// serveAsHeir is what the new process does.
func serveAsHeir(t *testing.T) {
	var states [][]byte
	if err := gob.NewDecoder(onlyReader{os.Stdin}).Decode(&states); err != nil {
		t.Fatal(err)
	}
	g := inherit(t, states, netpoll.Config{Loops: 2}, echoFrames)
	if g.Dropped() != 0 {
		t.Fatal(g.Err())
	}
	fmt.Println("loaded")
	if _, err := io.ReadFull(os.Stdin, make([]byte, 2)); err != nil {
		return // it is not wanted
	}
	g.Start()
	fmt.Println("runs")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// onlyReader keeps gob from reading ahead.
type onlyReader struct{ io.Reader }

func (r onlyReader) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(r.Reader, b[:])
	return b[0], err
}

// The links go on in another process, which waits on the same epolls, and their clients notice nothing.
func TestSuccessorProcess(t *testing.T) {
	if isChild() {
		serveAsHeir(t)
		return
	}
	g := newGroup(t, netpoll.Config{Loops: 2}, echoFrames)
	addr := listen(t, g)
	_, six, err := g.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	g.Start()
	crowd := newCrowd(t, 16, addr, six.String())
	pass := newClock(t)
	pass(50 * time.Millisecond)
	mustFreeze(t, g)
	unwanted := newHeir(t, g)
	unwanted.end()
	g.Thaw()
	pass(50 * time.Millisecond)
	mustFreeze(t, g)
	h := newHeir(t, g)
	h.start()
	g.Abandon()
	for _, l := range g.Loops() {
		l.Die()
	}
	pass(100 * time.Millisecond)
	crowd.end()
	h.end()
	if !h.cmd.ProcessState.Success() {
		t.Error("the new process ended by", h.cmd.ProcessState)
	}
}

// A process that dies while it goes on with the links takes those with it that it used, and the old one goes on with the rest:
// no client ever reads a byte that is wrong.
func TestSuccessorProcessDies(t *testing.T) {
	if isChild() {
		serveAsHeir(t)
		return
	}
	ends := make(chan error, 1000)
	g := newGroup(t, netpoll.Config{Loops: 2}, func(h *hooks) {
		echoFrames(h)
		h.closed = func(_ netpoll.Conn, why error) {
			select {
			case ends <- why:
			default:
			}
		}
	})
	addr := listen(t, g)
	g.Start()
	quiet := dial(t, addr)
	mustWrite(t, quiet, []byte{0, 2, 1})
	crowd := newCrowd(t, 0)
	crowd.torn = true
	crowd.come(t, 8, addr)
	pass := newClock(t)
	for range 3 {
		pass(20 * time.Millisecond)
		mustFreeze(t, g)
		h := newHeir(t, g)
		h.start()
		pass(20 * time.Millisecond)
		if err := h.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		h.end()
		if n := g.CheckFlows(handover.CheckFlow); n == 0 {
			t.Error("no link was used")
		}
		g.Thaw()
	}
	mustWrite(t, quiet, []byte{2})
	mustRead(t, quiet, 4)
	crowd.end()
}
