package tuning_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"edged/tuning"
)

func TestApplyVerifyRevert(t *testing.T) {
	for _, name := range machineNames(t) {
		t.Run(name, func(t *testing.T) {
			m := open(t, name)
			before := m.picture(t)
			_, plan := m.plan(t)
			res := m.apply(t, tuning.Options{})
			if n := len(plan.Changes()); n > 0 && res.Count(tuning.Changed) < n*2/3 {
				t.Errorf("%d changes planned, %s", n, res.Summary())
			}
			for _, o := range res.Outcomes {
				if o.Fate != tuning.Changed && o.Fate != tuning.Skipped {
					t.Error(o)
				}
			}
			_, again := m.plan(t)
			if left := again.Changes(); len(left) > 0 {
				t.Errorf("still to be changed: %+v", left)
			}
			if drift := m.drift(t); len(drift) > 0 {
				t.Errorf("drift: %+v", drift)
			}
			applied := m.picture(t)
			if res := m.apply(t, tuning.Options{}); res.Count(tuning.Changed) > 0 {
				t.Errorf("the second time: %s", res.Summary())
			}
			if d := differences(applied, m.picture(t)); d != nil {
				t.Errorf("the second time changed\n%s", strings.Join(d, "\n"))
			}
			back := m.revert(t)
			if d := differences(before, m.picture(t)); d != nil {
				t.Errorf("%s, yet not as before:\n%s", back.Summary(), strings.Join(d, "\n"))
			}
			if back.Count(tuning.Restored) != len(back.Outcomes) {
				t.Error(back.Summary())
			}
			if _, err := os.Stat(filepath.Join(m.Root, "run/edged-tune/tuning.json")); !errors.Is(err, os.ErrNotExist) {
				t.Error("the state file is still there:", err)
			}
			if res := m.revert(t); len(res.Outcomes) > 0 {
				t.Errorf("put back twice: %s", res.Summary())
			}
		})
	}
}

// Apply writes ceilings before what they limit, and a device's channels before what belongs to a queue.
func TestOrder(t *testing.T) {
	m := open(t, "mlx5")
	res := m.apply(t, tuning.Options{})
	place := map[string]int{}
	for i, o := range res.Outcomes {
		place[o.Key] = i
	}
	order := []string{
		"fs.nr_open", "vm.min_free_kbytes", "net.core.somaxconn", "net.ipv4.tcp_mem", "net.ipv4.tcp_fin_timeout",
		"ens1f0/channels", "ens1f0/queues/tx-0/xps_cpus",
	}
	for i, key := range order {
		if _, ok := place[key]; !ok {
			t.Errorf("%s was not touched", key)
		} else if i > 0 && place[key] < place[order[i-1]] {
			t.Errorf("%s came before %s", key, order[i-1])
		}
	}
	for key := range place {
		if strings.HasPrefix(key, "ens1f0/queues/tx-40/") {
			t.Errorf("%s belongs to a queue that is no more", key)
		}
	}
}

// one applies an entry of a plan alone.
func (m *machine) one(t *testing.T, key string, opts tuning.Options) tuning.Outcome {
	t.Helper()
	_, plan := m.plan(t)
	e, ok := plan.Entry(key)
	if !ok {
		t.Fatal("no entry", key)
	}
	plan.Entries = []tuning.Entry{e}
	res, err := m.Apply(context.Background(), plan, opts)
	if err != nil || len(res.Outcomes) != 1 {
		t.Fatal(key, e.Status, res, err)
	}
	return res.Outcomes[0]
}

