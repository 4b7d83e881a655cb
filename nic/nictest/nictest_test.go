package nictest_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"edged/nic"
	"edged/nic/nictest"
)

func TestExpand(t *testing.T) {
	root := t.TempDir()
	err := nictest.Expand(root, `
# a box
in a/b
  one = 1
  two = x\ny
  empty =
in .
c/{0..2}/n{5..7} = v{10..12}
d/{1..2}/{0..0/2} = {3..3/2}
e -> ../else
dir/
a/b/one = 2
`)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"a/b/one": "2\n", "a/b/two": "x\ny\n", "a/b/empty": "\n",
		"c/0/n5": "v10\n", "c/2/n7": "v12\n", "d/1/0": "3\n", "d/2/0": "3\n",
	} {
		if b, err := os.ReadFile(filepath.Join(root, file)); err != nil || string(b) != want {
			t.Errorf("%s has %q, %v; want %q", file, b, err, want)
		}
	}
	if to, err := os.Readlink(filepath.Join(root, "e")); err != nil || to != "../else" {
		t.Errorf("e leads to %q, %v", to, err)
	}
	if st, err := os.Stat(filepath.Join(root, "dir")); err != nil || !st.IsDir() {
		t.Errorf("dir: %v", err)
	}
}

func TestExpandErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"nonsense", "line 1"},
		{"\na = 1\n../b = 2", "line 3"},
		{"in ..\nb = 2", "line 2"},
		{"{0..1}/{0..2} = 1", "not as long"},
		{"a = 1\na/b = 1", "line 2"},
	} {
		if err := nictest.Expand(t.TempDir(), c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.text, err)
		}
	}
}

// TestOpen has every box laid out whole, with all its interfaces known to its driver.
func TestOpen(t *testing.T) {
	for _, name := range nictest.Names() {
		m := nictest.Open(t, name)
		leaves := m.Leaves(t)
		if len(leaves) == 0 {
			t.Errorf("%s has no interface", name)
		}
		for _, leaf := range leaves {
			if _, err := m.Host.Driver.Ask(t.Context(), leaf); err != nil {
				t.Errorf("%s: %s: %v", name, leaf.Name, err)
			}
		}
	}
}

func TestDriver(t *testing.T) {
	d := &nictest.Driver{Known: map[string]nic.Answers{"eth0": {
		Features: []nic.Feature{{Name: nic.GRO}},
		Coalesce: nic.Coalesce{Has: 63},
		Refused:  map[string]syscall.Errno{nic.AskRings: syscall.EOPNOTSUPP},
	}}}
	leaf, ctx := nic.Leaf{Index: 2, Name: "eth0"}, t.Context()
	before, err := d.Ask(ctx, leaf)
	if err != nil {
		t.Fatal(err)
	}
	all := nic.Coalesce{Has: 63, RXUsecs: 1, RXFrames: 2, TXUsecs: 3, TXFrames: 4, AdaptiveRX: true, AdaptiveTX: true}
	for question, c := range map[string]struct {
		err, want error
	}{
		nic.AskFeatures: {d.SetFeature(ctx, leaf, nic.GRO, true), nil},
		nic.AskCoalesce: {d.SetCoalesce(ctx, leaf, all), nil},
		nic.AskRings:    {d.SetRings(ctx, leaf, 1, 1), syscall.EOPNOTSUPP},
	} {
		if set, ok := c.err.(*nic.SetError); c.want == nil && c.err != nil || c.want != nil && (!ok || set.Errno != c.want) {
			t.Errorf("%s: %v, want %v", question, c.err, c.want)
		}
	}
	after, err := d.Ask(ctx, leaf)
	if err != nil || after.Coalesce != all || !after.Features[0].On {
		t.Errorf("%+v, %v", after, err)
	}
	if before.Features[0].On || before.Coalesce == all {
		t.Error("an answer that was given has changed")
	}
	if want := []string{"features of eth0 = rx-gro true"}; !slices.Contains(d.Sets(), want[0]) || len(d.Sets()) != 2 {
		t.Errorf("sets %q", d.Sets())
	}
	if _, err := d.Stats(ctx, leaf); err != syscall.EOPNOTSUPP {
		t.Errorf("counters: %v", err)
	}
	if _, err := d.Ask(ctx, nic.Leaf{Name: "eth1"}); err != nic.ErrGone {
		t.Errorf("eth1: %v", err)
	}
}
