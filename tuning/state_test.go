package tuning_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"edged/tuning"
)

func (m *machine) stateFile() string { return filepath.Join(m.Root, "run/edged-tune/tuning.json") }

func TestStateOfAnotherBootIsDiscarded(t *testing.T) {
	m := open(t, "virtio4")
	m.apply(t, tuning.Options{})
	m.set(t, "proc/sys/kernel/random/boot_id", "00000000-0000-0000-0000-000000000001")
	m.set(t, "proc/sys/net/core/somaxconn", "4096") // as the kernel comes up
	writes := len(m.Files.writes)
	res := m.recover(t)
	if !res.Discarded || len(m.Files.writes) != writes {
		t.Errorf("%+v, %v", res, m.Files.writes[writes:])
	}
	if _, err := os.Stat(m.stateFile()); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	drift := m.drift(t) // what was applied is known no more, and the plan is not in force
	if len(drift) != 1 || drift[0].Key != "net.core.somaxconn" || drift[0].Applied {
		t.Errorf("%+v", drift)
	}
}

func TestOtherNamespaceIsRefused(t *testing.T) {
	m := open(t, "virtio4")
	ns := filepath.Join(m.Root, "proc/thread-self/ns")
	if err := os.MkdirAll(ns, 0o755); err != nil {
		t.Fatal(err)
	}
	m.set(t, "proc/thread-self/ns/net", "")
	_, plan := m.plan(t)
	m.apply(t, tuning.Options{})
	m.set(t, "proc/thread-self/ns/other", "")
	if err := os.Rename(filepath.Join(ns, "other"), filepath.Join(ns, "net")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Revert(context.Background(), tuning.Options{}); !errors.Is(err, tuning.ErrElsewhere) {
		t.Error("revert:", err)
	}
	if _, err := m.Apply(context.Background(), plan, tuning.Options{}); !errors.Is(err, tuning.ErrElsewhere) {
		t.Error("apply:", err)
	}
	found, plan := m.plan(t)
	if _, err := m.Verify(context.Background(), found, plan); !errors.Is(err, tuning.ErrElsewhere) {
		t.Error("verify:", err)
	}
}

// The directory may belong to the gateway's user: root must not write what that user says.
func TestStateOfOthersIsNotTrusted(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(file string) error
		want  error
	}{
		{"others may write it", func(file string) error { return os.Chmod(file, 0o666) }, tuning.ErrUnsafe},
		{"a link", func(file string) error {
			return errors.Join(os.Rename(file, file+".1"), os.Symlink(file+".1", file))
		}, tuning.ErrUnsafe},
		{"another user's", func(file string) error { return os.Chown(file, 65534, 65534) }, tuning.ErrUnsafe},
		{"no JSON", func(file string) error { return os.WriteFile(file, []byte("{"), 0o600) }, nil},
		{"a later version", func(file string) error { return os.WriteFile(file, []byte(`{"version":99}`), 0o600) }, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := open(t, "vps")
			m.apply(t, tuning.Options{})
			if err := test.spoil(m.stateFile()); err != nil {
				t.Skip(err) // only root gives files away
			}
			writes := len(m.Files.writes)
			_, err := m.Revert(context.Background(), tuning.Options{})
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Error("revert:", err)
			}
			if _, err := m.Recover(context.Background(), tuning.Options{}); err == nil {
				t.Error("recover trusts it")
			}
			if len(m.Files.writes) != writes {
				t.Error(m.Files.writes[writes:])
			}
		})
	}
}

