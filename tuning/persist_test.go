package tuning_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edged/tuning"
)

func TestPersist(t *testing.T) {
	m := open(t, "virtio4")
	_, plan := m.plan(t)
	file, err := m.Persist(plan)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/60-edged.conf", content)
	m.apply(t, tuning.Options{})
	_, after := m.plan(t) // all of it is in force now, and is to be kept all the same
	if _, err := m.Persist(after); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.ReadFile(file); string(again) != string(content) {
		t.Errorf("after apply:\n%s", again)
	}
	for i, e := range after.Entries { // edged's own file makes nobody else the owner
		if e.Status == tuning.AdminOwned {
			t.Error(after.Entries[i])
		}
	}
	if err := m.Unpersist(); err != nil {
		t.Error(err)
	}
	if err := m.Unpersist(); err != nil {
		t.Error("the second time:", err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Keys that are not there, and those that are somebody else's, are not kept.
func TestPersistKeepsToItsOwn(t *testing.T) {
	m := open(t, "owned")
	if err := os.Remove(filepath.Join(m.Root, "etc/sysctl.d/60-edged.conf")); err != nil {
		t.Fatal(err)
	}
	_, plan := m.plan(t)
	file, err := m.Persist(plan)
	if err != nil {
		t.Fatal(err)
	}
	content, _ := os.ReadFile(file)
	for _, key := range []string{"net.core.somaxconn", "vm.swappiness", "nf_conntrack_max", "transparent_hugepage", "eth0"} {
		if strings.Contains(string(content), key) {
			t.Errorf("%s is kept:\n%s", key, content)
		}
	}
	for line := range strings.Lines(string(content)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' && (line[0] != '-' || !strings.Contains(line, " = ")) {
			t.Errorf("a line that may fail at boot: %q", line)
		}
	}
}

func TestForeignFileIsLeft(t *testing.T) {
	m := open(t, "owned") // it has a 60-edged.conf of somebody's
	_, plan := m.plan(t)
	if _, err := m.Persist(plan); !errors.Is(err, tuning.ErrForeign) {
		t.Error("persist:", err)
	}
	if err := m.Unpersist(); !errors.Is(err, tuning.ErrForeign) {
		t.Error("unpersist:", err)
	}
	if got := m.get(t, "etc/sysctl.d/60-edged.conf"); got != "-net.core.somaxconn = 65535" {
		t.Error(got)
	}
}