func TestRefusalsHaveSentences(t *testing.T) {
	const somaxconn = "proc/sys/net/core/somaxconn"
	tests := []struct {
		name    string
		key     string
		denied  syscall.Errno // when the file is opened
		refused syscall.Errno // when the value is written
		want    string
	}{
		{"no root", "net.core.somaxconn", syscall.EACCES, 0, "not permitted: needs root, or the key belongs to the host"},
		{"read-only", "net.core.somaxconn", syscall.EROFS, 0, "read-only here: a container, or a unit with ProtectKernelTunables=yes"},
		{"out of range", "net.core.somaxconn", 0, syscall.EINVAL, "the kernel does not take 65535: out of its range"},
		{"not in this namespace", "net.core.somaxconn", 0, syscall.EPERM, "65535 is not allowed in this network namespace"},
		{"module missing", "net.ipv4.tcp_congestion_control", 0, syscall.ENOENT, "the kernel knows no bbr: its module is missing"},
		{"managed interrupt", "eth0/irq/virtio1-input.1", 0, syscall.EIO, "this interrupt cannot be moved"},
		{"no name", "net.core.somaxconn", 0, syscall.EXDEV, "the kernel refuses 65535: invalid cross-device link"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := open(t, "virtio4")
			m.Goal.Congestion = "bbr"
			before := m.picture(t)
			path := map[string]string{
				"net.core.somaxconn":              somaxconn,
				"net.ipv4.tcp_congestion_control": "proc/sys/net/ipv4/tcp_congestion_control",
				"eth0/irq/virtio1-input.1":        "proc/irq/26/smp_affinity_list",
			}[test.key]
			_, plan := m.plan(t)
			m.Files.refuse = map[string]syscall.Errno{path: test.refused}
			if test.denied != 0 { // after the plan was made, as when the unit was changed in between
				m.Files.denied = map[string]syscall.Errno{path: test.denied}
			}
			e, _ := plan.Entry(test.key)
			plan.Entries = []tuning.Entry{e}
			res, err := m.Apply(context.Background(), plan, tuning.Options{})
			if err != nil || len(res.Outcomes) != 1 {
				t.Fatal(res, err)
			}
			if o := res.Outcomes[0]; o.Fate != tuning.Refused || !strings.Contains(o.Note, test.want) {
				t.Errorf("%s: %s; want %s", o.Fate, o.Note, test.want)
			}
			if d := differences(before, m.picture(t)); d != nil {
				t.Errorf("changed: %s", d)
			}
			if back := m.revert(t); len(back.Outcomes) > 0 {
				t.Errorf("refused, and to be put back: %s", back.Summary())
			}
		})
	}
}

// A plan that is told beforehand what it may not write does not try.
func TestWhatIsDeniedIsPlannedSo(t *testing.T) {
	m := open(t, "operator")
	m.State = "/proc/nobody/may/write/here"
	res := m.apply(t, tuning.Options{})
	if len(m.Files.writes) > 0 || len(m.Driver.Sets()) > 0 {
		t.Errorf("written: %v, %v", m.Files.writes, m.Driver.Sets())
	}
	if res.Count(tuning.Skipped) != len(res.Outcomes) || len(res.Outcomes) == 0 {
		t.Error(res.Summary())
	}
}

func TestDevicesThatRefuse(t *testing.T) {
	m := open(t, "ixgbe")
	m.Driver.Fail = map[string]syscall.Errno{"channels": syscall.EBUSY, "rings": syscall.EOPNOTSUPP, "coalesce": syscall.EPERM, "features": syscall.EINVAL}
	for key, want := range map[string]string{
		"eth2/channels":       "busy",
		"eth2/rings":          "the driver cannot set this",
		"eth2/coalesce":       "the kernel refuses",
		"eth2/offload/rx-lro": "the kernel does not take off",
	} {
		if o := m.one(t, key, tuning.Options{}); o.Fate != tuning.Refused || !strings.Contains(o.Note, want) {
			t.Errorf("%s: %v; want %q", key, o, want)
		}
	}
}

// The kernel cuts numbers to its own limits without a word.
func TestClampedValueIsReportedAndPutBack(t *testing.T) {
	m := open(t, "virtio4")
	before := m.picture(t)
	m.Files.cut = func(path, value string) string {
		if path == "proc/sys/net/core/somaxconn" && value == "65535" {
			return "32768"
		}
		return value
	}
	o := m.one(t, "net.core.somaxconn", tuning.Options{})
	if o.Fate != tuning.Clamped || o.New != "32768" || !strings.Contains(o.Note, "the kernel made 32768 of 65535") {
		t.Error(o)
	}
	if d := m.drift(t); slices.ContainsFunc(d, func(d tuning.Drift) bool { return d.Key == "net.core.somaxconn" }) {
		t.Errorf("what the kernel made of it counts as drift: %+v", d)
	}
	m.revert(t)
	if d := differences(before, m.picture(t)); d != nil {
		t.Error(d)
	}
}

