package handover_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"edged/handover"

	"golang.org/x/sys/unix"
)

// kill ends a process of the test and waits for it.
func (p *process) kill() {
	p.t.Helper()
	_ = unix.Kill(p.pid, unix.SIGKILL)
	for range p.lines { //nolint:revive // until it has ended
	}
}

// A gateway that accepted links is killed: they live, and the next one goes on with them.
func TestGatewayKilled(t *testing.T) {
	socket := keeperSocket(t)
	startKeeper(t, socket)
	g := startProcess(t, "depositor", socketVariable+"="+socket)
	port := g.expect("depositing")[0]
	const links = 200
	conns := make([]net.Conn, links)
	for i := range conns {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		conns[i] = c
	}
	g.kill()
	for _, c := range conns[:10] { // said while there is nobody
		if _, err := c.Write([]byte("hear")); err != nil {
			t.Fatal(err)
		}
	}
	k, w := openKeeping(t, socket)
	if w.Links != links || w.Crashes != 1 {
		t.Fatalf("%+v", w)
	}
	got := map[uint64]int{}
	if err := k.Take(func(key uint64, fd int) { got[key] = fd }); err != nil {
		t.Fatal(err)
	}
	d := k.Deposit()
	for key, fd := range got {
		goOn(t, conns[key], fd, key < 10)
		// The end of a link reaches its client, although there are two duplicates of it.
		d.Release(key)
		_ = unix.Shutdown(fd, unix.SHUT_RDWR)
		_ = unix.Close(fd)
		d.Flush()
		if n, err := conns[key].Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Fatalf("%d, %v", n, err)
		}
	}
	k.Close()
}

// goOn speaks with the client of a link that was taken back; with said it has spoken already.
func goOn(t *testing.T, c net.Conn, fd int, said bool) {
	t.Helper()
	read := uint32(0)
	if said {
		b := make([]byte, 10)
		n, err := unix.Read(fd, b)
		if string(b[:max(n, 0)]) != "hear" {
			t.Fatalf("%q, %v", b[:max(n, 0)], err)
		}
		read = 4
	}
	if err := handover.CheckFlow(fd, read, 1); err != nil {
		t.Error(err)
	}
	if _, err := unix.Write(fd, []byte("you")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 3)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "you" {
		t.Fatalf("%q, %v", b, err)
	}
}

// What may be in the links kills every gateway: after the third death within a minute they are dropped.
func TestCrashLoop(t *testing.T) {
	socket := keeperSocket(t)
	startKeeper(t, socket)
	var c net.Conn
	for i := range 3 {
		g := startProcess(t, "depositor", socketVariable+"="+socket)
		w := g.expect("depositing")
		if want := fmt.Sprint(min(i, 1), i, 0, 0); strings.Join(w[1:], " ") != want {
			t.Errorf("welcome %v, want %s", w[1:], want)
		}
		if i == 0 {
			var err error
			if c, err = net.Dial("tcp", "127.0.0.1:"+w[0]); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(patience))
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		g.kill()
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the link: %d, %v", n, err)
	}
	k, w := openKeeping(t, socket)
	defer k.Close()
	if w != (handover.Welcome{Crashes: 3, Dropped: 1, Why: handover.DroppedCrashLoop, Memory: -1}) {
		t.Errorf("%+v", w)
	}
}

// The keeper is killed: the gateway goes on, and deposits everything with the next one.
func TestKeeperKilled(t *testing.T) {
	socket := keeperSocket(t)
	p := startKeeper(t, socket)
	k, _ := openKeeping(t, socket)
	if err := k.Share(memory(t, "hello"), true); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() { k.Run(ctx); close(ran) }()
	d := k.Deposit()
	fds := files(t, 300)
	addAll := func() {
		for i, fd := range fds {
			d.Add(uint64(i), fd)
		}
		d.Flush()
	}
	addAll()
	until(t, "300 links", func() bool { n, _, _ := p.figures(); return n == 300 })
	p.kill()
	for i := range 1000 { // nobody is there
		d.Release(uint64(i % 300))
		d.Add(uint64(i%300), fds[i%300])
		d.Flush()
	}
	p = startKeeper(t, socket)
	until(t, "the call to add everything again", func() bool { return d.Flush() })
	addAll()
	until(t, "300 links again", func() bool { n, _, _ := p.figures(); return n == 300 })
	if s := k.Stats(); s.Renews != 1 || s.Full != 0 {
		t.Errorf("%+v", s)
	}
	stop()
	<-ran
	k.Close()
	k, w := openKeeping(t, socket)
	defer k.Close()
	if w.Links != 300 || w.Memory < 0 || len(taken(t, k)) != 300 {
		t.Errorf("%+v", w)
	}
	_ = unix.Close(w.Memory)
}

