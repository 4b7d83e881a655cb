package netpoll_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edged/handover"
	"edged/netpoll"
)

// keptLoop is what a gateway with a keeper does at the end of each turn, for one loop.
type keptLoop struct {
	loop    *netpoll.Loop
	records *handover.Records
	deposit *handover.Deposit
	added   map[netpoll.Conn]bool
	cold    map[netpoll.Conn]bool // those whose last record had more than ConnBytes
	room    []byte
}

func newKeptLoop(l *netpoll.Loop, m *handover.Memory, k *handover.Keeping) *keptLoop {
	return &keptLoop{
		loop: l, records: m.Records(l.Number()), deposit: k.Deposit(), added: map[netpoll.Conn]bool{}, cold: map[netpoll.Conn]bool{},
	}
}

// key names a connection of a loop to the keeper, other than all that had its slot before.
func key(loop int, c netpoll.Conn) uint64 { return uint64(c) | uint64(loop)<<24 }

func (k *keptLoop) closed(c netpoll.Conn) {
	if k.added[c] {
		k.deposit.Release(key(k.loop.Number(), c))
		k.records.Clear(int(uint32(c)))
		delete(k.added, c)
		delete(k.cold, c)
	}
}

func (k *keptLoop) note(touched []netpoll.Conn) {
	for _, c := range touched {
		if !k.loop.Open(c) {
			continue
		}
		k.room = k.loop.AppendConn(k.room[:0], c)
		hot, cold := k.room[:netpoll.ConnBytes], k.room[netpoll.ConnBytes:]
		if len(cold) == 0 && !k.cold[c] && k.added[c] {
			k.records.Put(int(uint32(c)), hot)
		} else if !k.records.PutAll(int(uint32(c)), hot, cold) {
			panic("no blocks are left")
		}
		k.cold[c] = len(cold) != 0
		if !k.added[c] {
			k.added[c] = true
			k.deposit.Add(key(k.loop.Number(), c), k.loop.FD(c))
		}
	}
	k.records.Commit()
	if k.deposit.Flush() {
		panic("there is another keeper")
	}
}

// noteAll writes what the loop goes on with to a memory that has nothing yet.
func (k *keptLoop) noteAll() {
	var all []netpoll.Conn
	for c := range k.loop.Connections() {
		k.added[c], k.cold[c] = true, true
		all = append(all, c)
	}
	k.note(all)
}

// restoration pairs what a keeper has with the records.
func restoration(loops int, m *handover.Memory, k *handover.Keeping) (*netpoll.Restoration, error) {
	fds := map[uint64]int{}
	if err := k.Take(func(key uint64, fd int) { fds[key] = fd }); err != nil {
		return nil, err
	}
	in := &netpoll.Restoration{Version: netpoll.StateVersion, Loops: make([][]netpoll.Kept, loops), Check: handover.CheckFlow}
	for n := range loops {
		records := m.Records(n)
		for i := range records.Used() {
			hot, cold, err := records.Get(i, nil, nil)
			if errors.Is(err, handover.ErrNoRecord) {
				continue
			}
			if err != nil {
				return nil, err
			}
			name := key(n, netpoll.ConnOf(hot))
			if fd, ok := fds[name]; ok {
				in.Loops[n] = append(in.Loops[n], netpoll.Kept{FD: fd, Record: append(hot, cold...)})
				delete(fds, name)
			}
		}
	}
	d := k.Deposit()
	for name, fd := range fds { // without a record
		d.Release(name)
		_ = unix.Shutdown(fd, unix.SHUT_RDWR)
		_ = unix.Close(fd)
	}
	d.Flush()
	return in, nil
}

const (
	keptLoops  = 2
	keeperEnv  = "NETPOLL_TEST_KEEPER"
	keptSocket = 3 // the listening socket that the child has
)

