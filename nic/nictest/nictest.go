// Package nictest has boxes that are not there: their /proc and /sys as a tree of files, and what their kernel would answer.
// Tests of whoever reads the map of queues share them.
package nictest

import (
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"edged/nic"
)

//go:embed machines
var machines embed.FS

// Machine is a box of which a copy lies in a directory of the test's own.
type Machine struct {
	Root   string   // contains proc and sys
	Host   nic.Host // of Root, Kernel and Driver
	Kernel *Kernel
	Driver *Driver
}

// recorded is the file NAME.json: what the kernel answers by netlink and ioctl.
type recorded struct {
	Links   []nic.Link                  `json:"links"`
	Routes  []int                       `json:"routes"` // interfaces of the default route
	Answers map[string]nic.Answers      `json:"answers"`
	Stats   map[string][]nic.QueueStats `json:"stats"`
}

// Names returns the names of all boxes.
func Names() []string {
	files, err := fs.Glob(machines, "machines/*.tree")
	if err != nil {
		panic(err)
	}
	for i, file := range files {
		files[i] = strings.TrimSuffix(filepath.Base(file), ".tree")
	}
	return files
}

// Open lays out the box of that name: machines/NAME.tree has its files, in the form that Expand reads, and machines/NAME.json
// its answers.
func Open(t testing.TB, name string) Machine {
	t.Helper()
	tree, err := machines.ReadFile("machines/" + name + ".tree")
	text, jsonErr := machines.ReadFile("machines/" + name + ".json")
	if err := errors.Join(err, jsonErr); err != nil {
		t.Fatal(err)
	}
	var r recorded
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatalf("%s.json: %v", name, err)
	}
	m := Machine{
		Root:   t.TempDir(),
		Kernel: &Kernel{All: r.Links, Default: r.Routes},
		Driver: &Driver{Known: r.Answers, Counted: r.Stats},
	}
	if err := Expand(m.Root, string(tree)); err != nil {
		t.Fatalf("%s.tree: %v", name, err)
	}
	m.Host = nic.Host{Sys: filepath.Join(m.Root, "sys"), Proc: filepath.Join(m.Root, "proc"), Kernel: m.Kernel, Driver: m.Driver}
	return m
}

// Leaves resolves names, or all physical interfaces where there is none.
func (m Machine) Leaves(t testing.TB, names ...string) []nic.Leaf {
	t.Helper()
	set, err := m.Host.Resolve(names)
	if err != nil {
		t.Fatal(err)
	}
	return set.Leaves
}
