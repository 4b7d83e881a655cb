package main

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"edged/admin"
)

// TestCtlAsksWhereTheFileSays: without --socket the gateway's file tells where it listens, whatever is wrong beside that.
func TestCtlAsksWhereTheFileSays(t *testing.T) {
	p := startPeople(t, 1, peopleSettings())
	socket, _ := p.open(t)
	none := filepath.Join(t.TempDir(), "none.sock")
	for name, text := range map[string]string{
		"the file":              fmt.Sprintf("[admin]\nlisten = [%q]\n", "unix:"+socket),
		"a bad file":            fmt.Sprintf("[gateway]\nlink_rate = 7\n[admin]\nlisten = [%q]\n", "unix:"+socket),
		"a socket before TCP":   fmt.Sprintf("[admin]\nlisten = [\"192.0.2.1:1\", %q]\ntoken = \"0123456789abcdef\"\n", "unix:"+socket),
		"the one that listens":  fmt.Sprintf("[admin]\nlisten = [%q, %q]\n", "unix:"+none, "unix:"+socket),
		"that of another kind":  fmt.Sprintf("[queue]\n[admin]\nlisten = [%q]\n", "unix:"+socket),
		"nobody at the first":   fmt.Sprintf("[admin]\nlisten = [%q, %q, \"192.0.2.1:1\"]\n", "unix:"+none, "unix:"+socket),
		"a name that says more": fmt.Sprintf("admin.listen = [%q]\n", "unix:"+socket),
	} {
		var out strings.Builder
		if status := run([]string{"ctl", "--config", write(t, text), "users"}, &out, &out); status != exitDone || out.String() != "users    0\ndevices  0\n" {
			t.Errorf("%s: status %d, %s", name, status, &out)
		}
	}
	for want, file := range map[string]string{
		"no edged answers at " + none:      write(t, fmt.Sprintf("[admin]\nlisten = [%q]\n", "unix:"+none)),
		"has no address in [admin] listen": write(t, "[admin]\nlisten = []\n"),
		"none.toml: no such file":          filepath.Join(t.TempDir(), "none.toml"),
		"no edged answers at 127.0.0.1:1":  write(t, "[admin]\nlisten = [\"127.0.0.1:1\"]\ntoken = \"0123456789abcdef\"\n"), // a port that only root could take
	} {
		var out strings.Builder
		if status := run([]string{"ctl", "--config", file, "users"}, &out, &out); status != exitNot || !strings.Contains(out.String(), want) {
			t.Errorf("status %d, %s; want %s", status, &out, want)
		}
	}
}

// TestCtlShowsTheFilesToken: a gateway that is reached by TCP alone is asked with the token of its file, from the environment before it.
func TestCtlShowsTheFilesToken(t *testing.T) {
	const token = "0123456789abcdef"
	p := startPeople(t, 1, peopleSettings())
	s, err := admin.New(admin.Config{Listen: []string{"127.0.0.1:0"}, Token: token}, peopleSource{p.people}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.Serve()
	t.Cleanup(func() { _ = s.Close(soon(t)) })
	for _, key := range []string{fmt.Sprintf("token = %q", token), fmt.Sprintf("token_file = %q", write(t, token+"\n"))} {
		file := write(t, fmt.Sprintf("[admin]\nlisten = [%q]\n%s\n", s.Addresses()[0], key))
		for env, want := range map[string]int{"": exitDone, token: exitDone, "another-0123456789": exitNot} {
			t.Setenv("EDGED_TOKEN", env)
			var out strings.Builder
			if status := run([]string{"ctl", "--config", file, "users"}, &out, &out); status != want {
				t.Errorf("%s, EDGED_TOKEN %q: status %d, %s", key, env, status, &out)
			}
		}
	}
}