// serveKept is the process that will be killed: it goes on with what the one before it left, and has everything kept.
func serveKept(t *testing.T) {
	k, w, err := handover.OpenKeeping(os.Getenv(keeperEnv), nil)
	for end := time.Now().Add(limit); errors.Is(err, handover.ErrKeeperBusy) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
		k, w, err = handover.OpenKeeping(os.Getenv(keeperEnv), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Leave(true); err != nil { // its end is none by accident
		t.Fatal(err)
	}
	cfg := netpoll.Config{Loops: keptLoops, HighWater: 3000, MaxConns: 1000}
	m, err := handover.NewMemory(handover.Geometry{Shards: keptLoops, Records: cfg.MaxConns, Blocks: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	if w.Memory >= 0 {
		old, err := handover.OpenMemory(w.Memory)
		if err == nil {
			cfg.Restore, err = restoration(keptLoops, old, k)
		}
		if err != nil {
			t.Fatal(err)
		}
		old.Retire()
		_ = old.Close()
	}
	var kept []*keptLoop
	cfg.Note = func(l *netpoll.Loop, touched []netpoll.Conn) { kept[l.Number()].note(touched) }
	g := newGroup(t, cfg, func(h *hooks) {
		echoFrames(h)
		l := newKeptLoop(h.loop, m, k)
		kept = append(kept, l)
		h.closed = func(c netpoll.Conn, _ error) { l.closed(c) }
	})
	if g.Dropped() != 0 {
		t.Error(g.Err())
	}
	if _, err := g.Adopt(keptSocket); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, l := range kept {
		l.noteAll()
		n += len(l.added)
	}
	if err := k.Share(m.FD(), w.Memory < 0); err != nil {
		t.Fatal(err)
	}
	g.Start()
	fmt.Printf("serves %d %d\n", n, g.Torn())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// keptChild starts such a process and returns how many connections it goes on with and how many it ended.
func keptChild(t *testing.T, keeper string, listener *os.File) (cmd *exec.Cmd, restored, torn int) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), childEnv+"=1", keeperEnv+"="+keeper)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{listener}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = in.Close(), cmd.Wait() })
	said := make(chan string, 1)
	go func() {
		r := bufio.NewReader(out)
		line, _ := r.ReadString('\n')
		said <- line
		_, _ = io.Copy(os.Stderr, r)
	}()
	if line := wait(t, said, "the new process"); !strings.HasPrefix(line, "serves") {
		t.Fatalf("the new process said %q", line)
	} else if _, err := fmt.Sscanf(line, "serves %d %d", &restored, &torn); err != nil {
		t.Fatal(err)
	}
	return cmd, restored, torn
}

// newKeeper keeps links until the test ends.
func newKeeper(t testing.TB) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "keeper") // t.TempDir may be longer than a socket's address
	if err != nil {
		t.Fatal(err)
	}
	cfg := handover.DefaultKeeper()
	cfg.Socket = filepath.Join(dir, "k.sock")
	k, err := handover.NewKeeper(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- k.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := wait(t, served, "the keeper's end"); err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(dir)
	})
	return cfg.Socket
}

