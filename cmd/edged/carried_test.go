package main

import (
	"errors"
	commandline "flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"edged/admin"
	"edged/handover"
	"edged/health"
	"edged/registry"
)

var updateState = commandline.Bool("state", false, "write testdata/state.v1 anew: only while no release has it")

// exampleCarried has every field set.
func exampleCarried() *carried {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return &carried{
		Started: at, Reloads: 3, Began: at.Add(time.Hour), Paused: at.Add(time.Hour + time.Second),
		Sockets: []string{"main", "main", "local"}, Admin: []string{"unix:/run/edged/admin.sock", "127.0.0.1:7070"}, Exit: true,
		Health:   &health.Snapshot{Availability: 0.25, Raw: 0.3, Reason: "bytes", State: health.Up, Terms: []health.Term{{Name: "bytes", Value: 0.25}}, At: at, NICs: []string{"eth0"}},
		Counters: map[string]float64{"edged_reports_total": 17, "edged_operator_pushes_total\x00to\x00user": 1 << 53},
	}
}

// exampleNames are names of all kinds, in the section's bytes.
func exampleNames() ([]byte, []registry.Name) {
	names := []registry.Name{{User: "42", Device: "phone"}, {User: "\xff\x00", Device: ""}, {User: "", Device: "x"}, {User: strings.Repeat("u", 300), Device: "d"}}
	var b []byte
	for _, n := range names {
		changes := registry.NewDirectory().Collect()
		changes.Add(n)
		b = appendNames(b, changes)
	}
	return b, names
}

// TestCarriedState: what version 1 wrote loads for ever.
func TestCarriedState(t *testing.T) {
	golden := filepath.Join("testdata", "state.v1")
	want := exampleCarried()
	bytesOfNames, names := exampleNames()
	if *updateState {
		own, err := want.encode()
		if err != nil {
			t.Fatal(err)
		}
		file := handover.Encode([]handover.Section{{Name: "edged", Version: 1, Bytes: own}, {Name: "routes", Version: 1, Bytes: bytesOfNames}})
		if err := os.WriteFile(golden, file, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	sections, err := handover.Parse(file)
	if err != nil || len(sections) != 2 {
		t.Fatal(len(sections), err)
	}
	got, err := parseCarried(sections[0].Bytes)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v, want\n%+v", err, got, want)
	}
	if got := parseNames(sections[1].Bytes); !reflect.DeepEqual(got, names) {
		t.Errorf("%q, want %q", got, names)
	}
}

func TestBadCarried(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "no object": "[]", "half": `{"started":"2026-03-01T12:00:00Z"`, "no start": `{"reloads":3}`,
		"another type": `{"started":"2026-03-01T12:00:00Z","reloads":-1}`,
	} {
		if c, err := parseCarried([]byte(text)); !errors.Is(err, errCarried) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

// TestBadNames reads what can be read of damaged names.
func TestBadNames(t *testing.T) {
	good, names := exampleNames()
	for cut := range good {
		if got := parseNames(good[:cut]); len(got) > len(names) || len(got) > 0 && !reflect.DeepEqual(got, names[:len(got)]) {
			t.Fatalf("of %d bytes: %q", cut, got)
		}
	}
	b, start := handover.Begin(nil, 1)
	b = append(b, 200, 1, 'x') // a user longer than the record
	handover.End(b, start)
	if got := parseNames(append(b, good...)); !reflect.DeepEqual(got, names) {
		t.Errorf("behind a bad record: %q", got)
	}
}

func FuzzCarried(f *testing.F) {
	own, _ := exampleCarried().encode()
	names, _ := exampleNames()
	f.Add(own)
	f.Add(names)
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseCarried(b); err == nil {
			again, err := c.encode()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parseCarried(again); err != nil {
				t.Errorf("%q became %q: %v", b, again, err)
			}
		}
		parseNames(b)
	})
}

// TestCounters: they go on over processes, and over parts of one that begin anew.
func TestCounters(t *testing.T) {
	metrics := func(reports, pushes uint64, links int) metrics {
		var m metrics
		m.counter("reports", "", reports)
		m.counter("pushes", "", pushes, label("to", "user"))
		m.gauge("links", "", links)
		return m
	}
	values := func(m []admin.Metric) (v []float64) {
		for i := range m {
			v = append(v, m[i].Value)
		}
		return v
	}
	var first, next counters
	sums := first.sums(metrics(5, 7, 9))
	next.load(sums)
	m := metrics(1, 0, 4)
	if next.add(m); !reflect.DeepEqual(values(m), []float64{6, 7, 4}) {
		t.Errorf("%v", values(m))
	}
	next.mend(metrics(3, 2, 4), metrics(0, 2, 4)) // what writes the reports has begun anew
	m = metrics(1, 3, 8)
	if next.add(m); !reflect.DeepEqual(values(m), []float64{5 + 3 + 1, 7 + 3, 8}) {
		t.Errorf("%v", values(m))
	}
	var empty counters
	empty.mend(metrics(3, 0, 0), metrics(0, 0, 0))
	m = metrics(0, 0, 0)
	if empty.add(m); m[0].Value != 3 {
		t.Errorf("%v", values(m))
	}
}

// TestWatchdog reads what systemd says in the environment.
func TestWatchdog(t *testing.T) {
	for _, tc := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0}, {"30000000", "", 15 * time.Second}, {"30000000", "1", 0}, {"soon", "", 0}, {"0", "", 0},
	} {
		t.Setenv("WATCHDOG_USEC", tc.usec)
		t.Setenv("WATCHDOG_PID", tc.pid)
		if got := watchdog(); got != tc.want {
			t.Errorf("%q for %q: %v, want %v", tc.usec, tc.pid, got, tc.want)
		}
	}
}

func TestFraction(t *testing.T) {
	for text, want := range map[string]float64{"20%": 0.2, "0.2": 0.2, "100%": 1, "1": 1, "0.5%": 0.005} {
		var f fraction
		if err := f.Set(text); err != nil || float64(f) != want {
			t.Errorf("%s: %v, %v", text, f, err)
		}
	}
	for _, text := range []string{"", "%", "0", "-1%", "101%", "20 %", "NaN", "a fifth"} {
		var f fraction
		if err := f.Set(text); err == nil {
			t.Errorf("%q is taken as %v", text, f)
		}
	}
	if f := fraction(0.2); f.String() != "20%" {
		t.Error(f.String())
	}
}

// TestFare is what systemd is told of a gateway, and for how long.
func TestFare(t *testing.T) {
	g := startGateway(t, "gw-1", "127.0.0.1:1", false)
	f := &fare{i: g.instance, every: 5 * time.Millisecond}
	told := make(chan string, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.report(func(lines ...string) error {
			select {
			case told <- strings.Join(lines, " "):
			default:
			}
			return nil
		})
	}()
	for good := 0; good < 3; {
		select {
		case line := <-told:
			switch {
			case strings.HasPrefix(line, "STATUS=0 links") && strings.HasSuffix(line, " WATCHDOG=1"):
				good++
			case line != "STATUS=a reactor does not answer": // which is so on a busy machine, in these 5 ms
				t.Errorf("%q", line)
			}
		case <-time.After(patience):
			t.Fatal("no sign of life")
		}
	}
	g.stop()
	<-done
	if text := f.status(f.i.gateway.Stats(t.Context())); !strings.Contains(text, "does not answer") {
		t.Errorf("a gateway that has stopped: %q", text)
	}
}