// A value that the kernel takes and forgets is one that it refused.
func TestValueWithoutEffect(t *testing.T) {
	m := open(t, "virtio4")
	m.Files.cut = func(string, string) string { return "4096" }
	if o := m.one(t, "net.core.somaxconn", tuning.Options{}); o.Fate != tuning.Refused || !strings.Contains(o.Note, "changed nothing") {
		t.Error(o)
	}
}

// Every vector goes to the kernel with all of its numbers, and every value in one line.
func TestVectorsAreWrittenWhole(t *testing.T) {
	m := open(t, "virtio4")
	m.apply(t, tuning.Options{})
	m.revert(t)
	for _, w := range m.Files.writes {
		path, value, _ := strings.Cut(w, " = ")
		want := 1
		switch filepath.Base(path) {
		case "tcp_mem", "tcp_rmem", "tcp_wmem":
			want = 3
		}
		if len(strings.Fields(value)) != want || strings.ContainsAny(value, "\n\t") {
			t.Errorf("written: %q", w)
		}
	}
}

func TestAdministratorsFileIsRespected(t *testing.T) {
	m := open(t, "owned")
	res := m.apply(t, tuning.Options{})
	if got := m.get(t, "proc/sys/net/core/somaxconn"); got != "8192" {
		t.Error("somaxconn is", got)
	}
	i := slices.IndexFunc(res.Outcomes, func(o tuning.Outcome) bool { return o.Key == "net.core.somaxconn" })
	if i < 0 || res.Outcomes[i].Fate != tuning.Skipped || !strings.Contains(res.Outcomes[i].Note, "/etc/sysctl.d/90-shop.conf:2") {
		t.Error(res.Outcomes)
	}
	m.apply(t, tuning.Options{Force: true})
	if got := m.get(t, "proc/sys/net/core/somaxconn"); got != "65535" {
		t.Error("forced: somaxconn is", got)
	}
	m.revert(t)
	if got := m.get(t, "proc/sys/net/core/somaxconn"); got != "8192" {
		t.Error("put back: somaxconn is", got)
	}
}

