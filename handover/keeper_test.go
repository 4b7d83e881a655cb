package handover_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"edged/handover"

	"golang.org/x/sys/unix"
)

func keeperSocket(t testing.TB) string {
	dir, err := os.MkdirTemp("", "keeper") // t.TempDir may be longer than a socket's address
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "k.sock")
}

// startKeeper starts a keeper process.
func startKeeper(t testing.TB, socket string, env ...string) *process {
	t.Helper()
	p := startProcess(t, "keeper", append(env, socketVariable+"="+socket)...)
	p.expect("keeping")
	return p
}

// figures asks a keeper process how many links it has, how many descriptors, and for how many it had no room.
func (p *process) figures() (links, files, full int) {
	p.t.Helper()
	p.tell("stat")
	w := p.expect("stat")
	links, _ = strconv.Atoi(w[0])
	files, _ = strconv.Atoi(w[1])
	full, _ = strconv.Atoi(w[2])
	return links, files, full
}

// until waits for something that another process does.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// open connects as a gateway; the one before may still be leaving, and so may others that kept the keeper from hearing anybody.
func openKeeping(t testing.TB, socket string) (*handover.Keeping, handover.Welcome) {
	t.Helper()
	var k *handover.Keeping
	var w handover.Welcome
	until(t, "a welcome", func() (ok bool) {
		var err error
		k, w, err = handover.OpenKeeping(socket, nil)
		if err != nil && !errors.Is(err, handover.ErrKeeperBusy) && !errors.Is(err, unix.ECONNRESET) {
			t.Fatal(err)
		}
		return err == nil
	})
	return k, w
}

