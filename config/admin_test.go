package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"edged/admin"
	"edged/config"
)

// TestAdminAt: the section counts as far as it can be understood, and the rest of the file does not matter.
func TestAdminAt(t *testing.T) {
	const mine = "[admin]\nlisten = [\"unix:/run/mine.sock\"]\n"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"empty":                     {"", admin.Default().Listen},
		"as it should be":           {mine, []string{"unix:/run/mine.sock"}},
		"a key elsewhere is wrong":  {mine + "[gateway]\nlink_rate = 7\nnonsense = 1\n", []string{"unix:/run/mine.sock"}},
		"of another kind of file":   {"[queue]\nbatch = 0\n" + mine, []string{"unix:/run/mine.sock"}},
		"none":                      {"[admin]\nlisten = []\n", []string{}},
		"of a wrong type":           {"[admin]\nlisten = 5\n", admin.Default().Listen},
		"no section":                {"admin = 5\n", admin.Default().Listen},
		"the file is no TOML":       {mine + "[gateway\n", admin.Default().Listen},
		"a token that is too short": {mine + "token = \"x\"\n", []string{"unix:/run/mine.sock"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "edged.toml")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := config.AdminAt(path)
			if err != nil || !slices.Equal(got.Listen, c.want) {
				t.Errorf("%q, %v; want %q", got.Listen, err, c.want)
			}
		})
	}
	got, err := config.AdminAt(filepath.Join(t.TempDir(), "none.toml"))
	if !errors.Is(err, fs.ErrNotExist) || !slices.Equal(got.Listen, admin.Default().Listen) {
		t.Errorf("no file: %q, %v", got.Listen, err)
	}
}