// Where no state can be kept nothing is touched: it could not be put back.
func TestNoStateNoChange(t *testing.T) {
	m := open(t, "vps")
	if err := os.Mkdir(filepath.Join(m.Root, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	m.set(t, "run/edged-tune", "a file where the directory should be")
	before := m.picture(t)
	_, plan := m.plan(t)
	if _, err := m.Apply(context.Background(), plan, tuning.Options{}); err == nil {
		t.Error("applied")
	}
	if d := differences(before, m.picture(t)); d != nil {
		t.Error(d)
	}
	if err := os.Remove(filepath.Join(m.Root, "run/edged-tune")); err != nil {
		t.Fatal(err)
	}
	m.Files.before = func(string, string) { // the disk is full, or its like, in the middle
		if err := os.MkdirAll(filepath.Join(m.stateFile()+".next", "x"), 0o755); err != nil {
			t.Error(err)
		}
		m.Files.before = nil
	}
	res, err := m.Apply(context.Background(), plan, tuning.Options{})
	if err == nil || len(m.Files.writes) != 1 {
		t.Error(err, m.Files.writes, res.Summary())
	}
	if err := os.RemoveAll(m.stateFile() + ".next"); err != nil {
		t.Fatal(err)
	}
	m.recover(t)
	if d := differences(before, m.picture(t)); len(d) > 0 {
		t.Error(d)
	}
}

func TestNothingIsMadeForNothing(t *testing.T) {
	m := open(t, "vps")
	if res := m.recover(t); res.RolledBack || res.Discarded {
		t.Error(res)
	}
	if _, err := os.Stat(filepath.Join(m.Root, "run")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// States that released versions wrote are still put back.
func TestStateOfVersion1(t *testing.T) {
	content, err := os.ReadFile("testdata/state-1.json")
	if err != nil {
		t.Fatal(err)
	}
	m := open(t, "virtio4")
	before := m.picture(t)
	m.set(t, "proc/sys/net/core/somaxconn", "65535")
	m.set(t, "proc/irq/26/smp_affinity_list", "1")
	m.set(t, "sys/class/net/eth0/queues/tx-1/xps_cpus", "2")
	c := m.Driver.Known["eth0"]
	c.Coalesce.RXUsecs = 40
	m.Driver.Known["eth0"] = c
	if err := os.MkdirAll(filepath.Dir(m.stateFile()), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.stateFile(), content, 0o600); err != nil {
		t.Fatal(err)
	}
	if res := m.revert(t); res.Count(tuning.Restored) != 4 {
		t.Error(res)
	}
	if d := differences(before, m.picture(t)); d != nil {
		t.Error(d)
	}
}

// Whatever a state file says, nothing but edged's settings is written.
func TestHostileState(t *testing.T) {
	const head = `{"version":1,"boot_id":"5d1a0c54-5a2e-4c1b-9d0e-1f6a0b8f7c11","phase":"applying","apply":1,"entries":[`
	for _, entry := range []string{
		`null`,
		`{}`,
		`{"kind":"sysctl","key":"net.ipv4.ip_forward","before":"1","was":"1","after":"0","apply":1}`,
		`{"kind":"sysctl","key":"net.ipv4.tcp_tw_reuse","before":"1","was":"1","after":"2","apply":1}`,
		`{"kind":"sysctl","key":"../../etc/passwd","before":"x","after":"0"}`,
		`{"kind":"sysfs","key":"/sys/class/net/eth0/mtu","before":"9000","after":"1500"}`,
		`{"kind":"sysctl","key":"/sys/kernel/mm/transparent_hugepage/enabled","before":"always","after":"madvise"}`,
		`{"kind":"queue","key":"eth0/queues/rx-0/../../../../x","before":"1","after":"0","device":{"name":"eth0","ifindex":2}}`,
		`{"kind":"queue","key":"eth0/queues/rx-0/rps_cpus/..","before":"1","after":"0","device":{"name":"eth0","ifindex":2}}`,
		`{"kind":"queue","key":"../../../etc/queues/rx-0/rps_cpus","before":"1","after":"0"}`,
		`{"kind":"queue","key":"eth0/mtu","before":"1","after":"0","device":{"name":"..","ifindex":2}}`,
		`{"kind":"irq","key":"eth0/irq/../../sys/x","before":"1","after":"0","device":{"name":"eth0","ifindex":2}}`,
		`{"kind":"limit","key":"RLIMIT_NOFILE","before":"1","after":"0"}`,
		`{"kind":"mount","key":"/","before":"1","after":"0"}`,
	} {
		m := open(t, "virtio4")
		if err := os.MkdirAll(filepath.Dir(m.stateFile()), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(m.stateFile(), []byte(head+entry+"]}"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = m.Recover(context.Background(), tuning.Options{})
		_, _ = m.Revert(context.Background(), tuning.Options{})
		if len(m.Files.writes) > 0 || len(m.Driver.Sets()) > 0 {
			t.Errorf("%s: written: %v %v", entry, m.Files.writes, m.Driver.Sets())
		}
	}
}

// The plan as JSON is what other programs read: its names stay.
func TestPlanAsJSON(t *testing.T) {
	_, plan := open(t, "vps").plan(t)
	text, err := json.MarshalIndent(plan, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/plan.json", append(text, '\n'))
}

// Of many who apply at once one does, and the others are told; nothing is lost.
func TestManyAtOnce(t *testing.T) {
	root := t.TempDir()
	m := openAt(t, "vps", root)
	before := m.picture(t)
	_, plan := m.plan(t)
	const many = 8
	errs := make(chan error, many)
	for range many {
		other := openAt(t, "vps", root)
		go func() {
			_, err := other.Apply(context.Background(), plan, tuning.Options{})
			errs <- err
		}()
	}
	won := 0
	for range many {
		switch err := <-errs; {
		case err == nil:
			won++
		case !errors.Is(err, tuning.ErrBusy):
			t.Error(err)
		}
	}
	if won == 0 {
		t.Error("nobody did")
	}
	m.revert(t)
	if d := differences(before, m.picture(t)); d != nil {
		t.Error(d)
	}
}
