package tuning_test

import (
	"encoding/json"
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"edged/tuning"
)

// All that edged says of its settings, to be read by a person.
func TestExplainEverything(t *testing.T) {
	found, plan := open(t, "virtio4").plan(t)
	var b strings.Builder
	for _, e := range plan.Entries {
		if (e.Kind == tuning.KindIRQ || e.Kind == tuning.KindQueue) && !strings.HasSuffix(e.Key, "-0") && !strings.Contains(e.Key, "-0/") {
			continue
		}
		text, err := tuning.Explain(found, plan, e.Key)
		if err != nil {
			t.Error(err)
		}
		b.WriteString(text)
	}
	golden(t, "testdata/explain-all.txt", []byte(b.String()))
}

func TestOutcomesAsTable(t *testing.T) {
	m := open(t, "vps")
	m.Files.refuse = map[string]syscall.Errno{"proc/sys/vm/swappiness": syscall.EINVAL}
	m.Files.cut = func(path, value string) string {
		if strings.HasSuffix(path, "somaxconn") && value == "65535" {
			return "60000"
		}
		return value
	}
	var b strings.Builder
	if err := m.apply(t, tuning.Options{}).WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	m.set(t, "proc/sys/net/ipv4/tcp_fin_timeout", "20")
	if err := m.revert(t).WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	if err := m.revert(t).WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/outcomes.txt", []byte(b.String()))
}

// What programs read has names in it, not numbers.
func TestJSONOfResults(t *testing.T) {
	m := open(t, "vps")
	text, err := json.Marshal(m.apply(t, tuning.Options{}).Outcomes[0])
	if want := `{"kind":"sysctl","key":"vm.min_free_kbytes","old":"4007","new":"10035","fate":"changed"}`; err != nil || string(text) != want {
		t.Errorf("%s, want %s (%v)", text, want, err)
	}
	m.set(t, "proc/sys/vm/min_free_kbytes", "5")
	text, err = json.Marshal(m.drift(t)[0])
	if want := `{"kind":"sysctl","key":"vm.min_free_kbytes","wanted":"10035","current":"5","applied":true,"by":"no file sets this value: a person or a program did"}`; err != nil || string(text) != want {
		t.Errorf("%s, want %s (%v)", text, want, err)
	}
}

func TestOutcomeAsLine(t *testing.T) {
	for want, o := range map[string]tuning.Outcome{
		"changed net.core.somaxconn: 4096 → 65535":            {Key: "net.core.somaxconn", Old: "4096", New: "65535", Fate: tuning.Changed},
		"skipped eth0/rings (a gateway serves)":               {Key: "eth0/rings", Old: "rx 1 tx 1", New: "rx 1 tx 1", Fate: tuning.Skipped, Note: "a gateway serves"},
		"changed net.ipv4.ip_local_reserved_ports: - → 40000": {Key: "net.ipv4.ip_local_reserved_ports", New: "40000", Fate: tuning.Changed},
	} {
		if got := o.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := (tuning.Result{}).Summary(); got != "nothing to do" {
		t.Error(got)
	}
}

// A gateway that runs has limits of its own; who asks has its own privileges.
func TestLimitsOfAnotherProcess(t *testing.T) {
	m := memory{
		"proc/meminfo": "MemTotal: 16371712 kB", "sys/devices/system/cpu/online": "0-3",
		"proc/self/limits": "Max open files 1024 4096 files", "proc/812/limits": "Max open files 1048576 2000000 files",
		"proc/self/status": "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\nCpus_allowed_list:\t0-3",
		"proc/812/status":  "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\nCpus_allowed_list:\t2",
		"proc/self/cgroup": "0::/a", "proc/812/cgroup": "0::/b", "sys/fs/cgroup/b/memory.max": "1073741824",
	}
	b := m.box()
	b.PID = 812
	found, err := b.Inspect(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if p := found.Process; p.FilesHard != 2_000_000 || p.UID != 1000 || p.NetAdmin {
		t.Errorf("%+v", p)
	}
	if found.Cgroup.MemoryMax != 1<<30 || len(found.CPU.Allowed) != 1 || found.CPU.Allowed[0] != 2 {
		t.Errorf("%+v, %+v", found.Cgroup, found.CPU)
	}
	b.PID = 813 // it has just ended: what is not known limits nothing
	if found, err = b.Inspect(t.Context(), nil); err != nil || found.Process.FilesHard != 0 || len(found.CPU.Allowed) != 4 {
		t.Errorf("%+v, %v", found.Process, err)
	}
}

// Who waits may hang: who confirms is told, and does not wait for ever.
func TestWhoWaitsDoesNotAnswer(t *testing.T) {
	m := open(t, "virtio4")
	m.left(t)
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		ended := make(chan error, 1)
		other := *m
		files := *m.Files
		files.before = func(string, string) { <-hold }
		other.Files = &files
		tuning.Replace(&other.Box, &files, tuning.Features{}, 4096)
		go func() { // finds what the other one left, and hangs in the middle of putting it back
			_, err := other.Recover(t.Context(), tuning.Options{})
			ended <- err
		}()
		synctest.Wait()
		began := time.Now()
		if err := m.Confirm(t.Context()); err == nil || errors.Is(err, tuning.ErrNotWaiting) || time.Since(began) > time.Minute {
			t.Error(err, time.Since(began))
		}
		close(hold)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestSentencesOfErrnos(t *testing.T) {
	for errno, want := range map[syscall.Errno]string{
		syscall.EACCES: "EACCES", syscall.EPERM: "EPERM", syscall.EROFS: "EROFS", syscall.ENOENT: "ENOENT", syscall.EINVAL: "EINVAL",
		syscall.EIO: "EIO", syscall.EBUSY: "EBUSY", syscall.ENODEV: "ENODEV", syscall.ENXIO: "ENODEV", syscall.EOPNOTSUPP: "EOPNOTSUPP",
		syscall.ERANGE: "ERANGE", syscall.EXDEV: "invalid cross-device link",
	} {
		m := open(t, "vps")
		m.Files.denied = map[string]syscall.Errno{"proc/sys/net/core/somaxconn": errno}
		found, plan := m.plan(t)
		if got := found.Settings["proc/sys/net/core/somaxconn"].Denied; string(got) != want {
			t.Errorf("%v is called %s, want %s", errno, got, want)
		}
		e, _ := plan.Entry("net.core.somaxconn")
		if e.Status != tuning.NoPermission || e.Note == "" {
			t.Errorf("%v: %s, %q", errno, e.Status, e.Note)
		}
	}
}

func TestPersistNeedsItsDirectory(t *testing.T) {
	m := open(t, "vps")
	m.set(t, "etc", "a file where the directory should be")
	_, plan := m.plan(t)
	if _, err := m.Persist(plan); err == nil {
		t.Error("kept")
	}
}
