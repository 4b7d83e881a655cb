package tuning_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"edged/tuning"
)

// inSpace runs f on a thread of its own in a network namespace and with a /sys of its own, which end with it. f may not end the
// test.
func inSpace(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces are made by root alone")
	}
	made := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // for ever: the thread ends with this goroutine, and the namespaces with it
		err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("sysfs", "/sys", "sysfs", 0, "")
		}
		made <- err
		if err == nil {
			f()
		}
	}()
	err := <-made
	<-ended
	if errors.Is(err, unix.EPERM) {
		t.Skip("this root may not make namespaces:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// netKeys reads all sysctls of the calling thread's network namespace that this package knows.
func netKeys(m *tuning.Machine) map[string]string {
	all := map[string]string{}
	for path := range m.Settings {
		if strings.HasPrefix(path, "proc/sys/net/") {
			content, _ := os.ReadFile("/" + path) // some are not there
			all[path] = string(content)
		}
	}
	return all
}

// netPlan makes the plan of the box as the calling thread sees it, and leaves in it what belongs to its network namespace: the rest
// would change the machine that the test runs on.
func netPlan(t *testing.T, b *tuning.Box) (*tuning.Machine, tuning.Plan) {
	t.Helper()
	found, err := b.Inspect(context.Background(), []string{"auto"})
	if err != nil {
		t.Error(err)
		return nil, tuning.Plan{}
	}
	plan := tuning.Compute(found, tuning.Goal{
		Config: tuning.Config{Links: 1_000_000, Interfaces: []string{"auto"}}, Ports: []uint16{7000, 40000}, Buffer: 64 << 20, Reactors: 4,
	})
	plan.Entries = slices.DeleteFunc(plan.Entries, func(e tuning.Entry) bool { return !strings.HasPrefix(e.Key, "net.") })
	return found, plan
}

// The kernel's own keys, in a namespace: written, read back, verified and put back to the byte. Those of the whole machine are not
// there, or are shown and cannot be written.
func TestKeysOfNamespace(t *testing.T) {
	state := filepath.Join(t.TempDir(), "tuning.json")
	inSpace(t, func() {
		b := &tuning.Box{State: state}
		found, plan := netPlan(t, b)
		if found == nil {
			return
		}
		for key, want := range map[string]tuning.Status{
			"net.ipv4.tcp_mem": tuning.Absent, "net.core.netdev_max_backlog": tuning.Absent,
			"net.core.rmem_max": tuning.NoPermission, "net.core.somaxconn": tuning.Change,
		} {
			if e, _ := plan.Entry(key); e.Status != want {
				t.Errorf("%s: %s (%s), want %s", key, e.Status, e.Note, want)
			}
		}
		before := netKeys(found)
		res, err := b.Apply(context.Background(), plan, tuning.Options{Force: true})
		if err != nil || res.Count(tuning.Changed) < 5 || res.Count(tuning.Refused)+res.Count(tuning.Clamped) > 0 {
			t.Error(res, err)
		}
		if got := read(t, "/proc/sys/net/core/somaxconn"); got != "65535" {
			t.Error("somaxconn is", got)
		}
		if got := read(t, "/proc/sys/net/ipv4/ip_local_reserved_ports"); got != "40000" {
			t.Error("ip_local_reserved_ports is", got)
		}
		if drift, err := b.Verify(context.Background(), found, tuning.Plan{}); len(drift) > 0 || err != nil {
			t.Error(drift, err)
		}
		write(t, "/proc/sys/net/ipv4/tcp_fin_timeout", "44")
		if drift, err := b.Verify(context.Background(), found, tuning.Plan{}); len(drift) != 1 || drift[0].Current != "44" || err != nil {
			t.Error(drift, err)
		}
		write(t, "/proc/sys/net/ipv4/tcp_fin_timeout", "15")
		if back, err := b.Revert(context.Background(), tuning.Options{}); err != nil || back.Count(tuning.Restored) != len(back.Outcomes) {
			t.Error(back, err)
		}
		if after := netKeys(found); !maps.Equal(before, after) {
			t.Errorf("%v\nwere\n%v", after, before)
		}
	})
}

// A state file of one namespace is not for another.
func TestStateOfAnotherNamespace(t *testing.T) {
	state := filepath.Join(t.TempDir(), "tuning.json")
	inSpace(t, func() {
		b := &tuning.Box{State: state}
		_, plan := netPlan(t, b)
		if _, err := b.Apply(context.Background(), plan, tuning.Options{Force: true}); err != nil {
			t.Error(err)
		}
	})
	b := &tuning.Box{State: state}
	if _, err := b.Revert(t.Context(), tuning.Options{}); !errors.Is(err, tuning.ErrElsewhere) {
		t.Error(err)
	}
}

// What a container has: /proc/sys that cannot be written.
func TestReadOnlySysctls(t *testing.T) {
	state := filepath.Join(t.TempDir(), "tuning.json")
	inSpace(t, func() {
		err := unix.Mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, "")
		if err == nil {
			err = unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
		}
		if err != nil {
			t.Error(err)
			return
		}
		b := &tuning.Box{State: state}
		_, plan := netPlan(t, b)
		if e, _ := plan.Entry("net.core.somaxconn"); e.Status != tuning.NoPermission || !strings.Contains(e.Note, "ProtectKernelTunables") {
			t.Error(e)
		}
		res, err := b.Apply(context.Background(), plan, tuning.Options{})
		if err != nil || res.Count(tuning.Skipped) != len(res.Outcomes) || len(res.Outcomes) == 0 {
			t.Error(res, err)
		}
	})
}

// A device's queues, its packet steering and its offloads, on a veth: the values of all come back.
func TestQueuesOfDevice(t *testing.T) {
	state := filepath.Join(t.TempDir(), "tuning.json")
	inSpace(t, func() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.NumTxQueues, attrs.NumRxQueues = "v0", 4, 4
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "v1", PeerNumTxQueues: 4, PeerNumRxQueues: 4}); err != nil {
			t.Error(err)
			return
		}
		b := &tuning.Box{State: state}
		plan := tuning.Plan{Entries: []tuning.Entry{
			{Kind: tuning.KindQueue, Key: "v0/queues/rx-0/rps_cpus", Device: "v0", Current: "0", Wanted: "1", Status: tuning.Change},
			{Kind: tuning.KindQueue, Key: "v0/queues/tx-3/xps_cpus", Device: "v0", Current: "0", Wanted: "2", Status: tuning.Change},
			{Kind: tuning.KindQueue, Key: "v0/queues/rx-1/rps_flow_cnt", Device: "v0", Current: "0", Wanted: "64", Status: tuning.Change},
			{Kind: tuning.KindOffload, Key: "v0/offload/tx-tcp-segmentation", Device: "v0", Current: "on", Wanted: "off", Status: tuning.Change},
			{Kind: tuning.KindChannels, Key: "v0/channels", Device: "v0", Current: "rx 4 tx 4", Wanted: "rx 2 tx 3", Status: tuning.Change},
			{Kind: tuning.KindRings, Key: "v0/rings", Device: "v0", Current: "rx 4 tx 4", Wanted: "rx 8 tx 8", Status: tuning.Change},
		}}
		mask := func(file string) string { return strings.TrimLeft(read(t, "/sys/class/net/v0/queues/"+file), "0,") }
		res, err := b.Apply(context.Background(), plan, tuning.Options{})
		if err != nil || res.Count(tuning.Changed) != 5 {
			t.Error(res, err)
		}
		if rps := mask("rx-0/rps_cpus"); rps != "1" {
			t.Errorf("rps_cpus is %q", rps)
		}
		drift, err := b.Verify(context.Background(), &tuning.Machine{}, tuning.Plan{})
		if err != nil || len(drift) != 1 || drift[0].Key != "v0/queues/tx-3/xps_cpus" { // of a queue that is no more
			t.Error(drift, err)
		}
		back, err := b.Revert(context.Background(), tuning.Options{})
		if err != nil || back.Count(tuning.Refused) > 0 {
			t.Error(back, err)
		}
		if rps, xps, flows := mask("rx-0/rps_cpus"), mask("tx-3/xps_cpus"), mask("rx-1/rps_flow_cnt"); rps+xps+flows != "" {
			t.Errorf("put back: %q %q %q", rps, xps, flows)
		}
		found, err := b.Inspect(context.Background(), []string{"v0"})
		if err != nil || len(found.NICs) != 1 || found.NICs[0].Channels.Now.RX != 4 || found.NICs[0].Channels.Now.TX != 4 {
			t.Error(found.NICs, err)
		}
	})
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return strings.TrimSpace(string(content))
}

func write(t *testing.T, path, value string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		t.Error(err)
	}
}
