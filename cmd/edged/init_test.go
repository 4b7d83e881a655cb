package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/BurntSushi/toml"

	"edged/config"
	"edged/etc"
	"edged/tuning"
)

// initOn runs init for a box that is not this one, with what somebody types at its terminal; nil: there is none.
func initOn(t *testing.T, typed io.Reader, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := initCommand(newMachine(t, "virtio4", "").box, func(io.Reader) bool { return typed != nil })
	c.SilenceUsage, c.SilenceErrors = true, true
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(args)
	if typed != nil {
		c.SetIn(typed)
	}
	err := c.Execute()
	return out.String(), err
}

// loaded reads a file back.
func loaded(t *testing.T, file string) *config.Config {
	t.Helper()
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestInit: what is told by flags stands in the file, everything else is the default, and each setting keeps its comment.
func TestInit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "edged.toml")
	out, err := initOn(t, nil, "--config", file, "--listen", "[::]:7001", "--manager", "10.0.0.5:7100, unix:/run/manager.sock",
		"--redis", "10.0.0.9:6379", "--slb", "sh-1", "--pps-limit", "1000000", "--bytes-limit", "125000000", "--links", "100000")
	if err != nil {
		t.Fatal(err, out)
	}
	want := config.Default()
	want.Listeners[0].Address = "[::]:7001"
	want.Manager.Addresses = []string{"10.0.0.5:7100", "unix:/run/manager.sock"}
	want.Redis.Addresses, want.Redis.SLB = []string{"10.0.0.9:6379"}, "sh-1"
	want.Health.PPSLimit, want.Health.BytesLimit = 1_000_000, 125_000_000
	want.Tuning.Links = 100_000
	if got := loaded(t, file); !reflect.DeepEqual(got, want) {
		t.Errorf("the file means\n%+v\nwant\n%+v", got, want)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "What stands here are the defaults") {
		t.Error("the file says that it holds defaults alone")
	}
	if comments := strings.Count(string(text), "\n# "); comments < 100 {
		t.Errorf("%d lines of comment", comments)
	}
	for _, said := range []string{file + " is written; configuration OK\n", "This box holds ", "\n  1. ", "edged doctor --config " + file} {
		if !strings.Contains(out, said) {
			t.Errorf("no %q in\n%s", said, out)
		}
	}
	if strings.Contains(out, "no Manager") {
		t.Errorf("it misses a Manager:\n%s", out)
	}
	var checked bytes.Buffer
	if status := run([]string{"check", file}, &checked, &checked); status != exitDone || checked.String() != "configuration OK\n" {
		t.Errorf("check: status %d, %s", status, &checked)
	}
}

