package main

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func archive(t *testing.T, files map[string]string) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestUntar(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "base")
	if err := untar(archive(t, map[string]string{"go.mod": "module edged\n", "cmd/edged/main.go": "package main\n"}), dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"go.mod": "module edged\n", "cmd/edged/main.go": "package main\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestUntarOutside: nothing is written outside of the directory.
func TestUntarOutside(t *testing.T) {
	root := t.TempDir()
	if err := untar(archive(t, map[string]string{"../x": "x"}), filepath.Join(root, "base")); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(filepath.Join(root, "x")); !os.IsNotExist(err) {
		t.Errorf("a file was written outside: %v", err)
	}
}

func TestPrograms(t *testing.T) {
	p := programs{cfloor: "f", echo: "n", edged: "e"}
	if p.of(floor) != "f" || p.of(echo) != "n" || p.of(gateway) != "e" {
		t.Errorf("%q %q %q", p.of(floor), p.of(echo), p.of(gateway))
	}
	if p := (programs{cload: "l", cnats: "n"}); p.load(row{}, subject{program: nats}) != "n" || p.load(row{}, subject{program: haproxy}) != "l" {
		t.Error("a load for another protocol")
	}
	if (programs{}).of(gateway) != "" {
		t.Error("what was not built has a name")
	}
}
