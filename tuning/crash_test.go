package tuning_test

import (
	"bufio"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"edged/tuning"
)

// died is what a test's kernel panics with where the process would have died.
type died struct{}

// until runs f, which the kernel ends before or after its nth write; it says whether it came so far.
func (m *machine) until(n int, after bool, f func()) (dead bool) {
	writes := 0
	hook := func(string, string) {
		if writes++; writes == n {
			panic(died{})
		}
	}
	if after {
		m.Files.after = hook
	} else {
		m.Files.before = hook
	}
	defer func() {
		m.Files.before, m.Files.after = nil, nil
		if r := recover(); r != nil {
			if _, ok := r.(died); !ok {
				panic(r)
			}
			dead = true
		}
	}()
	f()
	return false
}

// recover is what edged does at its next start.
func (m *machine) recover(t *testing.T) tuning.Result {
	t.Helper()
	res, err := m.Recover(context.Background(), tuning.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// An Apply that dies before or after any of its writes is undone at the next start, to the last byte.
func TestDeathInApply(t *testing.T) {
	for name, after := range map[string]bool{"before": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := open(t, "virtio4")
			before := m.picture(t)
			_, plan := m.plan(t)
			n := 1
			for ; m.until(n, after, func() { _, _ = m.Apply(context.Background(), plan, tuning.Options{}) }); n++ {
				if res := m.recover(t); !res.RolledBack {
					t.Fatalf("death %d: %+v", n, res)
				}
				if d := differences(before, m.picture(t)); d != nil {
					t.Fatalf("death %d, recovered:\n%s", n, strings.Join(d, "\n"))
				}
				if res := m.recover(t); res.RolledBack || len(res.Outcomes) > 0 {
					t.Fatalf("recovered twice: %s", res.Summary())
				}
			}
			if n < 20 {
				t.Errorf("it died %d times only", n)
			}
		})
	}
}

// The second Apply that dies leaves what the first one did, and Revert still knows what was there before both.
func TestDeathInSecondApply(t *testing.T) {
	m := open(t, "virtio4")
	before := m.picture(t)
	m.Goal.Links = 300_000
	m.apply(t, tuning.Options{})
	first := m.picture(t)
	m.Goal.Links = 1_500_000
	_, plan := m.plan(t)
	for n := 1; m.until(n, n%2 == 0, func() { _, _ = m.Apply(context.Background(), plan, tuning.Options{}) }); n++ {
		m.recover(t)
		if d := differences(first, m.picture(t)); d != nil {
			t.Fatalf("death %d, recovered:\n%s", n, strings.Join(d, "\n"))
		}
	}
	m.revert(t)
	if d := differences(before, m.picture(t)); d != nil {
		t.Errorf("put back:\n%s", strings.Join(d, "\n"))
	}
}

// What dies while it puts back is gone through again.
func TestDeathInRevertAndInRecover(t *testing.T) {
	t.Parallel()
	m := open(t, "old")
	before := m.picture(t)
	for n := 1; ; n += 5 {
		m.apply(t, tuning.Options{})
		if !m.until(n, n%2 == 0, func() { m.revert(t) }) {
			break
		}
		m.revert(t)
		if d := differences(before, m.picture(t)); d != nil {
			t.Fatalf("death %d in revert:\n%s", n, strings.Join(d, "\n"))
		}
		_, plan := m.plan(t)
		m.until(15, true, func() { _, _ = m.Apply(context.Background(), plan, tuning.Options{}) })
		m.until(n%14+1, n%2 == 0, func() { m.recover(t) })
		m.recover(t)
		if d := differences(before, m.picture(t)); d != nil {
			t.Fatalf("death %d in recover:\n%s", n, strings.Join(d, "\n"))
		}
	}
}

// An Apply that finds the work of one that died puts it back before it begins.
func TestApplyAfterDeath(t *testing.T) {
	m := open(t, "virtio4")
	before := m.picture(t)
	_, plan := m.plan(t)
	m.until(9, true, func() { _, _ = m.Apply(context.Background(), plan, tuning.Options{}) })
	res, err := m.Apply(context.Background(), plan, tuning.Options{})
	if err != nil || res.Count(tuning.Changed) != len(plan.Changes()) {
		t.Fatal(res.Summary(), err)
	}
	m.revert(t)
	if d := differences(before, m.picture(t)); d != nil {
		t.Error(d)
	}
}

