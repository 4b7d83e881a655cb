package health_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"edged/health"
)

// files is a tree that stands for /proc and /sys.
type files struct {
	t    *testing.T
	root string
}

func newFiles(t *testing.T) files { return files{t, t.TempDir()} }

func (f files) write(path, text string) {
	f.t.Helper()
	full := filepath.Join(f.root, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// full writes every file there is.
func (f files) full() {
	f.write("proc/sys/fs/file-nr", "694\t0\t1000\n")
	f.write("proc/thread-self/net/sockstat", "sockets: used 17\nTCP: inuse 1 orphan 0 tw 1 alloc 1 mem 49\n")
	f.write("proc/sys/net/ipv4/tcp_mem", "100\t200\t300\n")
	f.write("proc/thread-self/net/netstat", "TcpExt: ListenDrops TCPAbortOnMemory\nTcpExt: 5 6\n")
	f.write("proc/meminfo", "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n")
	f.write("proc/self/cgroup", "0::/edged.service\n")
	f.write("sys/fs/cgroup/edged.service/memory.max", "4000\n")
	f.write("sys/fs/cgroup/edged.service/memory.current", "1000\n")
	f.write("sys/fs/cgroup/edged.service/memory.stat", "anon 1\ninactive_file 300\n")
	f.write("sys/fs/cgroup/edged.service/memory.pressure", "full avg10=7.00 avg60=0.00\n")
	f.write("proc/thread-self/net/softnet_stat", "00000001 00000004 00000000\n")
	f.write("proc/sys/net/netfilter/nf_conntrack_count", "77\n")
	f.write("proc/sys/net/netfilter/nf_conntrack_max", "262144\n")
	f.write("proc/stat", "cpu 1\ncpu0 10 0 0 0 0 0 0 0 0 0\n")
	f.write("proc/pressure/memory", "full avg10=1.00 avg60=0.00\n")
	f.write("proc/self/task/8/schedstat", "1000000000 5 6\n")
	f.write("proc/self/task/9/schedstat", "0 0 0\n") // a kernel that does not count
	f.write("proc/self/task/9/stat", "9 (edged) R 1 1 1 0 -1 4194304 102 0 0 0 70 30 5 5\n")
}

var everything = health.Terms{true, true, true, true, true, true, true, true, true, true, true}

func TestSignals(t *testing.T) {
	f := newFiles(t)
	f.full()
	var notes []string
	r := health.NewReader(everything, f.root, func(msg string, attrs ...any) { notes = append(notes, fmt.Sprint(msg, attrs)) })
	defer r.Close()
	start := time.Unix(1_000_000_000, 0)
	reactors := []int{8, 9}
	g := func(used, limit float64) health.Gauge { return health.Gauge{Used: used, Limit: limit} }
	e := func(n uint64) health.Events { return health.Events{Total: n, Known: true} }
	want := health.Signals{
		SystemFiles: g(694, 1000), TCPMem: g(49, 200), Memory: g(600, 1000), CgroupMemory: g(700, 4000), Conntrack: g(77, 262144),
		MemoryStall: g(700, 10_000), TCPPressure: e(6), Accept: e(5), Softnet: e(0),
	}
	if got := r.Read(start, reactors); got != want {
		t.Errorf("first %+v\nwant  %+v", got, want)
	}
	f.write("proc/thread-self/net/softnet_stat", "00000001 00000006 00000000\n")
	f.write("proc/stat", "cpu 1\ncpu0 10 0 0 60 0 0 40 0 0 0\n")
	f.write("proc/self/task/8/schedstat", "2000000000 5 6\n")
	f.write("proc/self/task/9/stat", "9 (edged) R 1 1 1 0 -1 4194304 102 0 0 0 170 130 5 5\n")
	want.Softnet, want.Softirq, want.ReactorCPU = e(2), g(0.4, 1), g(0.5, 1)
	if got := r.Read(start.Add(4*time.Second), reactors); got != want {
		t.Errorf("then %+v\nwant %+v", got, want)
	}
	if len(notes) > 0 {
		t.Errorf("said %q", notes)
	}
}

func TestSignalsSwitchedOff(t *testing.T) {
	f := newFiles(t)
	f.full()
	r := health.NewReader(health.Terms{Links: true, Manager: true, NICDrops: true}, f.root, nil)
	defer r.Close()
	if got := r.Read(time.Now(), []int{8}); got != (health.Signals{}) {
		t.Errorf("%+v", got)
	}
	for name, c := range map[string]struct {
		on   health.Terms
		want health.Signals
	}{
		"fds":       {health.Terms{Fds: true}, health.Signals{SystemFiles: health.Gauge{Used: 694, Limit: 1000}}},
		"conntrack": {health.Terms{Conntrack: true}, health.Signals{Conntrack: health.Gauge{Used: 77, Limit: 262144}}},
		"psi":       {health.Terms{PSI: true}, health.Signals{MemoryStall: health.Gauge{Used: 700, Limit: 10_000}}},
	} {
		one := health.NewReader(c.on, f.root, nil)
		if got := one.Read(time.Now(), []int{8}); got != c.want {
			t.Errorf("%s alone: %+v", name, got)
		}
		one.Close()
	}
}

// TestSignalsMissing: what is not there is skipped and told once, looked for again after a while, and told when it is back.
func TestSignalsMissing(t *testing.T) {
	f := newFiles(t)
	var notes []string
	r := health.NewReader(everything, f.root, func(msg string, attrs ...any) { notes = append(notes, fmt.Sprint(attrs[1])) })
	defer r.Close()
	for range 20 {
		if got := r.Read(time.Now(), []int{8, 9}); got != (health.Signals{}) {
			t.Fatalf("of nothing: %+v", got)
		}
	}
	const paths = 10 // cgroups and threads are not missed
	if len(notes) != paths {
		t.Errorf("said %d times: %q", len(notes), notes)
	}
	f.full()
	for range 20 {
		r.Read(time.Now(), []int{8, 9})
	}
	if len(notes) != 2*paths {
		t.Errorf("said %d times: %q", len(notes)-paths, notes[paths:])
	}
	if got := r.Read(time.Now(), nil); got.Conntrack.Used != 77 || got.Accept.Total != 5 {
		t.Errorf("when all is there: %+v", got)
	}
}

// TestCgroups: without a cgroup's own file the box's is read; cgroups of version 1 have other names.
func TestCgroups(t *testing.T) {
	for _, c := range []struct {
		name, self string
		files      map[string]string
		memory     health.Gauge
		stall      float64
	}{
		{"none", "0::/\n", nil, health.Gauge{}, 100},
		{"no limit", "0::/x\n", map[string]string{"sys/fs/cgroup/x/memory.max": "max\n", "sys/fs/cgroup/x/memory.current": "5\n"}, health.Gauge{}, 100},
		{"container that sees its path from outside", "0::/kubepods/x\n", map[string]string{
			"sys/fs/cgroup/memory.max": "10\n", "sys/fs/cgroup/memory.current": "5\n", "sys/fs/cgroup/memory.pressure": "full avg10=3.00\n",
		}, health.Gauge{Used: 5, Limit: 10}, 300},
		{"version 1", "4:memory:/x\n0::/\n", map[string]string{
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "10\n", "sys/fs/cgroup/memory/x/memory.usage_in_bytes": "5\n",
			"sys/fs/cgroup/memory/x/memory.stat": "inactive_file 1\ntotal_inactive_file 2\n",
		}, health.Gauge{Used: 3, Limit: 10}, 100},
		{"version 1 in a container", "4:memory:/docker/x\n", map[string]string{
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "10\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": "5\n",
		}, health.Gauge{Used: 5, Limit: 10}, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFiles(t)
			f.write("proc/self/cgroup", c.self)
			f.write("proc/pressure/memory", "full avg10=1.00\n")
			for path, text := range c.files {
				f.write(path, text)
			}
			r := health.NewReader(health.Terms{Memory: true, PSI: true}, f.root, func(string, ...any) {})
			defer r.Close()
			if s := r.Read(time.Now(), nil); s.CgroupMemory != c.memory || s.MemoryStall.Used != c.stall {
				t.Errorf("memory %+v, stall %+v", s.CgroupMemory, s.MemoryStall)
			}
		})
	}
}

// TestReactorThreads: threads that come, go and come again.
func TestReactorThreads(t *testing.T) {
	f := newFiles(t)
	r := health.NewReader(health.Terms{ReactorCPU: true}, f.root, func(string, ...any) {})
	defer r.Close()
	now := time.Unix(1_000_000_000, 0)
	f.write("proc/stat", "")
	read := func(ids ...int) health.Gauge {
		now = now.Add(time.Second)
		return r.Read(now, ids).ReactorCPU
	}
	used := func(id int, ms int) {
		f.write(fmt.Sprintf("proc/self/task/%d/schedstat", id), fmt.Sprintf("%d000000 0 1\n", ms))
	}
	want := func(what string, got health.Gauge, share float64) {
		t.Helper()
		if got.Used != share || (got.Limit == 0) != (share == 0) {
			t.Errorf("%s: %+v, want %v", what, got, share)
		}
	}
	used(1, 500)
	used(2, 700)
	want("first", read(1, 2), 0)
	used(1, 600)
	used(2, 950)
	want("the busiest", read(1, 2), 0.25)
	used(1, 700)
	used(2, 100)
	want("one began again", read(1, 2), 0.1)
	want("others", read(2), 0)
	used(2, 400)
	want("one of them", read(2), 0.3)
	want("none", read(), 0)
	used(2, 5000)
	want("one again", read(2), 0)
	used(2, 9000)
	want("never more than a CPU", read(2), 1)
}

// TestThisBox reads the real files: what is there must make sense.
func TestThisBox(t *testing.T) {
	r := health.NewReader(everything, "/", func(msg string, attrs ...any) { t.Log(msg, attrs) })
	defer r.Close()
	id, stop := busyThread(t)
	defer stop()
	var s health.Signals
	for end := time.Now().Add(10 * time.Second); s.ReactorCPU.Used == 0; time.Sleep(20 * time.Millisecond) {
		if s = r.Read(time.Now(), []int{id}); time.Now().After(end) {
			t.Fatalf("a busy thread is not seen: %+v", s)
		}
	}
	for name, g := range map[string]health.Gauge{
		"files": s.SystemFiles, "tcp memory": s.TCPMem, "memory": s.Memory, "cgroup": s.CgroupMemory, "conntrack": s.Conntrack,
		"reactor": s.ReactorCPU, "softirq": s.Softirq, "stall": s.MemoryStall,
	} {
		if g.Limit > 0 && !(g.Used >= 0 && g.Used <= g.Limit) {
			t.Errorf("%s: %+v", name, g)
		}
	}
	if s.Memory.Limit == 0 || !s.Accept.Known || !s.Softnet.Known {
		t.Errorf("every Linux has these: %+v", s)
	}
}

// busyThread is a thread that computes until stop.
func busyThread(t *testing.T) (id int, stop func()) {
	t.Helper()
	began, done := make(chan int), make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		began <- syscall.Gettid()
		for n := 0; ; n++ {
			if n%1000 != 0 {
				continue
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	return <-began, func() { close(done); ended.Wait() }
}

func TestSignalsDoNotAllocate(t *testing.T) {
	f := newFiles(t)
	f.full()
	f.write("proc/thread-self/net/softnet_stat", strings.Repeat("00000001 00000004 00000000\n", 64))
	r := health.NewReader(everything, f.root, func(string, ...any) {})
	defer r.Close()
	now, reactors := time.Now(), []int{8, 9}
	r.Read(now, reactors)
	if n := testing.AllocsPerRun(100, func() { r.Read(now, reactors) }); n != 0 {
		t.Errorf("a read of every signal allocates %v times", n)
	}
}

// TestLargeFile: a file that is larger than what is read of it is cut at the end of a line.
func TestLargeFile(t *testing.T) {
	f := newFiles(t)
	line := "00000001 00000001 " + strings.Repeat("0", 100) + "\n" // no number: such a line does not count
	f.write("proc/thread-self/net/softnet_stat", strings.Repeat(line, 2000)+"00000001 00000001\n")
	r := health.NewReader(health.Terms{Softnet: true}, f.root, func(string, ...any) {})
	defer r.Close()
	if s := r.Read(time.Now(), nil); s.Softnet.Known {
		t.Errorf("%+v: what is behind the end was read", s.Softnet)
	}
}

func BenchmarkSignals(b *testing.B) {
	r := health.NewReader(everything, "/", func(string, ...any) {})
	defer r.Close()
	b.ReportAllocs()
	for b.Loop() {
		r.Read(time.Now(), []int{os.Getpid()})
	}
}

// TestUnreadableFile: what opens but cannot be read is like what is not there.
func TestUnreadableFile(t *testing.T) {
	f := newFiles(t)
	f.write("proc/meminfo/x", "") // a directory
	said := 0
	r := health.NewReader(health.Terms{Memory: true}, f.root, func(string, ...any) { said++ })
	defer r.Close()
	for range 50 {
		if s := r.Read(time.Now(), nil); s.Memory.Limit != 0 {
			t.Fatalf("%+v", s)
		}
	}
	if said != 1 {
		t.Errorf("said %d times", said)
	}
}
