package nic_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"edged/nic"
	"edged/nic/nictest"
)

// asSetError returns what every writer's error must be.
func asSetError(t *testing.T, err error) *nic.SetError {
	t.Helper()
	var set *nic.SetError
	if !errors.As(err, &set) {
		t.Fatalf("%v is no SetError", err)
	}
	return set
}

func content(t *testing.T, m nictest.Machine, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(m.Root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSetFiles(t *testing.T) {
	m := nictest.Open(t, "virtio4")
	leaf := m.Leaves(t)[0]
	for _, c := range []struct {
		file string
		set  func() error
		want string
	}{
		{"proc/irq/26/smp_affinity_list", func() error { return m.Host.SetAffinity(26, []int{7, 1, 2}) }, "1-2,7\n"},
		{"sys/class/net/ens3/queues/rx-1/rps_cpus", func() error { return m.Host.SetRPS(leaf, 1, []int{0, 5}) }, "21\n"},
		{"sys/class/net/ens3/queues/rx-1/rps_cpus", func() error { return m.Host.SetRPS(leaf, 1, nil) }, "0\n"},
		{"sys/class/net/ens3/queues/rx-2/rps_flow_cnt", func() error { return m.Host.SetFlows(leaf, 2, 4096) }, "4096\n"},
		{"sys/class/net/ens3/queues/tx-3/xps_cpus", func() error { return m.Host.SetXPS(leaf, 3, []int{32, 3}) }, "1,00000008\n"},
	} {
		if err := c.set(); err != nil {
			t.Errorf("%s: %v", c.file, err)
		}
		if got := content(t, m, c.file); got != c.want {
			t.Errorf("%s has %q, want %q", c.file, got, c.want)
		}
	}
	d, err := m.Host.Map(t.Context(), leaf)
	if err != nil || !slices.Equal(d.TX[3].Mask, []int{3, 32}) || d.RX[2].Flows != 4096 || len(d.RX[1].Mask) != 0 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestSetFilesFail(t *testing.T) {
	m := nictest.Open(t, "virtio4")
	leaf := m.Leaves(t)[0]
	text := "in sys/class/net/ens3/queues\nrx-0/rps_cpus/\nrx-1/rps_cpus -> /dev/null\nrx-2/rps_cpus -> /dev/full\nrx-3/rps_flow_cnt -> /dev/null"
	if err := os.RemoveAll(filepath.Join(m.Root, "sys/class/net/ens3/queues/rx-0/rps_cpus")); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"rx-1/rps_cpus", "rx-2/rps_cpus", "rx-3/rps_flow_cnt"} {
		if err := os.Remove(filepath.Join(m.Root, "sys/class/net/ens3/queues", file)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nictest.Expand(m.Root, text); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		err   error
		errno syscall.Errno
		what  string
	}{
		{"no such interrupt", m.Host.SetAffinity(99, []int{1}), syscall.ENOENT, "affinity of interrupt 99"},
		{"no such queue", m.Host.SetXPS(leaf, 4, []int{1}), syscall.ENOENT, "XPS of ens3 queues/tx-4/xps_cpus"},
		{"a directory", m.Host.SetRPS(leaf, 0, []int{1}), syscall.EISDIR, "RPS of ens3 queues/rx-0/rps_cpus"},
		{"the write fails", m.Host.SetRPS(leaf, 2, []int{1}), syscall.ENOSPC, "RPS of ens3"},
		{"reads back nothing", m.Host.SetRPS(leaf, 1, []int{1}), 0, "RPS of ens3"},
		{"another interface", m.Host.SetFlows(nic.Leaf{Index: 5, Name: "ens3"}, 0, 1), syscall.ENODEV, "RFS of ens3"},
		{"a path", m.Host.SetRPS(nic.Leaf{Index: 2, Name: "../net/ens3"}, 1, nil), syscall.ENODEV, "RPS of"},
	} {
		set := asSetError(t, c.err)
		if set.Errno != c.errno || !strings.Contains(set.What, c.what) || c.errno != 0 && !errors.Is(c.err, c.errno) {
			t.Errorf("%s: %+v", c.name, set)
		}
	}
	if err := m.Host.SetFlows(leaf, 3, 8); err != nil { // a number that reads back rounded is the kernel's right
		t.Error(err)
	}
}

func TestSetErrorText(t *testing.T) {
	for _, c := range []struct {
		err  nic.SetError
		want string
	}{
		{nic.SetError{What: "channels of eth0", Want: "combined 4", Errno: syscall.EPERM}, "channels of eth0: write combined 4: operation not permitted"},
		{nic.SetError{What: "channels of eth0", Want: "combined 4", Errno: syscall.EINVAL, Detail: "too many"},
			"channels of eth0: write combined 4: invalid argument (too many)"},
		{nic.SetError{What: "RPS of eth0", Want: "3", Got: "1"}, "RPS of eth0: wrote 3, reads back 1"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	if (&nic.SetError{}).Unwrap() != nil {
		t.Error("no errno is an error")
	}
}

func TestTexts(t *testing.T) {
	for got, want := range map[string]string{
		nic.Counts{RX: 1, TX: 2, Other: 3, Combined: 4}.String(): "combined 4 rx 1 tx 2 other 3",
		nic.Counts{}.String(): "",
		nic.Coalesce{Has: nic.RXUsecs | nic.AdaptiveRX, RXUsecs: 40, AdaptiveRX: true, TXUsecs: 9}.String(): "adaptive-rx on rx-usecs 40",
		nic.Feature{Name: nic.LRO}.String(): "rx-lro off",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestSetDriver has each writer reach the driver with what it was given.
func TestSetDriver(t *testing.T) {
	m := nictest.Open(t, "mlx5")
	leaf, ctx := m.Leaves(t)[0], t.Context()
	for _, err := range []error{
		m.Host.SetChannels(ctx, leaf, nic.Counts{Combined: 16}),
		m.Host.SetRings(ctx, leaf, 4096, 0),
		m.Host.SetCoalesce(ctx, leaf, nic.Coalesce{Has: nic.RXUsecs | nic.AdaptiveRX, RXUsecs: 30}),
		m.Host.SetFeature(ctx, leaf, nic.LRO, true),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	d, err := m.Host.Map(ctx, leaf)
	if err != nil || d.Channels.Now.Combined != 16 || d.Rings.RX != 4096 || d.Rings.TX != 1024 || d.Coalesce.RXUsecs != 30 ||
		d.Coalesce.AdaptiveRX || !d.Coalesce.AdaptiveTX || !slices.Contains(d.Features, nic.Feature{Name: nic.LRO, On: true}) {
		t.Errorf("%+v, %v", d, err)
	}
	if sets := m.Driver.Sets(); len(sets) != 4 || sets[0] != "channels of enp59s0f0np0 = combined 16" {
		t.Errorf("set %q", sets)
	}
	m.Driver.Fail = map[string]syscall.Errno{nic.AskChannels: syscall.EPERM}
	if err := m.Host.SetChannels(ctx, leaf, nic.Counts{Combined: 8}); asSetError(t, err).Errno != syscall.EPERM {
		t.Error(err)
	}
	if err := m.Host.SetRings(ctx, nic.Leaf{Index: 9, Name: "none"}, 1, 1); !errors.Is(err, syscall.ENODEV) {
		t.Error(err)
	}
}
