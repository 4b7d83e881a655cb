package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edged/config"
)

// TestKeeperRows: those who are kept stand beside the same who are not, and are divided by them.
func TestKeeperRows(t *testing.T) {
	rows := keeperRows(defaults(t))
	for n, want := range []string{"keeper/relay/1000:1", "keeper/relay/1000:8", "keeper/accept"} {
		r := rows[n]
		if r.name != want || r.reference() != "edged" || len(r.subjects) != 2 || r.subjects[0].kept || !r.subjects[1].kept {
			t.Errorf("got %+v, want %s", r, want)
		}
	}
	if r := rows[3]; r.mode != hold || !r.subjects[0].kept || !r.subjects[1].kept || r.subjects[1].session != heldSession {
		t.Errorf("got %+v", r)
	}
	args := strings.Join(loadArgs(defaults(t), rows[2], rows[2].subjects[1], []int{1, 2}), " ")
	if want := "-c 20000 -P 1,2 -m storm -i 64 -H 0000 -R 2 -G 02"; args != want {
		t.Errorf("the load of %s: %s, want %s", rows[2].name, args, want)
	}
}

// TestKeptConfig: the gateway and its keeper read of the same socket.
func TestKeptConfig(t *testing.T) {
	for _, socket := range []string{"", "/tmp/k.sock"} {
		c, err := config.Parse("bench", []byte(gatewayConfig(subject{loops: 2}, 700, target{keeper: socket}, 0)))
		if err != nil {
			t.Fatal(err)
		}
		if c.Keeper.Enabled != (socket != "") || socket != "" && c.Keeper.Socket != socket {
			t.Errorf("%q becomes %+v", socket, c.Keeper)
		}
	}
}

// TestCompareKept: what it costs to be kept is a difference within a round, and is not told where one side failed.
func TestCompareKept(t *testing.T) {
	b := &bench{}
	var without, alone, kept sample
	b.compareKept(&without, subject{kept: true}, 40)
	b.compareKept(&alone, subject{}, 30)
	b.compareKept(&kept, subject{kept: true}, 33.5)
	if len(without.values)+len(alone.values) != 0 || len(kept.values) != 1 || kept.values[0] != (value{keeperCost, 3.5}) {
		t.Errorf("%v, %v, %v", without.values, alone.values, kept.values)
	}
}

// TestShared counts the pages of anonymous files alone.
func TestShared(t *testing.T) {
	p := proc{t.TempDir()}
	fds := filepath.Join(p.root, "42", "fd")
	if err := os.MkdirAll(fds, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"0": "/dev/null", "3": "socket:[1]", "4": "/memfd:gone (deleted)"} {
		if err := os.Symlink(to, filepath.Join(fds, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.shared(42); err == nil {
		t.Error("a file that cannot be looked at counts as nothing")
	}
	if err := os.Remove(filepath.Join(fds, "4")); err != nil {
		t.Fatal(err)
	}
	if n, err := p.shared(42); err != nil || n != 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := p.shared(43); err == nil {
		t.Error("a process that is not there has memory")
	}
	if n, err := (proc{"/proc"}).shared(os.Getpid()); err != nil || n < 0 {
		t.Errorf("of this process: %d bytes, %v", n, err)
	}
	k, err := (&bench{}).keeping(target{})
	if err != nil || k != (keeping{}) {
		t.Errorf("without a keeper: %+v, %v", k, err)
	}
}