// A process that is killed at any moment takes with it the links of its last turn at most: the others go on in the next one, and no
// client ever reads a byte that is wrong, or waits for one in vain.
func TestRestoreAfterKill(t *testing.T) {
	if isChild() {
		serveKept(t)
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	keeper := newKeeper(t)
	child, _, _ := keptChild(t, keeper, file)
	addr := listener.Addr().String()
	quiet := map[*net.TCPConn]int{} // with what they have sent of the frame
	for range 10 {
		c := dial(t, addr)
		mustWrite(t, c, []byte{0, 40})
		quiet[c] = 2
	}
	slow := dial(t, addr) // who does not read what the kernel and the process hold for it
	burst := frames(random(t), 8<<20, 2000)
	go func() { _, _ = slow.Write(burst) }()
	crowd := newCrowd(t, 0)
	crowd.torn = true
	crowd.come(t, 12, addr)
	pass := newClock(t)
	r := random(t)
	restored, torn := 0, 0
	const kills = 12
	for range kills {
		pass(20*time.Millisecond + time.Duration(r.IntN(30000))*time.Microsecond)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait()
		var n, lost int
		child, n, lost = keptChild(t, keeper, file)
		restored, torn = restored+n, torn+lost
		for c, n := range quiet {
			renew(t, c)
			_, _ = c.Write([]byte{byte(n)}) // a torn one is found out in the end
			quiet[c]++
		}
	}
	crowd.end()
	t.Logf("%d times a link went on, %d times it was torn", restored, torn)
	if restored+torn < kills*len(quiet) {
		t.Errorf("%d links of %d went on", restored, kills*len(quiet))
	}
	for c, n := range quiet {
		if !finishes(t, c, n) {
			torn--
		}
	}
	renew(t, slow)
	if b, err := io.ReadAll(io.LimitReader(slow, int64(len(burst)))); err != nil {
		torn--
	} else if !bytes.Equal(b, burst) {
		t.Error("the slow link reads other bytes than it wrote")
	}
	if torn < 0 {
		t.Errorf("%d links ended that nobody called torn", -torn)
	}
}

// finishes sends the rest of a frame of 42 bytes whose first ones were sent over many processes, and reads it; false if the link
// is no more.
func finishes(t *testing.T, c *net.TCPConn, n int) bool {
	t.Helper()
	renew(t, c)
	want := []byte{0, 40}
	for len(want) < 42 {
		want = append(want, byte(len(want)))
	}
	b := make([]byte, 42)
	if _, err := c.Write(want[n:]); err != nil {
		return false
	}
	if _, err := io.ReadFull(c, b); err != nil {
		return false
	}
	if !bytes.Equal(b, want) {
		t.Errorf("a link with half a frame reads %v", b)
	}
	return true
}

// checkTCP is handover.CheckFlow, but for unix sockets, of which a test knows that they stood still.
func checkTCP(fd int, read, written uint32) error {
	if domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err == nil && domain == unix.AF_UNIX {
		return nil
	}
	return handover.CheckFlow(fd, read, written)
}

// keep returns all connections of a group that stands still, as somebody has them who holds their descriptors open.
func keep(t testing.TB, g *netpoll.Group) *netpoll.Restoration {
	t.Helper()
	in := &netpoll.Restoration{Version: netpoll.StateVersion, Loops: make([][]netpoll.Kept, len(g.Loops())), Check: checkTCP}
	for i, l := range g.Loops() {
		for _, c := range l.Everyone() {
			fd, err := unix.FcntlInt(uintptr(l.Descriptor(c)), unix.F_DUPFD, 0)
			if err != nil {
				t.Fatal(err)
			}
			in.Loops[i] = append(in.Loops[i], netpoll.Kept{FD: fd, Record: l.AppendConn(nil, c)})
		}
	}
	return in
}

// revive has a new group go on with the connections of one that was killed.
func revive(t testing.TB, old *netpoll.Group, cfg netpoll.Config, set func(h *hooks)) *netpoll.Group {
	t.Helper()
	mustFreeze(t, old)
	cfg.Restore = keep(t, old)
	for _, kept := range cfg.Restore.Loops { // the process was killed while all of them were gathering
		for _, k := range kept {
			if err := unix.SetsockoptInt(k.FD, unix.SOL_SOCKET, unix.SO_RCVLOWAT, 1<<10); err != nil {
				t.Fatal(err)
			}
		}
	}
	old.Abandon()
	for _, l := range old.Loops() {
		l.Die()
	}
	g := newGroup(t, cfg, set)
	if g.Dropped() != 0 || g.Torn() != 0 || g.Err() != nil {
		t.Errorf("%d dropped, %d torn: %v", g.Dropped(), g.Torn(), g.Err())
	}
	g.Start()
	return g
}

func TestRestoreTakesConnectionsAsTheyAre(t *testing.T) { storiesGoOn(t, true) }

// What cannot be gone on with costs that connection, which is ended, and its name stays stale; the others go on under theirs.
func TestRestoreDropsAndTears(t *testing.T) {
	conns := make(chan netpoll.Conn, 10)
	set := func(h *hooks) {
		echoFrames(h)
		h.opened = func(c netpoll.Conn, _ int) { conns <- c }
	}
	cfg := netpoll.Config{MaxConns: 6}
	g := newGroup(t, cfg, set)
	addr := listen(t, g)
	g.Start()
	names := []string{"whole", "read", "written", "cut", "high", "doubled"}
	peers, list := map[string]*net.TCPConn{}, map[string]netpoll.Conn{}
	for _, name := range names {
		peers[name] = dial(t, addr)
		list[name] = wait(t, conns, name)
	}
	mustFreeze(t, g)
	in := keep(t, g)
	kept := in.Loops[0]
	mustWrite(t, peers["read"], []byte{1})
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(kept[1].FD), Events: unix.POLLIN}}, int(limit.Milliseconds())); n != 1 {
		t.Fatal(err)
	}
	if _, err := unix.Read(kept[1].FD, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(kept[2].FD, []byte{1}); err != nil {
		t.Fatal(err)
	}
	kept[3].Record = kept[3].Record[:netpoll.ConnBytes-1]
	kept[4].Record[0] = 200
	kept[5].Record[0] = 0
	g.Abandon()
	g.Loops()[0].Die()
	cfg.Restore = in
	opens := map[string]bool{}
	heir := newGroup(t, cfg, func(h *hooks) {
		set(h)
		for name, c := range list {
			opens[name] = h.loop.Open(c)
		}
	})
	for name, open := range opens {
		if open != (name == "whole") {
			t.Errorf("%s: open is %v", name, open)
		}
	}
	if err := heir.Err(); heir.Torn() != 2 || heir.Dropped() != 3 || err == nil || !strings.Contains(err.Error(), "a record of 47 bytes") {
		t.Errorf("%d torn, %d dropped: %v", heir.Torn(), heir.Dropped(), err)
	}
	addr = listen(t, heir)
	heir.Start()
	for name, c := range peers {
		if name == "whole" {
			mustWrite(t, c, []byte{0, 0})
			mustRead(t, c, 2)
		} else if b := mustEnd(t, c); len(b) > 1 {
			t.Errorf("%s reads %v", name, b)
		}
	}
	for range 5 { // the slots of the others
		dial(t, addr)
		if c := wait(t, conns, "a connection"); c == list["read"] || c == list["written"] || c == list["whole"] {
			t.Errorf("%#x again", uint64(c))
		}
	}
}

