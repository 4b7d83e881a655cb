package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// FuzzParse: no text makes Parse panic; what it does not accept comes with a line of the file and one sentence for each
// problem; every key that the library saw has a place, on a line where a key can stand.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(files) == 0 {
		f.Fatalf("%d seeds, error %v", len(files), err)
	}
	for _, file := range append(files, "../etc/edged.toml", "../etc/dispatch.toml", "../etc/queue.toml", "testdata/dispatch.txt") {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if strings.Contains(string(text), "/") && !strings.Contains(string(text), "/run/") {
			return // keys that name files are read: keep the fuzzer from devices
		}
		if _, err := ParseDispatch("f", text); err != nil {
			checkProblems(t, err, 1+strings.Count(string(text), "\n"))
		}
		if _, err := ParseQueue("f", text); err != nil {
			checkProblems(t, err, 1+strings.Count(string(text), "\n"))
		}
		if _, err := Parse("f", text); err != nil {
			checkProblems(t, err, 1+strings.Count(string(text), "\n"))
		}
		plain := normalize(string(text))
		if values, err := decode(plain); err == nil && len(text) <= maxFile {
			checkPlaces(t, values, index(plain), strings.Split(plain, "\n"))
		}
	})
}

func checkProblems(t *testing.T, err error, lines int) {
	t.Helper()
	var ps Problems
	if !errors.As(err, &ps) || len(ps) == 0 {
		t.Fatalf("error %T: %v", err, err)
	}
	for i, p := range ps {
		if p.Line < 1 || p.Line > lines || p.Reason == "" || strings.ContainsFunc(p.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("of %d lines: %+v", lines, p)
		}
		if i > 0 && ps[i-1].Line > p.Line {
			t.Errorf("line %d before line %d", ps[i-1].Line, p.Line)
		}
	}
}

// checkPlaces goes down the library's values and the index side by side.
func checkPlaces(t *testing.T, v any, p *place, lines []string) {
	t.Helper()
	if p == nil || p.line < 1 || p.line > len(lines) {
		t.Fatalf("no place for %v: %+v", v, p)
	}
	if table, ok := v.(map[string]any); ok {
		for key, below := range table {
			at := p.keys[key]
			if at == nil {
				t.Fatalf("key %q has no place", key)
			}
			checkPlaces(t, below, at, lines)
			if line := lines[at.line-1]; !strings.Contains(line, key) && !strings.ContainsAny(line, `\`) {
				t.Errorf("key %q is not in line %d: %s", key, at.line, line)
			}
		}
		return
	}
	items, _ := itemsOf(v)
	if len(items) != len(p.items) {
		t.Fatalf("%d items, %d places", len(items), len(p.items))
	}
	for i := range items {
		checkPlaces(t, items[i], p.items[i], lines)
	}
}
