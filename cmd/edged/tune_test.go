package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edged/nic"
	"edged/nic/nictest"
	"edged/tuning"
)

// machine is a box of tuning/testdata/machines in a directory of the test's own. What is written there is written into plain
// files: of two values, the second must not be much shorter.
type machine struct {
	t      *testing.T
	box    tuning.Box
	config string // file
}

// newMachine lays it out, with more lines of [tuning].
func newMachine(t *testing.T, name, settings string) *machine {
	t.Helper()
	var answers struct {
		Links   []nic.Link             `json:"links"`
		Routes  []int                  `json:"routes"`
		Answers map[string]nic.Answers `json:"answers"`
	}
	const dir = "../../tuning/testdata/machines/"
	text, err := os.ReadFile(dir + name + ".json")
	if err == nil {
		err = json.Unmarshal(text, &answers)
	}
	root := t.TempDir()
	for _, tree := range []string{"base", name} {
		var text []byte
		if err == nil {
			text, err = os.ReadFile(dir + tree + ".tree")
		}
		if err == nil {
			err = nictest.Expand(root, string(text))
		}
	}
	m := &machine{t: t, config: filepath.Join(t.TempDir(), "edged.toml"), box: tuning.Box{Root: root}}
	m.box.Net = nic.Host{Kernel: &nictest.Kernel{All: answers.Links, Default: answers.Routes}, Driver: &nictest.Driver{Known: answers.Answers}}
	if err == nil {
		err = os.WriteFile(m.config, []byte("[admin]\nlisten = []\n[tuning]\n"+settings), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if name == "virtio4" {
		m.write("proc/sys/net/ipv4/tcp_mem", "488976 1051970 1377952\n") // as long as what is wanted
	}
	return m
}

// run calls edged for this box and returns its status and its whole output.
func (m *machine) run(args ...string) (int, string) {
	m.t.Helper()
	var out bytes.Buffer
	status := runOn(m.box, append(args, "--config", m.config), &out, &out)
	return status, out.String()
}

// wants runs edged and looks at its status and for texts in its output.
func (m *machine) wants(status int, args string, texts ...string) string {
	m.t.Helper()
	got, out := m.run(strings.Fields(args)...)
	if got != status {
		m.t.Errorf("edged %s: status %d, want %d\n%s", args, got, status, out)
	}
	for _, text := range texts {
		if !strings.Contains(out, text) {
			m.t.Errorf("edged %s: no %q in\n%s", args, text, out)
		}
	}
	return out
}

func (m *machine) read(path string) string {
	m.t.Helper()
	content, err := os.ReadFile(filepath.Join(m.box.Root, path))
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.TrimSpace(string(content))
}

func (m *machine) write(path, value string) {
	m.t.Helper()
	file := filepath.Join(m.box.Root, path)
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, []byte(value), 0o644)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// everything is what all files of the box contain, but those of edged itself.
func (m *machine) everything() map[string]string {
	m.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(m.box.Root, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.Contains(path, "/run/edged-tune/") {
			return err
		}
		content, err := os.ReadFile(path)
		all[path] = strings.Join(strings.Fields(string(content)), " ")
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return all
}

const somaxconn = "proc/sys/net/core/somaxconn"

func TestTuneUse(t *testing.T) {
	for want, args := range map[string]string{
		`unknown command "away"`:                   "tune plan away",
		"unknown flag: --hard":                     "tune apply --hard",
		"--confirm: 10ms is shorter than 1s":       "tune apply --confirm 10ms",
		"--measure: 10ms is shorter than 1s":       "tune apply --measure=10ms",
		"accepts 1 arg(s), received 0":             "tune explain",
		"--over: 1ms is shorter than 100ms":        "doctor --over 1ms",
		`invalid argument "many" for "--links" fl`: "tune capacity --links many",
	} {
		var out bytes.Buffer
		if status := run(strings.Fields(args), &out, &out); status != exitUsage || !strings.Contains(out.String(), want) {
			t.Errorf("%s: status %d, %s; want %s", args, status, &out, want)
		}
	}
	m := newMachine(t, "virtio4", "")
	m.wants(exitNot, "tune plan --links 2000000000", "links: 2000000000 is not between")
	m.wants(exitNot, "tune explain tcp_men", `no setting is called "tcp_men"; did you mean net.ipv4.tcp_mem`)
	m.config = "/nowhere/edged.toml"
	m.wants(exitNot, "tune plan", "no such file")
	m = newMachine(t, "virtio4", "links = -1\n")
	m.wants(exitNot, "tune plan", "tuning.links: -1 is not between")
	m.wants(exitDone, "tune revert", "the defaults count instead of the configuration", "nothing to do")
}

// TestTunePlan: what is printed for people and for programs, and that nothing is changed.
func TestTunePlan(t *testing.T) {
	m := newMachine(t, "virtio4", "links = 1000000\nmessages_per_second = 200000\n")
	before := m.everything()
	m.wants(exitDone, "tune plan", "No gateway serves here", "first to end: ", "Plan for 1,000,000 links and 200,000 messages/s",
		"net.core.somaxconn", "65535", "[tuning] allow_nic is false", "kernel command line: thash_entries=1048576")
	m.wants(exitDone, "tune plan --all", "TCP_NOTSENT_LOWAT", "net.core.busy_poll")
	m.wants(exitDone, "tune plan --links 20000", "Plan for 20,000 links")
	m.wants(exitDone, "tune capacity", "ceiling of open files", "with the plan")
	m.wants(exitDone, "tune capacity --links 90000000", "This box cannot hold 90,000,000 links.")
	m.wants(exitDone, "tune explain somaxconn", "net.core.somaxconn: change", "now      4096", "source   Documentation/")
	m.wants(exitNot, "tune verify", "net.core.somaxconn", "edged tune apply has not set it")
	var got struct {
		Machine struct{ RAM uint64 }
		Plan    tuning.Plan
	}
	if err := json.Unmarshal([]byte(m.wants(exitDone, "tune plan --json")), &got); err != nil {
		t.Fatal(err)
	}
	if e, ok := got.Plan.Entry("net.core.somaxconn"); !ok || e.Wanted != "65535" || e.Status != tuning.Change || got.Machine.RAM == 0 {
		t.Errorf("%+v", e)
	}
	var capacity struct{ Capacity []tuning.Bound }
	if err := json.Unmarshal([]byte(m.wants(exitDone, "tune capacity --json")), &capacity); err != nil || len(capacity.Capacity) < 5 {
		t.Error(err, capacity)
	}
	var drift []tuning.Drift
	if err := json.Unmarshal([]byte(m.wants(exitNot, "tune verify --json")), &drift); err != nil || len(drift) != len(got.Plan.Changes()) {
		t.Error(err, drift)
	}
	sameFiles(t, before, m.everything())
}

func sameFiles(t *testing.T, want, got map[string]string) {
	t.Helper()
	for path, content := range want {
		if got[path] != content {
			t.Errorf("%s: %q, want %q", path, got[path], content)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s is new", path)
		}
	}
}

// TestTuneApply is the way there and back, with what somebody else does meanwhile.
func TestTuneApply(t *testing.T) {
	m := newMachine(t, "virtio4", "links = 1000000\n")
	before := m.everything()
	m.wants(exitDone, "tune apply --persist", "changed net.core.somaxconn: 4096 → 65535", "kept over a reboot: ")
	if got := m.read("etc/sysctl.d/60-edged.conf"); !strings.Contains(got, "-net.core.somaxconn = 65535") || m.read(somaxconn) != "65535" {
		t.Errorf("somaxconn %s, file\n%s", m.read(somaxconn), got)
	}
	m.wants(exitDone, "tune verify", "all is as planned")
	m.wants(exitDone, "tune apply", "nothing to do")
	m.write(somaxconn, "70000\n")
	m.write("etc/sysctl.d/99-admin.conf", "net.core.somaxconn = 70000\n")
	m.wants(exitNot, "tune verify", "70000", "/etc/sysctl.d/99-admin.conf")
	m.wants(exitDone, "doctor --over 100ms", "net.core.somaxconn is 70000, edged had set 65535", "/etc/sysctl.d/99-admin.conf", "edged tune verify, and settle who sets what")
	m.wants(exitDone, "tune revert", "drifted net.core.somaxconn", "restored net.ipv4.tcp_mem")
	if got := m.read(somaxconn); got != "70000" {
		t.Error(got)
	}
	m.write(somaxconn, "4096\n")
	if err := os.Remove(filepath.Join(m.box.Root, "etc/sysctl.d/99-admin.conf")); err != nil {
		t.Fatal(err)
	}
	sameFiles(t, before, m.everything())
	m.wants(exitNot, "tune confirm", "nothing waits to be confirmed")
}

// TestTuneApplyJSON: the outcome goes to standard output, progress elsewhere.
func TestTuneApplyJSON(t *testing.T) {
	m := newMachine(t, "virtio4", "links = 1000000\npersist = true\n")
	var out, progress bytes.Buffer
	if status := runOn(m.box, []string{"tune", "apply", "--json", "--measure=1s", "--config", m.config}, &out, &progress); status != exitDone {
		t.Error(status, progress.String())
	}
	var done applied
	if err := json.Unmarshal(out.Bytes(), &done); err != nil {
		t.Fatal(err, out.String())
	}
	if done.Count(tuning.Changed) < 10 || done.Before == nil || done.After == nil || done.After.Seconds < 1 || !strings.HasSuffix(done.Persisted, "60-edged.conf") {
		t.Errorf("%+v", done)
	}
	if !strings.Contains(progress.String(), "measuring the load after, for 1s") {
		t.Error(progress.String())
	}
	var back tuning.Result
	if err := json.Unmarshal([]byte(m.wants(exitDone, "tune revert --json")), &back); err != nil || back.Count(tuning.Restored) != done.Count(tuning.Changed) {
		t.Error(err, back.Summary())
	}
	m.wants(exitDone, "tune apply --measure=1s", "BEFORE", "found the accept queue full")
}

// TestTuneConfirm: without a confirmation all is put back, and the status says so.
func TestTuneConfirm(t *testing.T) {
	m := newMachine(t, "virtio4", "links = 1000000\n")
	before := m.everything()
	m.wants(exitNot, "tune apply --persist --confirm 1s", "put back in 1s unless confirmed: edged tune confirm", "restored net.core.somaxconn",
		"edged: not confirmed within 1s: all is put back")
	sameFiles(t, before, m.everything())
	ended := make(chan string)
	go func() {
		var out bytes.Buffer
		_ = runOn(m.box, []string{"tune", "apply", "--confirm", "30s", "--config", m.config}, &out, &out)
		ended <- out.String()
	}()
	for {
		var out bytes.Buffer
		status := runOn(m.box, []string{"tune", "confirm"}, &out, &out)
		if status == exitDone {
			break
		}
		if !strings.Contains(out.String(), tuning.ErrNotWaiting.Error()) {
			t.Fatal(out.String())
		}
		select {
		case out := <-ended:
			t.Fatal("apply did not wait:", out)
		default:
		}
	}
	if out := <-ended; !strings.Contains(out, " changed") || m.read(somaxconn) != "65535" {
		t.Errorf("somaxconn %s after\n%s", m.read(somaxconn), out)
	}
}

// TestTuneServing: a gateway is found by its process, and devices are left alone then.
func TestTuneServing(t *testing.T) {
	m := newMachine(t, "virtio4", "")
	m.write("proc/4242/cmdline", "/usr/bin/edged\x00serve\x00")
	m.write("proc/4242/limits", "Max open files            700000               700000               files\n")
	for _, pid := range []string{"4242", "self"} {
		link := filepath.Join(m.box.Root, "proc", pid, "ns/net")
		err := os.MkdirAll(filepath.Dir(link), 0o755)
		if err == nil {
			err = os.Symlink("net:[4026531840]", link)
		}
		if err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	if out := m.wants(exitDone, "tune capacity"); strings.Contains(out, "No gateway") || !strings.Contains(out, "698,9") {
		t.Error(out)
	}
	m.wants(exitDone, "doctor --over 100ms", "A gateway serves here, process 4242; it does not answer")
	m.write("proc/4242/cmdline", "/usr/bin/vi\x00serve\x00")
	m.wants(exitDone, "tune capacity", "No gateway serves here")
}

func TestTuneNIC(t *testing.T) {
	m := newMachine(t, "mlx5", "")
	out := m.wants(exitDone, "tune nic", "mlx5_core", "QUEUE", "rx-0", "mlx5_comp0@")
	if lines := strings.Count(out, "\n  rx-"); lines < 8 {
		t.Errorf("%d queues:\n%s", lines, out)
	}
	var maps []mapped
	if err := json.Unmarshal([]byte(m.wants(exitDone, "tune nic --json")), &maps); err != nil || len(maps) != 1 || !maps[0].Mapped {
		t.Error(err, maps)
	}
	m = newMachine(t, "mlx5", "interfaces = [\"nosuch0\"]\n")
	m.wants(exitNot, "tune nic", "nosuch0: there is no such device")
}

func TestDoctor(t *testing.T) {
	m := newMachine(t, "virtio4", "links = 1000000\n")
	m.write("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n")
	m.wants(exitDone, "doctor --over 100ms", "LIMITS", "ends first: ", "DRIFT", "LOAD", "DROPS", "SKEW", "hpet, slow to read", "KERNEL", "What to do next",
		"1. ", "edged tune apply", "another clocksource")
	var d diagnosis
	if err := json.Unmarshal([]byte(m.wants(exitDone, "doctor --over 100ms --json")), &d); err != nil || len(d.Next) < 3 || d.Plan.Links != 1_000_000 {
		t.Error(err, d)
	}
}

// TestDoctorOrder: what is lost now comes first, then what the box could hold.
func TestDoctorOrder(t *testing.T) {
	d := &diagnosis{
		Plan:   planned{Now: 1000, Holds: 5000, Reach: 9000, Changes: 3},
		Drift:  []tuning.Drift{{Key: "net.core.somaxconn", Applied: true, By: "a person"}},
		Advice: []tuning.Advice{{Subject: "edged.service", Do: "LimitNOFILE=9000", Why: "files"}},
		Load:   tuning.Effects{Skew: 3.5}, Packets: 5000,
		Losses: losses(tuning.Sample{}, tuning.Effects{Overflows: 3}),
		Clock:  clock{Source: "hpet", Slow: true},
	}
	want := []string{
		"look after what is lost now", "edged tune apply", "edged.service: LimitNOFILE=9000", "edged tune verify, and settle who sets what",
		"spread the receive queues", "kernel command line: another clocksource", "run a time service: chrony or systemd-timesyncd",
		"a kernel with SO_ATTACH_REUSEPORT_CBPF",
	}
	if got := does(d.next()); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	d.Plan.Now, d.Packets, d.Losses, d.Drift, d.Clock = 5000, 10, nil, nil, clock{Source: "tsc", Synchronized: true}
	d.Kernel.Features.ReuseportBPF = true
	if got := does(d.next()); !slices.Equal(got, []string{"edged.service: LimitNOFILE=9000", "edged tune apply"}) {
		t.Errorf("%q", got)
	}
	d.Plan.Links, d.Plan.Capacity = 20_000, []tuning.Bound{{Resource: "files", Reach: 90_000}, {Resource: "memory", Reach: 9000, Why: "4 GiB"}}
	if got := d.next()[0]; got.Do != "plan for fewer links on this box: [tuning] links = 9000, or give it more" ||
		got.Why != "20,000 are wanted, and no setting makes it hold more: memory ends at 9,000, 4 GiB" {
		t.Errorf("%q", got)
	}
}

func does(steps []step) (all []string) {
	for _, s := range steps {
		all = append(all, s.Do)
	}
	return all
}

// TestDoctorLosses: what was lost before and what is lost now.
func TestDoctorLosses(t *testing.T) {
	m := newMachine(t, "virtio4", "")
	m.write("proc/net/softnet_stat", "00000100 00000000 00000000\n00000200 00000005 00000001\n")
	m.write("proc/net/netstat", "TcpExt: ListenOverflows ListenDrops TCPMemoryPressures\nTcpExt: 1767 2000 0\n")
	out := m.wants(exitDone, "doctor --over 100ms", "a listener's queue was full: 0 a second now, 1,767 since the start",
		"a CPU's backlog was full: 0 a second now, 5 since the start", "LOAD    0 connections and 0 packets a second")
	if strings.Contains(out, "look after what is lost now") || strings.Contains(out, "memory: 0 a second") {
		t.Error(out)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 123456: "123,456", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
