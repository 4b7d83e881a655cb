//go:build e2e

package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tuned is a box of a test's own as far as that goes without a kernel of its own: its network's sysctls are its own and can be
// written, all others are read-only as in a container, /run and /etc are empty. It ends with the test.
type tuned struct {
	t   *testing.T
	pid int // of the process that keeps it
}

// tunedSetup makes the box. Only /proc/sys/net is writable: nothing of what the kernel has but once may be touched by a test.
const tunedSetup = `set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /etc
mkdir /etc/sysctl.d
mount -t sysfs -o ro sysfs /sys
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount --bind /proc/sys/net /proc/sys/net
mount -o remount,bind,rw /proc/sys/net
install -m 755 "$0" /run/edged-under-test
install -m 644 /dev/stdin /run/edged.toml <<EOF
[admin]
listen = []
[tuning]
links = 1_000_000
EOF
echo ready
exec cat`

// newTuned makes one; it skips the test where that is not allowed.
func newTuned(t *testing.T) *tuned {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("namespaces are made by root alone")
	}
	keeper := exec.Command("unshare", "--net", "--mount", "sh", "-c", tunedSetup, edged)
	keeper.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	keeper.Stderr = &said
	in := must(keeper.StdinPipe())(t)
	out := must(keeper.StdoutPipe())(t)
	check(t, keeper.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = keeper.Wait()
	})
	line := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(out, line); err != nil {
		_ = in.Close()
		_ = keeper.Wait()
		if strings.Contains(said.String(), "ermi") { // "Operation not permitted", "Permission denied"
			t.Skip("this root may not make namespaces:", said.String())
		}
		t.Fatal("make a box:", err, said.String())
	}
	return &tuned{t: t, pid: keeper.Process.Pid}
}

// command is a command in the box.
func (b *tuned) command(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	b.t.Cleanup(cancel)
	c := exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(b.pid), "-n", "-m"}, args...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// edged is a command of edged in the box; nsenter becomes it.
func (b *tuned) edged(args string) *exec.Cmd {
	all := append([]string{"/run/edged-under-test"}, strings.Fields(args)...)
	return b.command(append(all, "--config", "/run/edged.toml")...)
}

// run calls edged, looks at its status and for texts in its output, and returns that.
func (b *tuned) run(status int, args string, texts ...string) string {
	b.t.Helper()
	out, err := b.edged(args).CombinedOutput()
	b.ended(status, args, err, string(out), texts...)
	return string(out)
}

func (b *tuned) ended(status int, args string, err error, out string, texts ...string) {
	b.t.Helper()
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		b.t.Fatal(err)
	}
	if got != status {
		b.t.Errorf("edged %s: status %d, want %d\n%s", args, got, status, out)
	}
	for _, text := range texts {
		if !strings.Contains(out, text) {
			b.t.Errorf("edged %s: no %q in\n%s", args, text, out)
		}
	}
}