// TestInitFile: the file is for root and the group, is not written over by accident, and there is nothing beside it.
func TestInitFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "edged.toml")
	out, err := initOn(t, nil, "--config", file)
	if err != nil || !strings.Contains(out, "Not ready yet: no Manager") {
		t.Fatal(err, out)
	}
	if got := loaded(t, file); !reflect.DeepEqual(got, config.Default()) {
		t.Errorf("without answers the file means\n%+v", got)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	_, err = initOn(t, strings.NewReader("never asked"), "--config", file, "--links", "5")
	if err == nil || err.Error() != file+" is there already: --force writes over it, --config names another file" {
		t.Errorf("the second time: %v", err)
	}
	if got := loaded(t, file); got.Tuning.Links != 0 {
		t.Error("the file was written over")
	}
	if _, err = initOn(t, nil, "--config", file, "--links", "5", "--force"); err != nil || loaded(t, file).Tuning.Links != 5 {
		t.Errorf("--force: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("in the directory: %v, %v", entries, err)
	}
	missing := filepath.Join(dir, "nowhere")
	if _, err = initOn(t, nil, "--config", filepath.Join(missing, "x.toml")); err == nil || err.Error() != "write into "+missing+": no such file or directory" {
		t.Errorf("without a directory: %v", err)
	}
}

// TestInitInstalled: what the package has installed and nobody has changed is written over without more.
func TestInitInstalled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "edged.toml")
	if err := os.WriteFile(file, []byte(etc.Gateway), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := initOn(t, nil, "--config", file, "--manager", "a:1"); err != nil || len(loaded(t, file).Manager.Addresses) != 1 {
		t.Errorf("%v\n%s", err, out)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := initOn(t, nil, "--config", file); err == nil {
		t.Error("it was written over although somebody had changed it")
	}
}

// TestInitOwner: the service can read what root writes, and who owns a file goes on to own it.
func TestInitOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("files are given away by root alone")
	}
	group, err := user.LookupGroup("daemon")
	if err != nil {
		t.Skip(err)
	}
	service, err := strconv.Atoi(group.Gid)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, c := range map[string]struct{ had, want [2]int }{
		"new":         {[2]int{-1, -1}, [2]int{0, service}},
		"of root":     {[2]int{0, 0}, [2]int{0, service}},
		"of somebody": {[2]int{1234, 2345}, [2]int{1234, 2345}},
	} {
		file := filepath.Join(dir, name)
		if c.had[0] >= 0 {
			err = errors.Join(os.WriteFile(file, nil, 0o600), os.Chown(file, c.had[0], c.had[1]))
		}
		f, e := os.Create(file + ".new")
		if err = errors.Join(err, e); err != nil {
			t.Fatal(err)
		}
		err = giveTo(f, file, "daemon")
		info, e := f.Stat()
		if err = errors.Join(err, e, f.Close()); err != nil {
			t.Fatal(err)
		}
		if uid, gid := ownerOf(info); uid != c.want[0] || gid != c.want[1] {
			t.Errorf("%s: belongs to %d:%d, want %v", name, uid, gid, c.want)
		}
	}
}

// TestInitTogether: of several that begin at once one writes, and the file is whole.
func TestInitTogether(t *testing.T) {
	file := filepath.Join(t.TempDir(), "edged.toml")
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		all.Go(func() { errs[i] = writeNew(file, template(), false) })
	}
	all.Wait()
	wrote := 0
	for _, err := range errs {
		if err == nil {
			wrote++
		} else if !strings.Contains(err.Error(), "is there already") {
			t.Error(err)
		}
	}
	if wrote != 1 {
		t.Errorf("%d have written", wrote)
	}
	loaded(t, file)
}

// TestInitRefuses: what cannot be meant is one sentence, and nothing is written.
func TestInitRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		`--manager: "x" is neither host:port nor unix:/path`:                {"--manager", "x"},
		`--manager: "a:1" stands there twice`:                               {"--manager", "a:1,a:1"},
		`--manager: "" is neither host:port nor unix:/path`:                 {"--manager", "a:1,,b:2"},
		`--redis: "here" is not host:port`:                                  {"--redis", "here"},
		`--slb needs --redis`:                                               {"--slb", "sh-1"},
		`--slb: "a b" is not a name of at most 128 printable`:               {"--redis", "a:1", "--slb", "a b"},
		`--links: "many" is not a whole number`:                             {"--links", "many"},
		`--links: -1 is not between 0 and 100000000`:                        {"--links", "-1"},
		`--pps-limit: "1\n[admin]" is not a whole number`:                   {"--pps-limit", "1\n[admin]"},
		`--listen: ":7000" is not IP:port, unix:/path or systemd:name`:      {"--listen", ":7000"},
		`--listen: "unix:/run/edged/admin.sock" is the address of the list`: {"--listen", "unix:/run/edged/admin.sock"},
	} {
		file := filepath.Join(t.TempDir(), "edged.toml")
		out, err := initOn(t, nil, append(args, "--config", file)...)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v\nwant %s\n%s", args, err, want, out)
		}
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%q: it was written", args)
		}
	}
}