// There is no keeper when the gateway starts, and no listening one when its memory changes: who comes gets the last memory, and all
// that was deposited.
func TestAwaitKeeping(t *testing.T) {
	socket := keeperSocket(t)
	k, err := handover.AwaitKeeping(socket, memory(t, "first"), nil)
	if err != nil {
		t.Fatal(err)
	}
	d := k.Deposit()
	d.Add(1, files(t, 1)[0])
	if d.Flush() || k.Stats().Up {
		t.Errorf("there is a keeper: %+v", k.Stats())
	}
	if err := k.Share(memory(t, "second"), false); err == nil {
		t.Error("somebody has the memory")
	}
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() { k.Run(ctx); close(ran) }()
	p := startKeeper(t, socket)
	until(t, "the call to add everything", func() bool { return d.Flush() })
	d.Add(1, files(t, 1)[0])
	d.Flush()
	until(t, "a link", func() bool { n, _, _ := p.figures(); return n == 1 })
	if s := k.Stats(); !s.Up || s.Renews != 1 {
		t.Errorf("%+v", s)
	}
	stop()
	<-ran
	k.Close()
	k, w := openKeeping(t, socket)
	defer k.Close()
	got := make([]byte, 10)
	if n, err := unix.Pread(w.Memory, got, 0); err != nil || string(got[:n]) != "second" || w.Links != 1 {
		t.Errorf("%+v with %q, %v", w, got, err)
	}
	_ = unix.Close(w.Memory)
}

