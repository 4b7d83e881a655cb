package edged

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// floors is the policy of docs/ARCHITECTURE.md: a package imports only packages of a lower number. Those of one number do
// not know each other. A new package must be given its floor here.
var floors = map[string]float64{
	"wire": 0, "batch": 0, "linkpool": 0, "session": 0, "room": 0, "delivery": 0, "api/edgedpb": 0, "etc": 0,
	"nic": 1, "redisconn": 1, "gcpace": 1,
	"netpoll": 1.5, "lane": 1.5, "health": 1.5, "tuning": 1.5, "handover": 1.5,
	"h2":    1.5,
	"relay": 2, "dispatch": 2, "offline": 2, "registry": 2, "bus": 2,
	"gateway": 3, "queue": 3,
	"admin": 4, "sdk/client": 4, "sdk/manager": 4, "sdk/keyindex": 4,
	"config": 5, "swarm": 5,
	"examples/chat": 5, "examples/echo": 5, "examples/iot": 5, "examples/room": 5,
	"demo":      5.5,
	"cmd/edged": 6,
}

// tools measure or test the product from outside: they may import all of it, and nothing imports them.
func isTool(pkg string) bool {
	return strings.HasPrefix(pkg, "bench/") || pkg == "tests" || strings.HasPrefix(pkg, "tests/") || strings.HasSuffix(pkg, "test")
}

// unsafePackages may use unsafe and raw system calls, in files named *_linux.go.
var unsafePackages = map[string]bool{"netpoll": true, "lane": true, "nic": true, "handover": true, "h2": true}

func TestFloors(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); file != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "tools" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go") {
			pkg := path.Dir(filepath.ToSlash(file))
			seen[pkg] = true
			checkFile(t, pkg, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range floors {
		if !seen[pkg] {
			t.Errorf("%s has a floor but no code", pkg)
		}
	}
}

func checkFile(t *testing.T, pkg, file string) {
	t.Helper()
	if pkg == "." || isTool(pkg) {
		return
	}
	floor, ok := floors[pkg]
	if !ok {
		t.Errorf("%s: package %s has no floor", file, pkg)
		return
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range parsed.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		checkImport(t, pkg, file, floor, name)
	}
}

func checkImport(t *testing.T, pkg, file string, floor float64, name string) {
	t.Helper()
	switch {
	case name == "unsafe":
		if strings.HasSuffix(file, ".pb.go") {
			return // generated: protobuf's own way to keep a descriptor in a string
		}
		if !unsafePackages[pkg] || !strings.HasSuffix(file, "_linux.go") {
			t.Errorf("%s imports unsafe", file)
		}
	case name == "os/exec":
		t.Errorf("%s imports os/exec: a child would inherit every link", file)
	case strings.HasPrefix(name, "edged/"):
		of := strings.TrimPrefix(name, "edged/")
		below, ok := floors[of]
		if !ok || isTool(of) {
			t.Errorf("%s imports %s, which no product code may", file, of)
		} else if below >= floor {
			t.Errorf("%s, of floor %v, imports %s of floor %v", file, floor, of, below)
		}
	}
}
