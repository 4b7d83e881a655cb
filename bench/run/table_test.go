package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sampleOutput() output {
	all := newResults(2)
	rows := []row{{name: "echo/1:1"}, {name: "idle"}}
	put := func(row, who string, f figure, base bool, values ...float64) {
		for i, v := range values {
			all.put(seriesKey{row, who, f, base}, i, v, 0.02)
		}
	}
	put("echo/1:1", floorFree.who, messageCPU, false, 5, 10)
	put("echo/1:1", "netpoll", messageCPU, false, 6, 11)
	put("echo/1:1", "netpoll", messageCPU, true, 8, 22)
	put("idle", "edged", userBytes, false, 266.4)
	b := &bench{commit: "abc1234", baseCommit: "0123456", set: settings{rounds: 2}}
	return b.output(machine{CPU: "2 × CPU", Kernel: "6.1", Go: "go1", Congestion: "reno", Isolated: true}, rows, all)
}

func TestText(t *testing.T) {
	want := `
2 × CPU, Linux 6.1, go1, own network namespace with reno, commit abc1234, rounds: 2

row       program  figure                   median    min–max  ÷ floor    min–max  0123456    min–max  ÷ 0123456    min–max
echo/1:1  C floor  CPU, µs/message            7.50  5.00–10.0
          netpoll  CPU, µs/message            8.50  6.00–11.0     1.15  1.10–1.20     15.0  8.00–22.0       0.62  0.50–0.75
idle      edged    user memory, bytes/link     266    266–266
`
	if got := sampleOutput().text(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestNotes(t *testing.T) {
	o := sampleOutput()
	if n := o.notes(); n != "" {
		t.Errorf("a quiet run says %q", n)
	}
	o.Lines[1].OtherCPU = spreadOf([]float64{0.5, 1.5, 0.2})
	if got := o.text(); !strings.Contains(got, "netpoll *  CPU") || strings.Contains(got, "C floor *") {
		t.Errorf("the mark is not where it belongs:\n%s", got)
	}
	o.Failures = []string{"idle, edged, round 1: it died; it said:\nlong story"}
	o.Awake = 1
	n := o.notes()
	for _, want := range []string{"* 1 of 3 lines", "Idle CPUs polled", "FAILED: idle, edged, round 1"} {
		if !strings.Contains(n, want) {
			t.Errorf("%q is not in %q", want, n)
		}
	}
}

func TestWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out.json")
	if err := sampleOutput().write(file); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var back output
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Lines) != 3 || back.Lines[1].PerFloor.Median != 1.15 || back.Lines[1].Figure.Unit != messageCPU.Unit || back.Machine.Kernel != "6.1" {
		t.Errorf("got %+v", back)
	}
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", 1.234: "1.23", 9.994: "9.99", 9.996: "10.0", 12.34: "12.3", 99.96: "100", 4016.2: "4016", -12.34: "-12.3"} {
		if got := short(v); got != want {
			t.Errorf("short(%v) = %s, want %s", v, got, want)
		}
	}
}