// A keeper that stands still holds nobody up; when it moves again all is as it should be.
func TestKeeperHangs(t *testing.T) {
	socket := keeperSocket(t)
	p := startKeeper(t, socket)
	k, _ := openKeeping(t, socket)
	defer k.Close()
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() { k.Run(ctx); close(ran) }()
	defer func() { stop(); <-ran }()
	d := k.Deposit()
	fds := files(t, 10)
	if err := unix.Kill(p.pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for i := range 40_000 {
		d.Add(uint64(i), fds[i%10])
		if i >= 10_000 {
			d.Release(uint64(i - 10_000)) // of some that were never added
		}
		if i%64 == 0 {
			d.Flush()
		}
	}
	if s := d.Stats(); s.Put == 0 {
		t.Errorf("the socket has no end: %+v", s)
	}
	t.Logf("%v, %+v", time.Since(began), d.Stats())
	if err := unix.Kill(p.pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// What did not go in is asked for again.
	at := 40_000
	until(t, "everything sent", func() bool {
		if d.Flush() {
			at = 30_000
		}
		for ; at < 40_000 && d.Room() > 0; at++ {
			d.Add(uint64(at), fds[at%10])
		}
		return at == 40_000 && !d.Waiting()
	})
	until(t, "10,000 links", func() bool { n, _, _ := p.figures(); return n == 10_000 })
}

// A slow keeper is waited for through all the signals by which the runtime preempts: a gateway that came after a crash would lose every
// link for one of them.
func TestKeeperSlow(t *testing.T) {
	socket := keeperSocket(t)
	p := startKeeper(t, socket)
	slow := func(what string, f func() error) {
		t.Helper()
		if err := unix.Kill(p.pid, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		over := make(chan error, 1)
		go func() { over <- f() }()
		for range 100 {
			interruptAll(t)
			time.Sleep(time.Millisecond)
		}
		if err := unix.Kill(p.pid, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if err := <-over; err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	var k *handover.Keeping
	slow("open", func() (err error) { k, _, err = handover.OpenKeeping(socket, nil); return err })
	defer k.Close()
	d := k.Deposit()
	d.Add(1, files(t, 1)[0])
	d.Flush()
	n := 0
	slow("take", func() error { return k.Take(func(_ uint64, fd int) { n++; _ = unix.Close(fd) }) })
	if n != 1 {
		t.Errorf("%d links, want 1", n)
	}
}

// interruptAll sends every thread of this process the signal by which the runtime preempts.
func interruptAll(t *testing.T) {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range threads {
		id, err := strconv.Atoi(e.Name())
		if err == nil {
			err = unix.Tgkill(os.Getpid(), id, unix.SIGURG)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
	}
}

// Without descriptors the keeper says so, and keeps what it has.
func TestKeeperFull(t *testing.T) {
	socket := keeperSocket(t)
	p := startKeeper(t, socket, filesVariable+"=100")
	k, _ := openKeeping(t, socket)
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() { k.Run(ctx); close(ran) }()
	d := k.Deposit()
	fds := files(t, 200)
	for i, fd := range fds {
		d.Add(uint64(i), fd)
	}
	d.Flush()
	until(t, "the keeper's word for it", func() bool { return k.Stats().Full >= 100 })
	kept := 200 - int(k.Stats().Full)
	for i := range 200 {
		d.Release(uint64(i))
	}
	d.Flush()
	d.Add(7, fds[7])
	d.Flush()
	until(t, "one link", func() bool { n, _, _ := p.figures(); return n == 1 })
	t.Logf("%d of 200 kept", kept)
	stop()
	<-ran
	k.Close()
}

// Nonsense ends the connection and nothing else.
func TestKeeperHearsNonsense(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	socket := keeperSocket(t)
	p := startKeeper(t, socket)
	_, before, _ := p.figures()
	file := files(t, 1)[0]
	for range 300 {
		c, err := net.Dial("unixpacket", socket)
		if err != nil {
			t.Fatal(err)
		}
		uc := c.(*net.UnixConn)
		if r.IntN(3) > 0 {
			_, _ = c.Write([]byte{1, 1, 0, 0, 0, 0, 0, 0})
		}
		for range r.IntN(4) {
			b := make([]byte, r.IntN(40))
			for i := range b {
				b[i] = byte(r.IntN(12))
			}
			if len(b) > 1 && r.IntN(4) > 0 {
				b[1] = 1
			}
			if len(b) > 0 {
				_, _, _ = uc.WriteMsgUnix(b, unix.UnixRights(file, file), nil)
			}
		}
		_ = c.Close()
	}
	until(t, "an end of it", func() bool { n, f, _ := p.figures(); return n == 0 && f <= before || f <= before+n })
	k, _ := openKeeping(t, socket)
	k.Close()
}

// Only this user's processes are heard. The file's mode would do; here it is in the way.
func TestKeeperOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	socket := keeperSocket(t)
	p := startKeeper(t, socket)
	if err := errors.Join(os.Chmod(filepath.Dir(socket), 0o755), os.Chmod(socket, 0o666)); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(exe) // go test keeps it where others cannot go
	if err != nil {
		t.Fatal(err)
	}
	exe = filepath.Join(filepath.Dir(socket), "depositor")
	if err := os.WriteFile(exe, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: exe, Args: []string{"depositor"}, Env: []string{socketVariable + "=" + socket}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if !strings.Contains(string(out), "is of user 0") {
		t.Errorf("%s %v", out, err)
	}
	// One that does not look whom it speaks to is not heard either.
	if !dialledAs(t, socket, 65534) {
		t.Error("the keeper answered a stranger")
	}
	if n, _, _ := p.figures(); n != 0 {
		t.Error("it keeps something")
	}
}

// dialledAs says hello as another user, and reports whether the keeper hung up.
func dialledAs(t *testing.T, socket string, uid int) bool {
	t.Helper()
	hungUp := make(chan bool)
	go func() {
		// The thread's user is changed and never changed back: without an unlock the thread ends with its goroutine.
		runtime.LockOSThread()
		if _, _, e := unix.RawSyscall(unix.SYS_SETREUID, ^uintptr(0), uintptr(uid), 0); e != 0 {
			hungUp <- false
			return
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: socket})
		}
		if err != nil {
			hungUp <- false
			return
		}
		_, _ = unix.Write(fd, []byte{1, 1, 0, 0, 0, 0, 0, 0})
		n, _ := unix.Read(fd, make([]byte, 100))
		_ = unix.Close(fd)
		hungUp <- n <= 0
	}()
	return <-hungUp
}

// TestHarden: a keeper has no capability and does not get one by exec.
func TestHarden(t *testing.T) {
	if withCgo {
		t.Skip("this test binary has cgo: CGO_ENABLED=0 go test")
	}
	p := startKeeper(t, keeperSocket(t))
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch name {
		case "CapEff", "CapPrm", "CapInh":
			if strings.Trim(value, "0") != "" {
				t.Error(line)
			}
		case "NoNewPrivs":
			if value != "1" {
				t.Error(line)
			}
		}
	}
}
