//go:build e2e

package tests

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// wantFault checks how edged said no: status 1, one line on standard error, no stack.
func wantFault(t *testing.T, command string, status int, stderr string, words ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if status != 1 || len(lines) != 1 {
		t.Errorf("%s: status %d and %d lines, want 1 and one:\n%s", command, status, len(lines), stderr)
	}
	for _, w := range words {
		if !strings.Contains(stderr, w) {
			t.Errorf("%s: %q is not in %q", command, w, stderr)
		}
	}
	for _, dump := range []string{"panic", "goroutine ", ".go:", "0x"} {
		if strings.Contains(stderr, dump) {
			t.Errorf("%s: a dump for the operator: %q", command, stderr)
		}
	}
}

// TestFileFaults has what is wrong in the file said with line and key, by serve and check alike.
func TestFileFaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "missing.key")
	cert := filepath.Join(dir, "gw.pem")
	check(t, os.WriteFile(cert, []byte("no certificate"), 0o600))
	for name, c := range map[string]struct {
		text string
		want []string // after FILE:
	}{
		"impossible number": {"[gateway]\nreactors = 1\nmax_frame = 70000\n", []string{":3: gateway.max_frame: ", "70000"}},
		"not a duration":    {"[gateway]\nidle_timeout = \"soon\"\n", []string{":2: gateway.idle_timeout: ", "soon"}},
		"unknown key":       {"[gateway]\n\nidel_timeout = \"30s\"\n", []string{":3: ", "idel_timeout", "idle_timeout"}},
		"unknown section":   {"[gatewy]\n", []string{":1: ", "gatewy", "gateway"}},
		"syntax":            {"[gateway]\nlogin = required\n", []string{":2: "}},
		"unreadable key":    {fmt.Sprintf("[manager]\naddresses = [\"127.0.0.1:1\"]\ncert = %q\nkey = %q\n", cert, secret), []string{":4: manager.key: ", secret, "no such file"}},
		"no certificate":    {fmt.Sprintf("[manager]\naddresses = [\"127.0.0.1:1\"]\nca = %q\n", cert), []string{":3: manager.ca: ", "no certificate"}},
		"bad address":       {"[[listener]]\naddress = \"127.0.0.1\"\n", []string{":2: listener.address: ", "127.0.0.1"}},
		"heartbeat":         {"[gateway]\nheartbeat = \"31s\"\n", []string{":2: gateway.heartbeat: ", "idle_timeout"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "edged.toml")
			check(t, os.WriteFile(file, []byte(c.text), 0o600))
			want := append([]string{file + c.want[0]}, c.want[1:]...)
			for _, args := range [][]string{{"check", file}, {"serve", "--config", file}} {
				status, stdout, stderr := run(t, args...)
				wantFault(t, args[0], status, stderr, want...)
				if stdout != "" {
					t.Errorf("%s says %q on standard output", args[0], stdout)
				}
			}
		})
	}
}

// TestFileGood is a file without faults, and the one that is shipped.
func TestFileGood(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "edged.toml")
	check(t, os.WriteFile(file, []byte(setup{}.text("/run/edged/a.sock")), 0o600))
	for _, f := range []string{file, "../etc/edged.toml"} {
		if status, stdout, stderr := run(t, "check", f); status != 0 || !strings.Contains(stdout, "OK") || stderr != "" {
			t.Errorf("check %s: status %d, %q, %q", f, status, stdout, stderr)
		}
	}
}

// TestStartFaults is what keeps a gateway from starting although its file is good.
func TestStartFaults(t *testing.T) {
	t.Parallel()
	taken := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer taken.Close()
	port := taken.Addr().String()
	dir := t.TempDir()
	missing := filepath.Join(dir, "nothing.toml")
	for _, args := range [][]string{{"serve", "--config", missing}, {"check", missing}} {
		status, _, stderr := run(t, args...)
		wantFault(t, args[0]+" of a missing file", status, stderr, missing, "no such file")
	}
	for name, c := range map[string]struct {
		s     setup
		admin string
		want  []string
	}{
		"port":       {setup{listeners: []string{fmt.Sprintf("address = %q", port)}}, "a1", []string{"main", port, "address already in use"}},
		"admin port": {setup{}, "a2\", \"" + port, []string{port, "address already in use"}},
		"no such ip": {setup{listeners: []string{`address = "192.0.2.1:7000"`}}, "a3", []string{"192.0.2.1:7000", "cannot assign requested address"}},
		"not passed": {setup{listeners: []string{`address = "systemd:absent"`}}, "a5", []string{"systemd:absent", "no socket of that name"}},
		"no such dir": {setup{listeners: []string{fmt.Sprintf("address = %q", "unix:"+dir+"/no/such/dir.sock")}}, "a4",
			[]string{dir + "/no/such/dir.sock", "no such file"}},
	} {
		file := filepath.Join(dir, c.admin[:2]+".toml")
		text := strings.Replace(c.s.text(filepath.Join(dir, c.admin[:2])), `a2"`, c.admin+`"`, 1)
		check(t, os.WriteFile(file, []byte(text), 0o600))
		status, stdout, stderr := run(t, "serve", "--config", file)
		wantFault(t, name, status, stderr, c.want...)
		if stdout != "" {
			t.Errorf("%s: %q on standard output: it was never ready", name, stdout)
		}
		if left, err := os.Stat(filepath.Join(dir, c.admin[:2])); err == nil {
			t.Errorf("%s: %s was left behind", name, left.Name())
		}
	}
}

// TestSecondGateway has a second gateway on the ports and sockets of a running one: it leaves, and the first one lives.
func TestSecondGateway(t *testing.T) {
	t.Parallel()
	g := start(t, setup{gateway: `login = "none"`})
	file := filepath.Join(t.TempDir(), "second.toml")
	port := setup{listeners: []string{fmt.Sprintf("address = %q", g.address())}}
	for text, want := range map[string]string{setup{}.text(g.admin): "another edged", port.text(g.admin + "2"): "address already in use"} {
		check(t, os.WriteFile(file, []byte(text), 0o600))
		status, _, stderr := run(t, "serve", "--config", file)
		wantFault(t, "serve", status, stderr, want)
	}
	c := dial(t, g.address())
	if _, err := c.next(patience); err != nil {
		t.Errorf("the first gateway: %v", err)
	}
	g.metric("edged_links") // its admin socket is still there
}

// TestWrongUse exits with status 2 and says in a sentence what is missing.
func TestWrongUse(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"no-such-command"}, {"serve", "--no-such-flag"}, {"serve", "extra"}, {"check"}, {"check", "a", "b"},
		{"ctl", "no-such-command"}, {"ctl", "drain", "--within", "soon"}} {
		status, stdout, stderr := run(t, args...)
		if lines := strings.Count(strings.TrimSpace(stderr), "\n") + 1; status != 2 || stdout != "" || stderr == "" || lines != 1 {
			t.Errorf("edged %v: status %d, want 2 and one sentence\n%s%s", args, status, stdout, stderr)
		}
	}
	for _, args := range [][]string{{"help"}, {"version"}, {"serve", "--help"}} {
		if status, stdout, stderr := run(t, args...); status != 0 || stdout == "" || stderr != "" {
			t.Errorf("edged %v: status %d, %q, %q", args, status, stdout, stderr)
		}
	}
	status, _, stderr := run(t, "ctl", "--socket", filepath.Join(t.TempDir(), "none.sock"), "status")
	wantFault(t, "ctl to nobody", status, stderr, "no edged answers")
}