// TestInitAsks: at a terminal each thing is asked until the answer can be meant; what makes no sense without another is not asked.
func TestInitAsks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "edged.toml")
	out, err := initOn(t, strings.NewReader("\nnowhere\n 10.0.0.5:7100 \n\n\n-3\nlots\n125000000\n\n"), "--config", file)
	if err != nil {
		t.Fatal(err, out)
	}
	want := config.Default()
	want.Manager.Addresses = []string{"10.0.0.5:7100"}
	want.Health.BytesLimit = 125_000_000
	if got := loaded(t, file); !reflect.DeepEqual(got, want) {
		t.Errorf("the file means\n%+v\nwant\n%+v\n%s", got, want, out)
	}
	for said, times := range map[string]int{
		"IP:port [0.0.0.0:7000]: ":                               1,
		`  "nowhere" is neither host:port nor unix:/path` + "\n": 1,
		"Managers, host:port":                                    2,
		"Bytes a second":                                         3,
		"load balancer":                                          0,
		`  "lots" is not a whole number` + "\n":                  1,
	} {
		if n := strings.Count(out, said); n != times {
			t.Errorf("%q is said %d times, want %d:\n%s", said, n, times, out)
		}
	}
}

// TestInitAnswersEnd: nothing is written for somebody who leaves.
func TestInitAnswersEnd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "edged.toml")
	_, err := initOn(t, strings.NewReader("\n10.0.0.5:7100\n"), "--config", file)
	if err == nil || !strings.Contains(err.Error(), "nothing was written") {
		t.Error(err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("it was written")
	}
}

// TestInitTemplate: every question finds its place in the file that is installed.
func TestInitTemplate(t *testing.T) {
	for _, q := range questions() {
		if _, at := valueIn(template(), q.section, q.key); at < 0 {
			t.Errorf("there is no %s in [%s]", q.key, q.section)
		}
	}
	if _, at := valueIn(template(), "gateway", "addresses"); at >= 0 {
		t.Error("addresses is found in a section that has none")
	}
	if strings.HasPrefix(template(), "# The configuration of an edged gateway. What") {
		t.Error("the head of the template is that of the installed file")
	}
}

// FuzzInit: whatever is answered, it is refused, or it is what the file says, and nothing else is.
func FuzzInit(f *testing.F) {
	f.Add("10.0.0.5:7100", "sh-1")
	f.Add("a:1,b:2", "\"\n[gateway]\nlogin = \"none\"")
	f.Add("unix:/tmp/\x7f\u2028", "\\")
	f.Fuzz(func(t *testing.T, manager, slb string) {
		n := &initialization{box: tuning.Box{}, file: "x", answers: map[string]*string{}}
		for _, q := range questions() {
			n.answers[q.flag] = new(string)
		}
		redis := "a:1"
		n.answers["manager"], n.answers["redis"], n.answers["slb"] = &manager, &redis, &slb
		text, err := n.text()
		if err != nil {
			return
		}
		got, err := config.Parse("x", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		want := config.Default()
		want.Redis.Addresses, want.Redis.SLB = []string{redis}, slb
		if manager != "" {
			want.Manager.Addresses = nil
			for _, a := range strings.Split(manager, ",") {
				want.Manager.Addresses = append(want.Manager.Addresses, strings.ToValidUTF8(strings.TrimSpace(a), "\uFFFD"))
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q, %q: the file means\n%+v", manager, slb, got)
		}
	})
}

// FuzzQuoteTOML: any text comes back as it was.
func FuzzQuoteTOML(f *testing.F) {
	for _, s := range []string{"", `"`, `\`, "\x00\x1f\x7f", "\u2028", "日本", "\\u0041"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got struct{ V string }
		if _, err := toml.Decode("V = "+quoteTOML(s), &got); err != nil || got.V != strings.ToValidUTF8(s, "\uFFFD") {
			t.Fatalf("%q: %q, %v", s, got.V, err)
		}
	})
}