func TestServingGatewayKeepsItsDevice(t *testing.T) {
	m := open(t, "ixgbe")
	res := m.apply(t, tuning.Options{Serving: true})
	for _, set := range m.Driver.Sets() {
		if strings.HasPrefix(set, "channels") || strings.HasPrefix(set, "rings") {
			t.Error("under a gateway that serves:", set)
		}
	}
	if n := res.Count(tuning.Skipped); n < 2 {
		t.Error(res.Summary())
	}
	m.apply(t, tuning.Options{}) // before it serves
	set := len(m.Driver.Sets())
	back, err := m.Revert(context.Background(), tuning.Options{Serving: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range m.Driver.Sets()[set:] {
		if strings.HasPrefix(s, "channels") || strings.HasPrefix(s, "rings") {
			t.Error("put back under a gateway that serves:", s)
		}
	}
	if back.Count(tuning.Skipped) != 2 {
		t.Error(back.Summary())
	}
	if rest := m.revert(t); rest.Count(tuning.Restored) != 2 {
		t.Error("afterwards:", rest.Summary())
	}
}

// What a dead Apply did to a device is not put back under a gateway that serves, and not forgotten either.
func TestServingGatewayKeepsItsDeviceAfterDeath(t *testing.T) {
	for name, again := range map[string]func(*machine){
		"recover": func(m *machine) {
			if _, err := m.Recover(context.Background(), tuning.Options{Serving: true}); err != nil {
				t.Error(err)
			}
		},
		"apply": func(m *machine) { m.apply(t, tuning.Options{Serving: true}) },
	} {
		m := open(t, "ixgbe")
		before := m.picture(t)
		_, plan := m.plan(t)
		ctx, cancel := context.WithCancel(context.Background())
		m.Files.after = func(path, _ string) {
			if strings.Contains(path, "xps_cpus") { // channels and rings are behind it
				panic(died{})
			}
		}
		func() {
			defer func() { _ = recover() }()
			_, _ = m.Apply(ctx, plan, tuning.Options{})
		}()
		cancel()
		m.Files.after = nil
		set := len(m.Driver.Sets())
		again(m)
		for _, s := range m.Driver.Sets()[set:] {
			if strings.HasPrefix(s, "channels") || strings.HasPrefix(s, "rings") {
				t.Errorf("%s: %s", name, s)
			}
		}
		m.revert(t)
		if d := differences(before, m.picture(t)); d != nil {
			t.Errorf("%s: %s", name, strings.Join(d, "\n"))
		}
	}
}

// A larger goal later does not make edged forget what was there before the first one.
func TestSecondApplyKeepsTheFirstValue(t *testing.T) {
	m := open(t, "virtio4")
	before := m.picture(t)
	m.Goal.Links = 500_000
	m.apply(t, tuning.Options{})
	first := m.get(t, "proc/sys/net/ipv4/tcp_max_orphans")
	m.Goal.Links = 1_200_000
	m.apply(t, tuning.Options{})
	if second := m.get(t, "proc/sys/net/ipv4/tcp_max_orphans"); first != "250000" || second != "600000" {
		t.Error(first, second)
	}
	m.revert(t)
	if d := differences(before, m.picture(t)); d != nil {
		t.Error(d)
	}
}

func TestRevertLeavesWhatOthersChanged(t *testing.T) {
	m := open(t, "virtio4")
	m.apply(t, tuning.Options{})
	m.set(t, "proc/sys/net/core/somaxconn", "16384")
	m.set(t, "proc/sys/net/ipv4/tcp_fin_timeout", "60") // as it was
	drift := m.drift(t)
	if len(drift) != 2 || drift[0].Key != "net.core.somaxconn" || drift[0].Wanted != "65535" || drift[0].Current != "16384" || !drift[0].Applied {
		t.Errorf("drift: %+v", drift)
	}
	res := m.revert(t)
	if n := res.Count(tuning.Drifted); n != 1 {
		t.Error(res.Summary())
	}
	if got := m.get(t, "proc/sys/net/core/somaxconn"); got != "16384" {
		t.Error("somaxconn is", got)
	}
}

// What somebody changed after edged, and edged again after them, goes back to theirs.
func TestTheirsIsPutBack(t *testing.T) {
	m := open(t, "virtio4")
	m.apply(t, tuning.Options{})
	m.set(t, "proc/sys/net/core/somaxconn", "16384")
	m.apply(t, tuning.Options{})
	m.revert(t)
	if got := m.get(t, "proc/sys/net/core/somaxconn"); got != "16384" {
		t.Error("somaxconn is", got)
	}
}

// A plan that lay about for a while must not lower what somebody has raised since.
func TestStalePlanIsNotApplied(t *testing.T) {
	m := open(t, "virtio4")
	_, plan := m.plan(t)
	m.set(t, "proc/sys/net/core/somaxconn", "262144")
	res, err := m.Apply(context.Background(), plan, tuning.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.get(t, "proc/sys/net/core/somaxconn"); got != "262144" {
		t.Error("somaxconn is", got)
	}
	if res.Count(tuning.Skipped) == 0 {
		t.Error(res.Summary())
	}
}

func TestProgressIsTold(t *testing.T) {
	m := open(t, "virtio4")
	var told []tuning.Outcome
	res := m.apply(t, tuning.Options{Progress: func(o tuning.Outcome) { told = append(told, o) }})
	if !slices.Equal(told, res.Outcomes) || len(told) == 0 {
		t.Errorf("told %d of %d", len(told), len(res.Outcomes))
	}
	var b strings.Builder
	if err := res.WriteTable(&b); err != nil || !strings.Contains(b.String(), "changed") || !strings.Contains(told[0].String(), "→") {
		t.Error(b.String(), err, told[0])
	}
}
