//go:build e2e

package tests

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edged/config"
)

// TestInitTerminal: at a real terminal init asks, and what is typed stands in the file; the gateway that it describes starts.
func TestInitTerminal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "edged.toml")
	typed, terminal := pseudoTerminal(t)
	out := &textLog{}
	cmd := exec.Command(edged, "init", "--config", file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	check(t, cmd.Start())
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	for _, answer := range []struct{ question, line string }{
		{"Address that clients connect to", "127.0.0.1:0"},
		{"Managers,", "no address"},
		{`"no address" is neither`, "10.0.0.5:7100"},
		{"Redis,", ""},
		{"Packets a second", "1000000"},
		{"Bytes a second", ""},
		{"Links to prepare", "100000"},
	} {
		waitFor(t, answer.question, func() bool { return strings.Contains(out.String(), answer.question) })
		must(io.WriteString(typed, answer.line+"\n"))(t)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	cfg := must(config.Load(file))(t)
	if cfg.Listeners[0].Address != "127.0.0.1:0" || strings.Join(cfg.Manager.Addresses, " ") != "10.0.0.5:7100" ||
		cfg.Health.PPSLimit != 1_000_000 || cfg.Tuning.Links != 100_000 {
		t.Errorf("the file has %+v", cfg)
	}
	admin := filepath.Join(dir, "admin.sock")
	text := strings.Replace(string(must(os.ReadFile(file))(t)), "/run/edged/admin.sock", admin, 1)
	check(t, os.WriteFile(file, []byte(text), 0o600))
	startFile(t, file, admin, setup{})
}

// TestInitScript: without a terminal nothing is asked, and /dev/null is none.
func TestInitScript(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "edged.toml")
	if status, stdout, stderr := run(t, "init", "--config", file); status != 0 || !strings.Contains(stdout, "configuration OK") || stderr != "" {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
	if status, _, stderr := run(t, "init", "--config", file, "--links", "5"); status != 1 || !strings.Contains(stderr, "--force") {
		t.Errorf("a second time: status %d\n%s", status, stderr)
	}
}

// pseudoTerminal is where a person types, and what a program reads it from (pty(7)).
func pseudoTerminal(t *testing.T) (typed, terminal *os.File) {
	t.Helper()
	typed = must(os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0))(t)
	t.Cleanup(func() { _ = typed.Close() })
	check(t, unix.IoctlSetPointerInt(int(typed.Fd()), unix.TIOCSPTLCK, 0))
	number := must(unix.IoctlGetInt(int(typed.Fd()), unix.TIOCGPTN))(t)
	terminal = must(os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0))(t)
	t.Cleanup(func() { _ = terminal.Close() })
	return typed, terminal
}

// TestBashCompletion presses the tab key in a real shell.
func TestBashCompletion(t *testing.T) {
	t.Parallel()
	const support = "/usr/share/bash-completion/bash_completion"
	if _, err := os.Stat(support); err != nil {
		t.Skip("there is no bash-completion: apt install bash-completion")
	}
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "mine.toml"), nil, 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "other.txt"), nil, 0o600))
	for line, want := range map[string]string{
		"edged ini":                 "init",
		"edged serve --config m":    "mine.toml",
		"edged check ":              "mine.toml",
		"edged ctl push --ack re":   "required",
		"edged tune explain net.co": "net.core.somaxconn",
		"edged completion ":         "zsh",
	} {
		script := fmt.Sprintf(`. %s; edged() { %s "$@"; }; . <(edged completion bash); cd %s
COMP_LINE=%q COMP_POINT=${#COMP_LINE}; read -ra COMP_WORDS <<<"$COMP_LINE"
[[ $COMP_LINE == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_TYPE=9 COMP_KEY=9
compopt() { :; }; __start_edged; printf '%%s\n' "${COMPREPLY[@]}"`, support, edged, dir, line)
		out, err := exec.Command("bash", "-c", script).CombinedOutput()
		if offered := strings.Fields(string(out)); err != nil || !slices.Contains(offered, want) || slices.Contains(offered, "other.txt") {
			t.Errorf("%q: %v, %q, want %s", line, err, out, want)
		}
	}
}
