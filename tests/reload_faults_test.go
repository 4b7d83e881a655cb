//go:build e2e

package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUpgradeToBadBinaries replaces the program on the disk by one that goes wrong: nothing happens to the links, and one sentence
// says why. Then by a good one.
func TestUpgradeToBadBinaries(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "edged")
	install(t, binary, good(t), 0o755)
	bad := faulty(t)
	manager := reference(t)
	for name, tc := range map[string]struct {
		fault    string
		text     []byte
		mode     os.FileMode
		sentence string
	}{
		"crashes at once":         {"start=crash", bad, 0o755, `the new binary does not check the configuration: signal: killed`},
		"crashes in the check":    {"check=crash", bad, 0o755, `the new binary does not check the configuration: signal: killed`},
		"hangs in the check":      {"check=hang", bad, 0o755, `the new binary did not check the configuration within 2s`},
		"refuses in the check":    {"check=no", bad, 0o755, `the new binary refuses: edged: it does not like this check`},
		"crashes when it serves":  {"serve=crash", bad, 0o755, `the new process ended before it could say hello`},
		"hangs when it serves":    {"serve=hang", bad, 0o755, `the new process did not say hello within \S+`},
		"crashes in the restore":  {"restore=crash", bad, 0o755, `the new process ended before it could load the state`},
		"hangs in the restore":    {"restore=hang", bad, 0o755, `the new process did not load the state within \S+`},
		"refuses the state":       {"restore=no", bad, 0o755, `the new process refuses: it does not like this restore`},
		"is truncated":            {"", bad[:len(bad)/2], 0o755, `\S.*`},
		"has a head alone":        {"", bad[:1000], 0o755, `\S.*`},
		"is empty":                {"", nil, 0o755, `\S.*exec format error`},
		"is not executable":       {"", bad, 0o644, `\S.*permission denied`},
		"is a text":               {"", []byte("hello\n"), 0o755, `\S.*exec format error`},
		"is of another processor": {"", otherMachine(bad), 0o755, `\S.*exec format error`},
	} {
		t.Run(name, func(t *testing.T) {
			install(t, binary, good(t), 0o755)
			g := start(t, setup{
				gateway: "reactors = 2", managers: []string{manager}, binary: binary, env: []string{"EDGED_FAULT=" + tc.fault},
				more: "[handover]\ncheck_timeout = \"2s\"\naccept_pause = \"1s\"\nfreeze = \"500ms\"\n",
			})
			l := startNumbered(t, g.address(), 200)
			install(t, binary, tc.text, tc.mode)
			g.wantNoReload(tc.sentence)
			g.wantNoReload(tc.sentence)
			install(t, binary, good(t), 0o755)
			g.reload()
			l.finish()
		})
	}
}

// otherMachine changes e_machine of an ELF file.
func otherMachine(text []byte) []byte {
	b := append([]byte(nil), text...)
	b[18], b[19] = 0xf3, 0x7f
	return b
}

// TestUpgradeToABinaryThatIsGone finds no file at all.
func TestUpgradeToABinaryThatIsGone(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "edged")
	install(t, binary, good(t), 0o755)
	g := start(t, setup{gateway: "login = \"none\"", binary: binary})
	check(t, os.Remove(binary))
	g.wantNoReload(`\S.*no such file or directory`)
}

// TestReloadWithBadFiles changes the file in ways that cannot be.
func TestReloadWithBadFiles(t *testing.T) {
	dir := t.TempDir()
	file, admin := filepath.Join(dir, "edged.toml"), filepath.Join(dir, "admin.sock")
	s := setup{gateway: "reactors = 2\ncapacity = 5000", managers: []string{reference(t)}, listeners: []string{`address = "` + freePort(t) + `"`}}
	text := s.text(admin)
	check(t, os.WriteFile(file, []byte(text), 0o600))
	g := startFile(t, file, admin, s)
	l := startNumbered(t, g.address(), 200)
	for name, tc := range map[string]struct{ old, now, sentence string }{
		"a wrong key":         {"reactors", "reactor", `the new binary refuses: \S+edged\.toml:\d+: .*reactor.*`},
		"a wrong value":       {"capacity = 5000", "capacity = -1", `the new binary refuses: \S+edged\.toml:\d+: .*capacity.*`},
		"no TOML":             {"[gateway]", "[gateway", `the new binary refuses: \S+edged\.toml:\d+: .*`},
		"other reactors":      {"reactors = 2", "reactors = 1", `the new process refuses: \[gateway\] reactors is 1 and was 2: links know their reactor; restart to change it`},
		"a smaller capacity":  {"capacity = 5000", "capacity = 100", `the new process refuses: \[gateway\] capacity .*`},
		"another address":     {"capacity = 5000", "capacity = 5000\nadvertise = \"192.0.2.1:1\"", `the new process refuses: .*advertise.*`},
		"an address in use":   {"[manager]", "[[listener]]\nname = \"b\"\naddress = \"" + occupied(t) + "\"\n[manager]", `the new process refuses: .*address already in use`},
		"a certificate's end": {"[manager]", "[manager]\nca = \"/nowhere/ca.pem\"", `the new \S+ refuses: .*ca.pem.*`},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(text, tc.old, tc.now, 1)
			if changed == text {
				t.Fatal("nothing is changed")
			}
			check(t, os.WriteFile(file, []byte(changed), 0o600))
			g.in(t).wantNoReload(tc.sentence)
		})
	}
	check(t, os.Remove(file))
	g.wantNoReload(`the new binary refuses: .*no such file or directory`)
	check(t, os.WriteFile(file, []byte(strings.Replace(text, "capacity = 5000", "capacity = 6000", 1)), 0o600))
	if g.reload(); g.statusJSON().Capacity != 6000 {
		t.Errorf("capacity %d", g.statusJSON().Capacity)
	}
	l.finish()
}