// One that died after its last write, and another one to which all looks as it should: what is in force at the end is kept.
func TestApplyAfterDeathAtTheEnd(t *testing.T) {
	m := open(t, "vps")
	before := m.picture(t)
	_, plan := m.plan(t)
	m.until(len(plan.Changes()), true, func() { _, _ = m.Apply(context.Background(), plan, tuning.Options{}) })
	res := m.apply(t, tuning.Options{}) // its plan has no changes
	if _, plan := m.plan(t); len(plan.Changes()) > 0 || res.Count(tuning.Changed) == 0 {
		t.Error(res.Summary(), plan.Changes())
	}
	if res := m.recover(t); res.RolledBack {
		t.Error("put back afterwards")
	}
	m.revert(t)
	if d := differences(before, m.picture(t)); d != nil {
		t.Error(d)
	}
}

// The kernel cut the value, and the process died before it could see that: what lies between old and wanted is its own work.
func TestDeathBeforeClampedValueWasRead(t *testing.T) {
	m := open(t, "virtio4")
	before := m.picture(t)
	m.Files.cut = func(path, value string) string {
		if strings.HasSuffix(path, "somaxconn") && value == "65535" {
			return "50000"
		}
		return value
	}
	_, plan := m.plan(t)
	e, _ := plan.Entry("net.core.somaxconn")
	plan.Entries = []tuning.Entry{e}
	m.until(1, true, func() { _, _ = m.Apply(context.Background(), plan, tuning.Options{}) })
	m.recover(t)
	if d := differences(before, m.picture(t)); d != nil {
		t.Error(d)
	}
	m.until(1, true, func() { _, _ = m.Apply(context.Background(), plan, tuning.Options{}) })
	m.set(t, "proc/sys/net/core/somaxconn", "128000")
	if res := m.recover(t); res.Count(tuning.Drifted) != 1 || m.get(t, "proc/sys/net/core/somaxconn") != "128000" {
		t.Error("somebody's value was taken for ours:", res.Summary())
	}
}

func TestContextEndsInApply(t *testing.T) {
	m := open(t, "mlx5")
	before := m.picture(t)
	ctx, cancel := context.WithCancel(context.Background())
	_, plan := m.plan(t)
	m.Files.after = func(path, _ string) {
		if strings.HasSuffix(path, "tcp_mem") {
			cancel()
		}
	}
	res, err := m.Apply(ctx, plan, tuning.Options{})
	if err == nil || !res.RolledBack {
		t.Fatal(res.Summary(), err)
	}
	if d := differences(before, m.picture(t)); d != nil {
		t.Error(d)
	}
}

// childRoot tells a child of this test binary to apply the machine's plan below that root, and to say so line by line.
const childRoot = "EDGED_TUNING_CHILD_ROOT"

func TestMain(m *testing.M) {
	if root := os.Getenv(childRoot); root != "" {
		child(root)
		return
	}
	if dir, err := os.MkdirTemp("/dev/shm", "tuning-*"); err == nil { // as /run is: a disk makes of each death a second
		defer os.RemoveAll(dir)
		os.Setenv("TMPDIR", dir)
	}
	m.Run() // the status is the process's when this returns
}

// child applies, and after it reverts, and so on, until it is killed.
func child(root string) {
	t := &testing.T{}
	m := openAt(t, "virtio4", root)
	say := func(string, string) { os.Stdout.WriteString("write\n") }
	m.Files.before, m.Files.after = say, say
	for {
		m.apply(t, tuning.Options{})
		m.revert(t)
	}
}

// kill -9 hits a process at 20 random points of its work; what it leaves is put back.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	m := open(t, "virtio4")
	before := m.picture(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		lines := 1 + random.IntN(110)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		cmd := exec.CommandContext(ctx, self)
		cmd.Env = append(os.Environ(), childRoot+"="+m.Root)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewScanner(out)
		for n := 0; n < lines && in.Scan(); n++ {
		}
		time.Sleep(time.Duration(random.IntN(500)) * time.Microsecond) // somewhere between two lines
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
		cancel()
		res := m.recover(t) // Apply was cut short, or Revert, which Recover leaves to itself
		if !res.RolledBack {
			res = m.revert(t)
		}
		if d := differences(before, m.picture(t)); d != nil {
			t.Fatalf("kill %d after %d lines: %s; differs:\n%s", i, lines, res.Summary(), strings.Join(d, "\n"))
		}
	}
	if _, err := os.Stat(m.Root + "/run/edged-tune/tuning.json"); !os.IsNotExist(err) {
		t.Error("the state file is still there:", err, strconv.Itoa(len(m.Files.writes)))
	}
}
