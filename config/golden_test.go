package config_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"edged/config"
)

var update = flag.Bool("update", false, "write testdata/*.ok anew")

// TestGolden holds each testdata/NAME.toml against NAME.ok: what an operator is told, or what became of the settings.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d files in testdata, error %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".toml")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := config.Parse(name+".toml", text)
			if good := strings.HasPrefix(name, "good-"); good != (err == nil) {
				t.Errorf("error %v", err)
			}
			got := ""
			if err != nil {
				got = err.Error() + "\n"
			} else {
				got = told(c)
			}
			golden(t, filepath.Join("testdata", name+".ok"), got)
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// told lists what differs from the defaults.
func told(c *config.Config) string {
	var b strings.Builder
	want := reflect.ValueOf(*config.Default())
	walk(reflect.ValueOf(*c), "", func(path string, v reflect.Value) {
		if w, ok := at(want, path); !ok || !reflect.DeepEqual(v.Interface(), w.Interface()) {
			fmt.Fprintf(&b, "%s = %#v\n", path, v.Interface())
		}
	})
	return b.String()
}

// walk calls f for each setting, with the name of its section and a number for each listener.
func walk(v reflect.Value, path string, f func(path string, v reflect.Value)) {
	switch {
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			key := v.Type().Field(i).Tag.Get("toml")
			walk(v.Field(i), strings.TrimPrefix(path+"."+key, "."), f)
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		for i := range v.Len() {
			walk(v.Index(i), fmt.Sprintf("%s.%d", path, i), f)
		}
	default:
		f(path, v)
	}
}

func at(v reflect.Value, path string) (found reflect.Value, ok bool) {
	walk(v, "", func(p string, v reflect.Value) {
		if p == path {
			found, ok = v, true
		}
	})
	return found, ok
}
