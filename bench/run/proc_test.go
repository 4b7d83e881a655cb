package main

import (
	"os"
	"path/filepath"
	"testing"
)

const (
	fakeSlabs = `slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
TCP                   13    130   2368   13    8 : tunables    0    0    0 : slabdata     10     10      0
filp                  42     63    192   21    1 : tunables    0    0    0 : slabdata      3      3      0
proc_inode_cache    9999  99999    700   11    8 : tunables    0    0    0 : slabdata   9999   9999      0
`
	fakeSockets = "sockets: used 129\nTCP: inuse 111 orphan 0 tw 202 alloc 111 mem 16\nUDP: inuse 0 mem 7\n"
	fakeRollup  = "55b51cabf000-7ffdf6792000 ---p 00000000 00:00 0                          [rollup]\nRss:                1688 kB\nPss:                 236 kB\n"
	fakeCPUs    = "processor\t: 0\nvendor_id\t: X\nmodel name\t: Some CPU 9000\n\nprocessor\t: 1\nmodel name\t: Another\n"
)

func fakeProc(t *testing.T, files map[string]string) proc {
	t.Helper()
	p := proc{t.TempDir()}
	for name, text := range files {
		file := filepath.Join(p.root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func TestProc(t *testing.T) {
	p := fakeProc(t, map[string]string{
		"slabinfo": fakeSlabs, "thread-self/net/sockstat": fakeSockets, "42/smaps_rollup": fakeRollup, "43/smaps_rollup": "", "cpuinfo": fakeCPUs,
	})
	page := os.Getpagesize()
	if got, err := p.kernel(); err != nil || got != (8+2+16)*page {
		t.Errorf("kernel: %d bytes, %v; want %d", got, err, (8+2+16)*page)
	}
	if got, err := p.rss(42); err != nil || got != 1688<<10 {
		t.Errorf("rss: %d bytes, %v", got, err)
	}
	if _, err := p.rss(43); err == nil {
		t.Error("a process without Rss has one")
	}
	if got := p.cpu(); got != "Some CPU 9000" {
		t.Errorf("cpu: %q", got)
	}
}

// TestMemoryWithoutRoot: what may not be read is left out, what must be read is an error.
func TestMemoryWithoutRoot(t *testing.T) {
	b := &bench{proc: fakeProc(t, map[string]string{"42/smaps_rollup": fakeRollup})}
	if m, err := b.memory(42); err != nil || m.user != 1688<<10 || m.kernel != 0 {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := b.memory(43); err == nil {
		t.Error("a process that is not there has memory")
	}
}

func TestHeldSample(t *testing.T) {
	rep, err := parseReport([]byte(goodReport))
	if err != nil {
		t.Fatal(err)
	}
	r, s := row{mode: hold, links: 1000}, subject{long: true}
	find := func(got sample, f figure) (float64, bool) {
		for _, v := range got.values {
			if v.figure == f {
				return v.value, true
			}
		}
		return 0, false
	}
	got := heldSample(r, s, memory{1000, 1 << 20}, memory{251000, 1<<20 + 8000000}, rep)
	if v, _ := find(got, userBytes); v != 250 {
		t.Errorf("user memory %v", v)
	}
	if v, _ := find(got, kernBytes); v != 4000 { // half of it is the client's end
		t.Errorf("kernel memory %v", v)
	}
	if v, _ := find(got, idleCPU); v != 56.945 {
		t.Errorf("CPU %v", v)
	}
	if _, ok := find(heldSample(r, s, memory{user: 1}, memory{user: 2}, rep), kernBytes); ok {
		t.Error("kernel memory that could not be read has a figure")
	}
	r.beat = heartbeatEvery
	if v, _ := find(heldSample(r, s, memory{}, memory{}, rep), beatCPU); v != 3.4742 {
		t.Errorf("CPU of a heartbeat %v", v)
	}
}
