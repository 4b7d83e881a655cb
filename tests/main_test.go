//go:build e2e

// Package tests drives the real binary from outside: `edged serve` with a configuration file, clients that speak the wire
// format over sockets, Managers that speak gRPC, and what the admin socket tells of it all.
//
// Every wait is bounded by patience. A test that asks for a time ("not earlier than") measures it at its own clock; one that
// asks for silence sends a marker behind what must not come, and looks at the order.
package tests

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience bounds every wait for something that is to come. It is long because the machine may be busy, and costs
// nothing where all is well.
const patience = 20 * time.Second

// edged is the path of the binary under test.
var edged string

func TestMain(m *testing.M) {
	if os.Getenv(roleVar) == "manager" {
		os.Exit(managerProcess())
	}
	flag.Parse()
	spread()
	path, done, err := findBinary()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	edged = path
	code := m.Run()
	done()
	os.Exit(code)
}

// spread lets more tests run side by side than there are CPUs, unless -parallel was given: most of them wait for timeouts.
func spread() {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", "6")
	}
}

// findBinary returns bin/edged if it is as new as the sources, else one that it builds.
func findBinary() (path string, done func(), err error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(root, "bin", "edged")
	newest, err := newestSource(root)
	if err != nil {
		return "", nil, err
	}
	if info, err := os.Stat(path); err == nil && !info.ModTime().Before(newest) {
		return path, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "edged-e2e")
	if err != nil {
		return "", nil, err
	}
	done = func() { _ = os.RemoveAll(dir) }
	path = filepath.Join(dir, "edged")
	build := exec.Command("go", "build", "-o", path, "./cmd/edged")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		done()
		return "", nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, done, nil
}

// newestSource is when the edged's sources last changed.
func newestSource(root string) (newest time.Time, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "tests" || name == "testdata" || name == "tools" || name == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") || name == "go.mod" {
			info, err := d.Info()
			if err != nil {
				return err
			}
			if info.ModTime().After(newest) {
				newest = info.ModTime()
			}
		}
		return nil
	})
	return newest, err
}

// waitFor asks again and again until cond holds.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	waitWithin(t, patience, what, cond)
}

func waitWithin(t *testing.T, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	end := time.Now().Add(limit)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(end) {
			t.Fatalf("still not after %v: %s", limit, what)
		}
		<-tick.C
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