// A group that is not made, or not started, leaves the connections to whoever holds them open.
func TestRestoreThatDoesNotStart(t *testing.T) {
	g := newGroup(t, netpoll.Config{}, echoFrames)
	addr := listen(t, g)
	g.Start()
	c := dial(t, addr)
	mustWrite(t, c, []byte{0, 1})
	until(t, g.Loops()[0], "half a frame", func() bool { return g.Loops()[0].Stats().ReadBytes == 2 })
	mustFreeze(t, g)
	in := keep(t, g)
	for want, cfg := range map[string]netpoll.Config{
		"there are to be 2 loops": {Loops: 2, Restore: in},
		"version 0":               {Restore: &netpoll.Restoration{Loops: in.Loops}},
		"not both":                {Restore: in, Inherit: &netpoll.Inheritance{Version: netpoll.StateVersion, Loops: appendStates(g)}},
	} {
		if _, err := netpoll.New(cfg, func(*netpoll.Loop) netpoll.Handler { return nil }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	heir := newGroup(t, netpoll.Config{Restore: in}, echoFrames)
	heir.Stop()
	if _, err := unix.FcntlInt(uintptr(in.Loops[0][0].FD), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
		t.Errorf("its descriptor is open: %v", err)
	}
	g.Thaw()
	g = revive(t, g, netpoll.Config{}, echoFrames)
	mustWrite(t, c, []byte{9})
	mustRead(t, c, 3)
	if netpoll.ConnOf(nil) != 0 || len(g.Loops()[0].AppendConn(nil, 5)) != 0 {
		t.Error("there is a record of nothing")
	}
}
