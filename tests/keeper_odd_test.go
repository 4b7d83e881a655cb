//go:build e2e

package tests

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"edged/sdk/manager"
	"edged/wire"
)

// TestKeeperPoison: a process that dies of the links that it takes over does so twice, and then the links are gone.
func TestKeeperPoison(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "edged")
	install(t, binary, good(t), 0o755)
	g := startKept(t, startKeeper(t, "1m", "# the defaults"), setup{
		gateway: `login = "none"`, binary: binary, env: []string{"EDGED_FAULT=restore=crash"},
	})
	c := dial(t, g.address())
	c.want(wire.KindWelcome)
	g.wantHeld(1)
	install(t, binary, faulty(t), 0o755)
	g.kill()
	for range 2 {
		cmd, ended := g.begin()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Fatal("it does not die of the links")
		}
		if cmd.ProcessState.Success() {
			t.Fatal("it left")
		}
	}
	g.again()
	c.wantCut()
	g.wantWarning("links=1", "too many crashes within a minute")
	g.wantKept()
}

// TestKeeperAfterFailedReload: a process that is not replaced after all goes on to be kept.
func TestKeeperAfterFailedReload(t *testing.T) {
	for _, tc := range []struct{ fault, sentence string }{
		{"restore=crash", `the new process ended before it could load the state`},
		{"restore=no", `the new process refuses: it does not like this restore`},
		{"restore=hang", `the new process did not load the state within \S+`},
		{"serve=crash", `the new process ended before it could say hello`},
	} {
		t.Run(tc.fault, func(t *testing.T) {
			binary := filepath.Join(t.TempDir(), "edged")
			install(t, binary, good(t), 0o755)
			g := startKept(t, startKeeper(t, "1m"), setup{
				gateway: "reactors = 2", managers: []string{reference(t)}, binary: binary, env: []string{"EDGED_FAULT=" + tc.fault},
				more: "[handover]\naccept_pause = \"1s\"\nfreeze = \"500ms\"\n",
			})
			l := startNumbered(t, g.address(), 100)
			for range 2 {
				install(t, binary, faulty(t), 0o755)
				g.wantNoReload(tc.sentence)
				install(t, binary, good(t), 0o755)
				g.wantKept()
				l.excused.Add(2)
				g.crash()
			}
			g.reload()
			g.wantKept()
			l.excused.Add(2)
			g.crash()
			l.finishTorn(g.torn)
		})
	}
}

// TestKeeperTermInReload: who is told to leave while it is being replaced leaves its links to the keeper.
func TestKeeperTermInReload(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "edged")
	install(t, binary, good(t), 0o755)
	g := startKept(t, startKeeper(t, "1m", "# the defaults"), setup{
		managers: []string{reference(t)}, binary: binary, env: []string{"EDGED_FAULT=serve=hang"},
		more: "[handover]\naccept_pause = \"1m\"\nfreeze = \"10s\"\n",
	})
	l := startNumbered(t, g.address(), 100)
	for range 3 {
		install(t, binary, faulty(t), 0o755)
		g.signal(syscall.SIGHUP)
		waitFor(t, "another process", func() bool { return serving(g.file) == 2 })
		g.stop()
		install(t, binary, good(t), 0o755)
		g.again()
		if s := g.wantKept(); s.Recovered == nil || s.Recovered.Crash || s.Crashes != 0 {
			t.Errorf("%+v, %+v", s, s.Recovered)
		}
	}
	l.finish()
}

// serving is how many processes serve a file, or are about to.
func serving(file string) (n int) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		text, _ := os.ReadFile(path)
		if bytes.HasSuffix(text, []byte("serve\x00--config\x00"+file+"\x00")) {
			n++
		}
	}
	return n
}

// TestKeeperHalfSaid: what a client has said half, and what it has not read yet, is as before after a crash and a restart.
func TestKeeperHalfSaid(t *testing.T) {
	t.Parallel()
	k := newKit(t, echoHandler())
	g := startKept(t, startKeeper(t, "1m"), setup{managers: []string{k.address}})
	long := bytes.Repeat([]byte("0123456789abcdef"), 500)
	c := dialIn(t, g.address(), "ann/half")
	slow := dialNarrow(t, g.address(), "bob/slow")
	const messages = 20
	for n := range messages {
		check(t, slow.send(wire.KindData, append([]byte{byte(n)}, long...)))
	}
	for n := range 3 {
		text := append(fmt.Appendf(nil, "message %d ", n), long...)
		b := wire.Append(nil, wire.KindData, text)
		check(t, c.write(b[:100+2000*n]))
		pause(100 * time.Millisecond) // it is read, and its turn is over
		if n == 1 {
			g.stop()
			g.again()
			g.wantKept()
		} else if torn := g.crash(); torn != 0 {
			t.Fatalf("%d links torn", torn)
		}
		check(t, c.write(b[100+2000*n:]))
		if got := c.want(wire.KindData); !bytes.Equal(got, text) {
			t.Errorf("%d bytes %.20q came back of %d", len(got), got, len(text))
		}
	}
	for n := range messages {
		if got := slow.want(wire.KindData); len(got) != len(long)+1 || int(got[0]) != n {
			t.Fatalf("message %d of the slow one: %d bytes, number %d", n, len(got), got[0])
		}
	}
}

// TestKeeperUnixLinks: nobody can say of the link of a unix socket how far it has come. It ends with the process, and its Manager is
// told.
func TestKeeperUnixLinks(t *testing.T) {
	t.Parallel()
	var torn atomic.Int64
	h := echoHandler()
	h.Closed = func(e *manager.Event) {
		if string(e.Evidence) == "torn" {
			torn.Add(1)
		}
	}
	k := newKit(t, h)
	path := "unix:" + filepath.Join(t.TempDir(), "l.sock")
	g := startKept(t, startKeeper(t, "1m"), setup{managers: []string{k.address}, more: "[[listener]]\nname = \"local\"\naddress = \"" + path + "\"\n"})
	tcp, local := dialIn(t, g.address(), "ann/tcp"), dialIn(t, path, "bob/unix")
	g.wantHeld(1)
	g.kill()
	g.again()
	g.wantHeld(1)
	local.wantCut()
	check(t, tcp.exchange([]byte("hello")))
	waitFor(t, "its end is told", func() bool { return torn.Load() == 1 })
	if r := g.wantKept().Recovered; r.Links != 1 || r.Torn != 1 {
		t.Errorf("%+v", r)
	}
	dialIn(t, path, "bob/unix")
}
