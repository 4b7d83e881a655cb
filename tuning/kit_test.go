package tuning_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"edged/nic"
	"edged/nic/nictest"
	"edged/tuning"
)

// machine is a box of testdata/machines, laid out in a directory of the test's own. NAME.tree has its files, in the form of
// nictest.Expand and after those of base.tree; NAME.json what its kernel would answer, and what it is for.
type machine struct {
	tuning.Box
	Goal   tuning.Goal
	Files  *kernelFiles
	Driver *nictest.Driver
}

// recorded is the file NAME.json.
type recorded struct {
	Goal     tuning.Goal              `json:"goal"`
	PageSize uint64                   `json:"page_size"`
	Features tuning.Features          `json:"features"`
	Absent   []string                 `json:"absent"` // files of base.tree that this machine has not
	Denied   map[string]syscall.Errno `json:"denied"` // by the beginning of a path: what opening it for writing gives
	Links    []nic.Link               `json:"links"`
	Routes   []int                    `json:"routes"`
	Answers  map[string]nic.Answers   `json:"answers"`
}

func machineNames(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/machines/*.json")
	if err != nil || len(files) < 8 {
		t.Fatal(files, err)
	}
	for i, file := range files {
		files[i] = strings.TrimSuffix(filepath.Base(file), ".json")
	}
	return files
}

// open lays out a machine.
func open(t testing.TB, name string) *machine {
	t.Helper()
	return openAt(t, name, t.TempDir())
}

// openAt lays out a machine below root, or takes up the one that is there already.
func openAt(t testing.TB, name, root string) *machine {
	t.Helper()
	var r recorded
	text, err := os.ReadFile("testdata/machines/" + name + ".json")
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatalf("%s.json: %v", name, err)
	}
	if _, err := os.Stat(filepath.Join(root, "proc")); errors.Is(err, os.ErrNotExist) {
		for _, file := range []string{"base", name} {
			tree, err := os.ReadFile("testdata/machines/" + file + ".tree")
			if err == nil {
				err = nictest.Expand(root, string(tree))
			}
			if err != nil {
				t.Fatalf("%s.tree: %v", file, err)
			}
		}
		for _, file := range r.Absent {
			if err := os.Remove(filepath.Join(root, file)); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	if r.PageSize == 0 {
		r.PageSize = 4096
	}
	m := &machine{
		Goal:   r.Goal,
		Files:  &kernelFiles{root: root, denied: r.Denied},
		Driver: &nictest.Driver{Known: r.Answers},
	}
	m.Root = root
	m.Net = nic.Host{Kernel: &nictest.Kernel{All: r.Links, Default: r.Routes}, Driver: m.Driver}
	tuning.Replace(&m.Box, m.Files, r.Features, r.PageSize)
	return m
}

// plan inspects the machine and computes its plan.
func (m *machine) plan(t testing.TB) (*tuning.Machine, tuning.Plan) {
	t.Helper()
	found, err := m.Inspect(context.Background(), m.Goal.Interfaces)
	if err != nil {
		t.Fatal(err)
	}
	return found, tuning.Compute(found, m.Goal)
}

// set gives a file another value, as somebody else would.
func (m *machine) set(t testing.TB, path, value string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.Root, path), []byte(value+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) get(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(m.Root, path))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(content), "\n")
}

// picture is all that a plan may change of the machine: its files but those of edged's own, and what its driver was told.
func (m *machine) picture(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(m.Root, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, ".next") || strings.HasPrefix(path, filepath.Join(m.Root, "run/edged-tune")) {
			return err
		}
		content, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, m.Root+"/")] = string(content)
		return err
	})
	for name, a := range m.Driver.Known {
		text, jsonErr := json.Marshal(a)
		err = errors.Join(err, jsonErr)
		all["driver of "+name] = string(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// differences returns what two pictures differ in, a line each.
func differences(a, b map[string]string) []string {
	var lines []string
	for path, v := range a {
		if b[path] != v {
			lines = append(lines, path+": "+strings.TrimSpace(v)+" | "+strings.TrimSpace(b[path]))
		}
	}
	for path, v := range b {
		if _, ok := a[path]; !ok {
			lines = append(lines, path+": - | "+strings.TrimSpace(v))
		}
	}
	slices.Sort(lines)
	return lines
}

// apply makes the machine's plan and applies it.
func (m *machine) apply(t testing.TB, opts tuning.Options) tuning.Result {
	t.Helper()
	_, plan := m.plan(t)
	res, err := m.Apply(context.Background(), plan, opts)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func (m *machine) revert(t testing.TB) tuning.Result {
	t.Helper()
	res, err := m.Revert(context.Background(), tuning.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// drift returns what Verify finds.
func (m *machine) drift(t testing.TB) []tuning.Drift {
	t.Helper()
	found, plan := m.plan(t)
	all, err := m.Verify(context.Background(), found, plan)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// kernelFiles plays the kernel over a tree of plain files: a write takes hold as a whole or not at all, and may be refused,
// cut or watched.
type kernelFiles struct {
	root   string
	denied map[string]syscall.Errno        // by the beginning of a path: what opening it gives
	refuse map[string]syscall.Errno        // by path: what writing to it gives
	cut    func(path, value string) string // what the kernel makes of a value; nil: takes it
	before func(path, value string)        // is called before each write; nil: nothing is
	after  func(path, value string)        // and after it
	writes []string                        // "path = value", all of them
}

func (k *kernelFiles) file(path string) string { return filepath.Join(k.root, path) }

// Read implements tuning.Files.
func (k *kernelFiles) Read(path string) (string, error) {
	content, err := os.ReadFile(k.file(path))
	return string(content), err
}

// Denied implements tuning.Files.
func (k *kernelFiles) Denied(path string) error {
	if _, err := os.Stat(k.file(path)); err != nil {
		return err
	}
	for prefix, errno := range k.denied {
		if strings.HasPrefix(path, prefix) {
			return errno
		}
	}
	return nil
}

// Write implements tuning.Files.
func (k *kernelFiles) Write(path, value string) error {
	if k.before != nil {
		k.before(path, value)
	}
	if err := k.Denied(path); err != nil {
		return tuning.OpenError(err)
	}
	if errno := k.refuse[path]; errno != 0 {
		return errno
	}
	k.writes = append(k.writes, path+" = "+value)
	if k.cut != nil {
		value = k.cut(path, value)
	}
	next := k.file(path) + ".next"
	err := os.WriteFile(next, []byte(k.printed(path, value)+"\n"), 0o644)
	if err == nil {
		err = os.Rename(next, k.file(path))
	}
	if k.after != nil {
		k.after(path, value)
	}
	return err
}

// printed is how the kernel shows a value: a vector with TABs, one of several words among the others.
func (k *kernelFiles) printed(path, value string) string {
	now, _ := k.Read(path)
	if strings.Contains(now, "[") {
		now = strings.NewReplacer("[", "", "]", "").Replace(strings.TrimSpace(now))
		return strings.Replace(now, value, "["+value+"]", 1)
	}
	if strings.Contains(now, "\t") {
		return strings.ReplaceAll(value, " ", "\t")
	}
	return value
}

// List implements tuning.Files.
func (k *kernelFiles) List(path string) []string {
	entries, err := os.ReadDir(k.file(path))
	if err != nil {
		return nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	slices.Sort(names)
	return names
}