// memory returns a file of one page with text in it.
func memory(t testing.TB, text string) int {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err == nil {
		_, err = unix.Write(fd, []byte(text))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// files returns n descriptors of different files, closed when the test ends.
func files(t testing.TB, n int) []int {
	t.Helper()
	fds := make([]int, n)
	for i := range fds {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds[i] = fd
	}
	t.Cleanup(func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	})
	return fds
}

func inode(t testing.TB, fd int) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// taken returns the inodes of what the keeper gives back, and closes it.
func taken(t testing.TB, k *handover.Keeping) map[uint64]uint64 {
	t.Helper()
	got := map[uint64]uint64{}
	if err := k.Take(func(key uint64, fd int) {
		if flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC != 0 {
			t.Error("a descriptor that a successor would not have")
		}
		got[key] = inode(t, fd)
		_ = unix.Close(fd)
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

// Random adds, replacements and releases against a map; the next gateway gets what the map has.
func TestKeeperKeeps(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	socket := keeperSocket(t)
	p := startKeeper(t, socket)
	k, w := openKeeping(t, socket)
	if w != (handover.Welcome{Memory: -1}) {
		t.Errorf("%+v", w)
	}
	if err := k.Share(memory(t, "hello"), true); err != nil {
		t.Fatal(err)
	}
	fds := files(t, 700)
	want := map[uint64]uint64{}
	d := k.Deposit()
	for range 20_000 {
		key := uint64(r.IntN(1000)) << 40
		if r.IntN(5) < 3 {
			fd := fds[r.IntN(len(fds))]
			d.Add(key, fd)
			want[key] = inode(t, fd)
		} else {
			d.Release(key)
			delete(want, key)
		}
		for r.IntN(50) == 0 || d.Room() < 100 {
			if d.Flush() {
				t.Fatal("another keeper?")
			}
		}
	}
	until(t, "everything sent", func() bool { d.Flush(); return !d.Waiting() })
	until(t, "everything kept", func() bool { n, _, _ := p.figures(); return n == len(want) })
	k.Close()

	k, w = openKeeping(t, socket)
	defer k.Close()
	if w.Links != len(want) || w.Crashes != 1 || w.Dropped != 0 || w.Memory < 0 {
		t.Errorf("%+v, want %d links", w, len(want))
	}
	b := make([]byte, 10)
	if n, err := unix.Pread(w.Memory, b, 0); string(b[:n]) != "hello" || err != nil {
		t.Errorf("the memory has %q, %v", b[:n], err)
	}
	_ = unix.Close(w.Memory)
	for range 2 { // what was taken stays kept
		got := taken(t, k)
		if len(got) != len(want) {
			t.Errorf("%d of %d links", len(got), len(want))
		}
		for key, ino := range want {
			if got[key] != ino {
				t.Fatalf("key %d has inode %d, not %d", key, got[key], ino)
			}
		}
	}
}

// 5,000 links come and go; no descriptor stays behind in the keeper.
func TestKeeperNoGhosts(t *testing.T) {
	socket := keeperSocket(t)
	p := startKeeper(t, socket)
	k, _ := openKeeping(t, socket)
	defer k.Close()
	d := k.Deposit()
	_, before, _ := p.figures()
	fds := files(t, 100)
	for round := range 3 {
		for i := range 5000 {
			d.Add(uint64(i), fds[i%100])
			for d.Room() < 100 { // more than the keeper takes at once
				d.Flush()
			}
		}
		until(t, "5,000 links", func() bool { d.Flush(); n, f, _ := p.figures(); return n == 5000 && f >= before+5000 })
		for i := range 5000 {
			d.Release(uint64(i))
		}
		until(t, "no links", func() bool { d.Flush(); n, f, _ := p.figures(); return n == 0 && f <= before })
		if s := d.Stats(); s.Added != uint64(5000*(round+1)) || s.Released != s.Added {
			t.Errorf("%+v", s)
		}
	}
}

// A gateway that says that it leaves is no crash, and says what becomes of the links.
func TestLeave(t *testing.T) {
	socket := keeperSocket(t)
	p := startKeeper(t, socket)
	fds := files(t, 3)
	for round := range 4 {
		k, w := openKeeping(t, socket)
		keep := round < 3
		if want := min(round, 1) * 3; w.Links != want || w.Crashes != 0 || w.Dropped != 0 {
			t.Errorf("round %d: %+v", round, w)
		}
		if w.Memory >= 0 {
			_ = unix.Close(w.Memory)
		}
		d := k.Deposit()
		for i, fd := range fds {
			d.Add(uint64(i), fd)
		}
		d.Flush()
		if err := errors.Join(k.Share(memory(t, "x"), false), k.Leave(keep)); err != nil {
			t.Fatal(err)
		}
		k.Close()
	}
	k, w := openKeeping(t, socket)
	defer k.Close()
	if w != (handover.Welcome{Memory: -1}) {
		t.Errorf("%+v", w)
	}
	if n, _, _ := p.figures(); n != 0 {
		t.Errorf("%d links", n)
	}
}

// Nobody comes: the links are let go, so that their clients look for another gateway.
func TestHold(t *testing.T) {
	cfg := handover.DefaultKeeper()
	cfg.Socket, cfg.Hold = keeperSocket(t), 10*time.Millisecond
	keeper, err := handover.NewKeeper(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- keeper.Serve(ctx) }()
	k, _ := openKeeping(t, cfg.Socket)
	d := k.Deposit()
	d.Add(1, files(t, 1)[0])
	d.Flush()
	until(t, "a link", func() bool { return keeper.Stats().Links == 1 })
	k.Close()
	until(t, "no link", func() bool { return keeper.Stats().Links == 0 })
	k, w := openKeeping(t, cfg.Socket)
	if w.Dropped != 1 || w.Why != handover.DroppedNobody {
		t.Errorf("%+v", w)
	}
	k.Close()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, _, err := handover.OpenKeeping(cfg.Socket, nil); err == nil {
		t.Error("it still listens")
	}
}

// The keeper ends: the gateway that loses it has not crashed.
func TestKeeperEnds(t *testing.T) {
	cfg := handover.DefaultKeeper()
	cfg.Socket = keeperSocket(t)
	keeper, err := handover.NewKeeper(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- keeper.Serve(ctx) }()
	k, _ := openKeeping(t, cfg.Socket)
	defer k.Close()
	d := k.Deposit()
	d.Add(1, files(t, 1)[0])
	d.Flush()
	until(t, "a link", func() bool { return keeper.Stats().Links == 1 })
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := keeper.Stats(); got.Crashes != 0 || got.Links != 0 || got.Gateways != 1 {
		t.Errorf("%+v", got)
	}
}

func TestSecondGateway(t *testing.T) {
	socket := keeperSocket(t)
	startKeeper(t, socket)
	k, _ := openKeeping(t, socket)
	if _, _, err := handover.OpenKeeping(socket, nil); !errors.Is(err, handover.ErrKeeperBusy) {
		t.Errorf("got %v", err)
	}
	k.Close()
	k, _ = openKeeping(t, socket)
	k.Close()
}

func TestSecondKeeper(t *testing.T) {
	socket := keeperSocket(t)
	p := startKeeper(t, socket)
	cfg := handover.DefaultKeeper()
	cfg.Socket = socket
	if _, err := handover.NewKeeper(cfg, nil); err == nil || !strings.Contains(err.Error(), "another one listens") {
		t.Errorf("got %v", err)
	}
	p.kill()
	k, err := handover.NewKeeper(cfg, nil) // in the place of one that died
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := k.Serve(ctx); err != nil {
		t.Error(err)
	}
}
