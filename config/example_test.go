package config_test

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"edged/config"
)

const example = "../etc/edged.toml"

// TestExampleIsDefault proves that the file which is installed changes nothing.
func TestExampleIsDefault(t *testing.T) {
	got, err := config.Load(example)
	if err != nil {
		t.Fatal(err)
	}
	if want := config.Default(); !reflect.DeepEqual(got, want) {
		t.Errorf("etc/edged.toml means\n%+v\nthe defaults are\n%+v", got, want)
	}
}

// TestExampleIsComplete proves that each setting stands in the file, once, in its section, with a comment.
func TestExampleIsComplete(t *testing.T) {
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	seen := commented(t, string(text))
	walk(reflect.ValueOf(*config.Default()), "", func(path string, _ reflect.Value) {
		path = strings.Replace(path, "listener.0.", "listener.", 1)
		path = regexp.MustCompile(`^(health\.limit_mode)\..*`).ReplaceAllString(path, "$1")
		if seen[path] != 1 {
			t.Errorf("%s stands %d times in etc/edged.toml", path, seen[path])
		}
	})
}

// commented counts the settings of the file and checks that each has its line of comment, above or beside it.
func commented(t *testing.T, text string) map[string]int {
	t.Helper()
	seen, section, above := make(map[string]int), "", ""
	for n, line := range strings.Split(text, "\n") {
		switch key, value, pair := strings.Cut(line, " = "); {
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
		case strings.HasPrefix(line, "#") || line == "":
		case !pair:
			t.Errorf("line %d is neither section, comment nor setting: %s", n+1, line)
		default:
			seen[section+"."+key]++
			if !strings.HasPrefix(above, "# ") && !strings.Contains(value, " # ") {
				t.Errorf("line %d has no comment: %s", n+1, line)
			}
		}
		above = line
	}
	return seen
}

// TestDesignFile reads the file as the design has it, with comments beside the keys.
func TestDesignFile(t *testing.T) {
	c, err := config.Load("testdata/design.txt")
	if err != nil {
		t.Fatal(err)
	}
	if want := config.Default(); !reflect.DeepEqual(c, want) {
		t.Errorf("the file means\n%+v\nthe defaults are\n%+v", c, want)
	}
}