// shell runs a script in the box and returns what it says.
func (b *tuned) shell(script string) string {
	b.t.Helper()
	out, err := b.command("sh", "-c", script).CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// settings is all that can be read of the box's network, and what edged leaves in files.
func (b *tuned) settings() string {
	b.t.Helper()
	return b.shell("grep -rs . /proc/sys/net | grep -v 'nf_conntrack_count\\|stable_secret' | sort; ls /run/edged/*.json /etc/sysctl.d 2>/dev/null || true")
}

func (b *tuned) somaxconn() string { return b.shell("cat /proc/sys/net/core/somaxconn") }

// global is what this machine has but once and edged would change if it could.
func global(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, key := range []string{"fs/nr_open", "fs/file-max", "vm/swappiness", "vm/min_free_kbytes", "net/ipv4/tcp_mem", "net/core/somaxconn"} {
		fmt.Fprintf(&all, "%s %s", key, must(os.ReadFile("/proc/sys/"+key))(t))
	}
	return all.String()
}

// differ says in which lines two texts differ.
func differ(t *testing.T, what, want, got string) {
	t.Helper()
	if want == got {
		return
	}
	in := map[string]bool{}
	for line := range strings.Lines(want) {
		in[line] = true
	}
	for line := range strings.Lines(got) {
		if !in[line] {
			t.Errorf("%s: %s", what, strings.TrimSpace(line))
		}
		delete(in, line)
	}
	for line := range in {
		t.Errorf("%s: not any more: %s", what, strings.TrimSpace(line))
	}
}

// TestTune is the way there and back with the real kernel.
func TestTune(t *testing.T) {
	t.Parallel()
	outside := global(t)
	b := newTuned(t)
	before := b.settings()
	b.run(0, "tune plan", "Plan for 1,000,000 links", "net.core.somaxconn", "read-only here", "Others' part:")
	b.run(0, "tune plan --json", `"key": "net.core.somaxconn"`)
	b.run(0, "tune capacity", "first to end: ")
	b.run(0, "tune explain net.ipv4.tcp_rmem", "scope", "why")
	b.run(0, "tune nic")
	b.run(1, "tune verify", "edged tune apply has not set it")
	b.run(0, "doctor --over 100ms", "What to do next", "edged tune apply")
	differ(t, "who only looks", before, b.settings())

	b.run(0, "tune apply", "changed net.core.somaxconn: 4096 → 65535", "skipped fs.nr_open (read-only here")
	if got := b.shell("cat /proc/sys/net/ipv4/tcp_rmem"); strings.Join(strings.Fields(got), " ") != "4096 131072 1048576" {
		t.Errorf("tcp_rmem %q", got)
	}
	b.run(0, "tune verify", "all is as planned")
	b.run(0, "tune apply", "skipped fs.nr_open (read-only here", " skipped\n")
	b.shell("echo 5000 > /proc/sys/net/core/somaxconn; echo net.core.somaxconn=5000 > /etc/sysctl.d/99-admin.conf")
	b.run(1, "tune verify", "net.core.somaxconn", "/etc/sysctl.d/99-admin.conf")
	b.run(0, "tune revert", "drifted net.core.somaxconn", "restored net.ipv4.tcp_rmem")
	if got := b.somaxconn(); got != "5000" {
		t.Errorf("somaxconn %s: it was the administrator's", got)
	}
	b.run(0, "tune apply", "skipped net.core.somaxconn (/etc/sysctl.d/99-admin.conf:1")
	b.run(0, "tune apply --force", "changed net.core.somaxconn: 5000 → 65535")
	b.run(0, "tune revert", "restored net.core.somaxconn: 65535 → 5000")
	b.shell("rm /etc/sysctl.d/99-admin.conf; echo 4096 > /proc/sys/net/core/somaxconn")
	differ(t, "reverted", before, b.settings())

	b.run(0, "tune apply --persist", "kept over a reboot: /etc/sysctl.d/60-edged.conf")
	if got := b.shell("cat /etc/sysctl.d/60-edged.conf"); !strings.Contains(got, "\n-net.core.somaxconn = 65535") {
		t.Error(got)
	}
	b.run(0, "tune revert")
	differ(t, "reverted, and not kept", before, b.settings())
	differ(t, "outside", outside, global(t))
}

// TestTuneConfirm: what is not confirmed in time, or is interrupted, is put back.
func TestTuneConfirm(t *testing.T) {
	t.Parallel()
	b := newTuned(t)
	before := b.settings()
	b.run(1, "tune apply --confirm 1s --persist", "unless confirmed: edged tune confirm", "not confirmed within 1s: all is put back")
	differ(t, "not confirmed", before, b.settings())
	b.run(1, "tune confirm", "nothing waits to be confirmed")

	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT} {
		apply, out := b.apply("--confirm 1m")
		b.run(1, "tune revert", "another edged changes the settings of this box")
		check(t, apply.Process.Signal(s))
		b.ended(1, "apply", apply.Wait(), out.String(), "interrupted: all is put back")
		differ(t, s.String(), before, b.settings())
	}

	apply, out := b.apply("--confirm 1m")
	b.run(0, "tune confirm", "confirmed")
	b.ended(0, "apply", apply.Wait(), out.String(), " changed")
	if got := b.somaxconn(); got != "65535" {
		t.Error("somaxconn", got)
	}
	b.run(0, "tune verify")
	b.run(0, "tune revert")
	differ(t, "confirmed, reverted", before, b.settings())
}

