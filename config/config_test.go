package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"edged/config"
)

func TestLoadMissing(t *testing.T) {
	_, err := config.Load(filepath.Join(t.TempDir(), "edged.toml"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestLoadDirectory(t *testing.T) {
	if c, err := config.Load(t.TempDir()); err == nil {
		t.Errorf("a directory was read as %+v", c)
	}
}

func TestLoadNamesThePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.toml")
	if err := os.WriteFile(path, []byte("[gateway]\nhartbeat = \"1s\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(path)
	want := path + `:2: gateway.hartbeat: unknown key; did you mean "heartbeat"?`
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestProblems pins what a caller that wants more than text can take out of an error.
func TestProblems(t *testing.T) {
	_, err := config.Parse("f", []byte("[tuning]\nlinks = -1\nlnks = 2\n"))
	var got config.Problems
	if !errors.As(err, &got) {
		t.Fatalf("error %T: %v", err, err)
	}
	want := config.Problems{
		{File: "f", Line: 2, Key: "tuning.links", Reason: "-1 is not between 0 and 100000000"},
		{File: "f", Line: 3, Key: "tuning.lnks", Reason: `unknown key; did you mean "links"?`},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDefaultIsValidAndFresh(t *testing.T) {
	a, err := config.Parse("empty", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, config.Default()) {
		t.Errorf("an empty file means %+v", a)
	}
	a.Listeners[0].Name, a.Health.NICs[0] = "changed", "changed"
	if b := config.Default(); b.Listeners[0].Name != "main" || b.Health.NICs[0] != "auto" {
		t.Error("two defaults share memory")
	}
}

// TestListenerKeepsItsDefaults: a second listener begins with the defaults too, not with what the first one set.
func TestListenerKeepsItsDefaults(t *testing.T) {
	c, err := config.Parse("f", []byte(`
[[listener]]
name = "a"
address = "127.0.0.1:1"
ping_interval = "5s"
[[listener]]
name = "b"
address = "127.0.0.1:2"
`))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Listeners) != 2 || c.Listeners[0].PingInterval != 5*time.Second || c.Listeners[1].PingInterval != 0 || c.Listeners[1].Kind != "tcp" {
		t.Errorf("listeners %+v", c.Listeners)
	}
}

// TestTooLarge: the parsers recurse into nested lists, so the deepest text that is accepted must not end the process.
func TestTooLarge(t *testing.T) {
	deep := "a = " + strings.Repeat("[", 256<<10-4)
	if _, err := config.Parse("f", []byte(deep)); err == nil || strings.Contains(err.Error(), "larger") {
		t.Errorf("256 KiB of brackets: %.200v", err)
	}
	const n = 120 << 10
	closed := "a = " + strings.Repeat("[", n) + strings.Repeat("]", n)
	if _, err := config.Parse("f", []byte(closed)); err == nil || !strings.Contains(err.Error(), "f:1: a: unknown key") {
		t.Errorf("closed brackets: %.200v", err)
	}
	if _, err := config.Parse("f", []byte(deep+"[")); err == nil || !strings.Contains(err.Error(), "larger than 256 KiB") {
		t.Errorf("one more byte: %.200v", err)
	}
}

// TestEveryRange tries each number and duration of the file just outside of what is accepted: an extreme value is an error
// on its own line, never a panic and never accepted.
func TestEveryRange(t *testing.T) {
	walk(reflect.ValueOf(*config.Default()), "", func(path string, v reflect.Value) {
		section, key, _ := strings.Cut(path, ".")
		if section == "listener" {
			key = strings.TrimPrefix(key, "0.")
			section = "[listener]"
		}
		var values []string
		switch v.Interface().(type) {
		case time.Duration:
			values = []string{`"-1ns"`, `"100000h"`, `"1e99s"`, `""`, "0", "1979-05-27"}
		case int, int64:
			values = []string{"-1", "9_223_372_036_854_775_807", "0.5", `"1"`}
		case float64:
			values = []string{"-0.001", "1.001", "nan", "inf", `"0"`}
		case bool:
			values = []string{"0", `"true"`}
		case []string:
			values = []string{`"x"`, `[""]`, `["\u0000"]`, `[1]`, `[[]]`}
		}
		for _, value := range values {
			text := "[" + section + "]\n" + key + " = " + value + "\n"
			if _, err := config.Parse("f", []byte(text)); err == nil || !strings.Contains(err.Error(), "f:2: ") {
				t.Errorf("%s = %s: error %v", path, value, err)
			}
		}
	})
}
