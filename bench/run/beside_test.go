package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTalking(t *testing.T) {
	r := row{name: "x", mode: crowd, links: 15000, depth: 1, data: true}
	got := r.talking(1000)
	if got.mode != flow || got.links != 1000 || !got.data || r.links != 15000 {
		t.Errorf("got %+v of %+v", got, r)
	}
	if set := silence(settings{line: []int{0, 1}, rounds: 3}); set.line != nil || set.rounds != 3 {
		t.Errorf("got %+v", set)
	}
}

// TestWatching: the process is added for one load and not for those after it.
func TestWatching(t *testing.T) {
	_, p := shell(t, "ready", "exec sleep 60")
	given := target{pids: append(make([]int, 0, 8), 1, 2), own: 1}
	got := given.watching(p)
	if want := []int{1, 2, p.cmd.Process.Pid}; !slices.Equal(got.pids, want) {
		t.Errorf("got %v, want %v", got.pids, want)
	}
	if len(given.pids) != 2 || given.pids[:3][2] != 0 {
		t.Errorf("the target was changed: %v", given.pids[:3])
	}
}

// TestPacedWithoutRate: nobody is measured at the rate of a row before.
func TestPacedWithoutRate(t *testing.T) {
	b := &bench{ctx: context.Background()}
	if _, err := b.paced(row{mode: paced, links: 1}, floorFree, target{}); !strings.Contains(errText(err), "no rate is known") {
		t.Errorf("got %v", err)
	}
}

// TestFinds: where all get one rate the first gateway finds it, else everybody that is not there to be compared with itself.
func TestFinds(t *testing.T) {
	edged := subject{program: gateway}
	before := edged
	before.base = true
	for _, tt := range []struct {
		name string
		own  bool
		half float64
		who  subject
		want bool
	}{
		{"first", false, 0, edged, true},
		{"floor behind it", false, 100, floorFree, false},
		{"commit before", false, 100, before, false},
		{"floor without a rate", false, 0, floorFree, false},
		{"first, own", true, 0, edged, true},
		{"floor, own", true, 100, floorFree, true},
		{"commit before, own", true, 100, before, false},
	} {
		if got := (&bench{half: tt.half}).finds(row{mode: paced, own: tt.own}, tt.who); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestPerFrame(t *testing.T) {
	rep, err := parseReport([]byte(goodReport))
	if err != nil {
		t.Fatal(err)
	}
	if got := rep.perFrame(0, 1); got != 3.4742 {
		t.Errorf("of one: %v", got)
	}
	if got := rep.perFrame(0, 2); got < 4.865 || got > 4.866 {
		t.Errorf("of both: %v", got)
	}
	if rep.P99 != 1867.8 || rep.P50 != 524.3 || rep.Rate != 163908 || rep.ClientCPU != 0.29 {
		t.Errorf("got %+v", rep)
	}
}

func TestParseSwarm(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"good", `{"links":2,"connections":{"up":2},"messages":{"answered":5},"corrupt":{"total":0}}`, ""},
		{"no report", `Error: no route`, "edged swarm said"},
		{"corrupt", `{"connections":{"up":2},"messages":{"answered":5},"corrupt":{"total":1}}`, "1 answers"},
		{"links lost", `{"connections":{"up":1},"messages":{"answered":5}}`, "1 of 2 links"},
		{"late", `{"connections":{"up":2},"messages":{"answered":5,"unanswered":3}}`, "3 messages"},
		{"silent", `{"connections":{"up":2}}`, "nothing was answered"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseSwarm([]byte(tt.text), 2)
			if got := errText(err); (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q in it", got, tt.want)
			}
		})
	}
}

func TestCPUOf(t *testing.T) {
	before, err := cpuOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Millisecond); time.Now().Before(end); {
		continue
	}
	if after, err := cpuOf(os.Getpid()); err != nil || after <= before || after > time.Hour {
		t.Errorf("%v before, %v after, %v", before, after, err)
	}
}

// TestHeap: the figures of a gateway that serves them over a socket.
func TestHeap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	text := "# HELP go_memstats_heap_inuse_bytes x\ngo_memstats_heap_inuse_bytes 2e+06\ngo_memstats_heap_idle_bytes 900\ngo_memstats_heap_released_bytes 300\n"
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }), ReadHeaderTimeout: time.Second}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	defer func() { _ = s.Close(); <-done }()
	b := &bench{ctx: context.Background()}
	got, err := b.heap(target{admin: path})
	if want := []value{{heapUsed, 2e6}, {heapIdle, 600}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if got, err := b.heap(target{}); got != nil || err != nil {
		t.Errorf("of what is no gateway: %v, %v", got, err)
	}
	if _, err := heapValues([]byte("up 1\n")); err == nil {
		t.Error("figures of nothing")
	}
}