// TestTuneHangUp: who tunes over the network and loses the line gets the box back as it was: the pipe's reader is gone.
func TestTuneHangUp(t *testing.T) {
	t.Parallel()
	b := newTuned(t)
	before := b.settings()
	c := b.edged("tune apply --confirm 1s")
	out := must(c.StdoutPipe())(t)
	check(t, c.Start())
	check(t, out.Close())
	if err := c.Wait(); err == nil {
		t.Error("status 0")
	}
	differ(t, "hung up", before, b.settings())
}

// apply starts an apply that waits to be confirmed, and returns when it does.
func (b *tuned) apply(flags string) (*exec.Cmd, *textLog) {
	b.t.Helper()
	c, out := b.edged("tune apply "+flags), &textLog{}
	c.Stdout, c.Stderr = out, out
	check(b.t, c.Start())
	waitFor(b.t, "apply waits", func() bool { return strings.Contains(out.String(), "unless confirmed") })
	return c, out
}

// TestTuneKilled: an apply that was killed at any moment can be put back whole, or made again.
func TestTuneKilled(t *testing.T) {
	t.Parallel()
	b := newTuned(t)
	before := b.settings()
	b.run(0, "tune apply")
	applied := b.settings()
	b.run(0, "tune revert")
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 0))
	const kills, tries = 20, 400
	middle := 0
	for n := 0; middle < kills && n < tries && !t.Failed(); n++ {
		if !b.killApply(time.Duration(rnd.Int64N(int64(time.Millisecond)))) {
			b.run(0, "tune revert")
			continue
		}
		if middle++; middle%3 == 0 {
			b.run(0, "tune apply", "an apply that did not come to its end is put back")
			differ(t, "applied again", applied, b.settings())
		}
		b.run(0, "tune revert")
		differ(t, fmt.Sprintf("seed %d, kill %d", seed, middle), before, b.settings())
	}
	t.Logf("seed %d: %d applies killed in the middle", seed, middle)
	if middle < kills && !t.Failed() {
		t.Errorf("seed %d: only %d of %d were hit in the middle", seed, middle, tries)
	}
}

// killApply starts an apply and kills it so long after it has begun to write; it says whether that was before its end. All
// writes together take about a millisecond, so that this looks for the moment without ever sleeping.
func (b *tuned) killApply(after time.Duration) bool {
	b.t.Helper()
	file := filepath.Join("/proc", strconv.Itoa(b.pid), "root/run/edged-tune/tuning.json")
	c := b.edged("tune apply")
	check(b.t, c.Start())
	limit := time.Now().Add(patience)
	for _, err := os.Stat(file); err != nil && time.Now().Before(limit); _, err = os.Stat(file) {
	}
	for end := time.Now().Add(after); time.Now().Before(end); {
	}
	_ = c.Process.Kill()
	_ = c.Wait()
	state := must(os.ReadFile(file))(b.t)
	return bytes.Contains(state, []byte(`"phase": "applying"`))
}

// TestTuneNotAllowed: without privileges it is said what is missing, and nothing else happens.
func TestTuneNotAllowed(t *testing.T) {
	t.Parallel()
	b := newTuned(t)
	before := b.settings()
	as := func(status int, args string, texts ...string) {
		t.Helper()
		all := append([]string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "/run/edged-under-test"}, strings.Fields(args)...)
		out, err := b.command(append(all, "--config", "/run/edged.toml")...).CombinedOutput()
		b.ended(status, args, err, string(out), texts...)
	}
	as(0, "tune plan", "no-permission", "you: edged tune apply as root")
	as(0, "tune capacity", "first to end: ")
	as(0, "doctor --over 100ms", "What to do next")
	as(1, "tune apply", "this needs root")
	as(1, "tune revert", "this needs root")
	as(1, "tune confirm")
	differ(t, "without privileges", before, b.settings())
}
