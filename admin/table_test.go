package admin_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"edged/admin"
)

var update = flag.Bool("update", false, "write the golden files anew")

func exampleStatus() admin.Status {
	return admin.Status{
		ID: "gw-1", Version: "0.1.0", State: admin.StateUp, PID: 4711, Epoch: "1774",
		Started:   time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		At:        time.Date(2026, 3, 2, 13, 2, 3, 0, time.UTC),
		Advertise: "192.0.2.7:7000",
		Listeners: []string{"main 0.0.0.0:7000", "local unix:/run/edged/links.sock"},
		Reactors:  2, Capacity: 15000, Links: 1234,
		Managers: []admin.ManagerStatus{
			{Address: "127.0.0.1:7100", ID: "manager-a", State: "up", Streams: 2},
			{Address: "unix:/run/manager.sock", State: "down"},
		},
		MessagesIn: 1234567, MessagesOut: 89,
	}
}

func TestWriteStatusGolden(t *testing.T) {
	draining := exampleStatus()
	draining.State, draining.Reason = admin.StateDraining, "asked by edged ctl drain"
	draining.Managers = nil
	hostile := exampleStatus()
	hostile.Managers = []admin.ManagerStatus{{Address: "127.0.0.1:1", ID: "\x1b[2J\ttab\nline\u202e", State: "up"}}
	roomy := exampleStatus()
	roomy.Room = &admin.RoomStatus{Availability: 0.83, Reason: "pps", PPS: 170_000, PPSLimit: 1_000_000, Bytes: 12_345_678, NICs: []string{"eth0", "eth1"},
		SLB: "sh-1", Reports: "ok", Reported: roomy.At.Add(-2 * time.Second)}
	alone := exampleStatus()
	alone.Room = &admin.RoomStatus{Availability: 1, Reports: "off"}
	peopled := exampleStatus()
	peopled.People = &admin.PeopleStatus{Users: 1234, Devices: 1, Routes: "ok", Bus: "ok"}
	unheard := exampleStatus()
	unheard.People = &admin.PeopleStatus{Users: 1, Devices: 2, Routes: "ok", Bus: "not heard: redis is not connected"}
	for name, s := range map[string]admin.Status{
		"peopled":  peopled,
		"unheard":  unheard,
		"roomy":    roomy,
		"alone":    alone,
		"up":       exampleStatus(),
		"draining": draining,
		"empty":    {},
		"hostile":  hostile,
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := admin.WriteStatus(&b, s); err != nil {
				t.Fatal(err)
			}
			golden(t, "testdata/status-"+name+".ok", b.Bytes())
		})
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWriteStatusColumnsAreAligned(t *testing.T) {
	var b strings.Builder
	if err := admin.WriteStatus(&b, exampleStatus()); err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(b.String(), "\n\n")
	lines := strings.Split(strings.TrimSpace(table), "\n")
	at := strings.Index(lines[0], "STATE")
	for _, l := range lines[1:] {
		if l[at-1] != ' ' || l[at] == ' ' {
			t.Errorf("column of STATE in %q", l)
		}
	}
}

type full struct{}

var errFull = errors.New("disk full")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWriteStatusTellsOfAFullDisk(t *testing.T) {
	if err := admin.WriteStatus(full{}, exampleStatus()); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
}

func TestDrainAndReloadInStatus(t *testing.T) {
	s := exampleStatus()
	s.Reloads, s.Reload = 3, &reloaded
	s.Drain = &admin.DrainStatus{Total: 15000, Left: 1234, Until: time.Date(2026, 3, 2, 13, 5, 0, 0, time.UTC)}
	var b strings.Builder
	if err := admin.WriteStatus(&b, s); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"reload     3 since the start; process 4711 serves; links stood still for 7.1ms, accepting for 38ms\n",
		"drain      1,234 of 15,000 links are left, the last one goes at 13:05:00 UTC\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	s.Drain.Share = true
	if got := s.Drain.String(); !strings.Contains(got, "links of a share are left") {
		t.Errorf("%q", got)
	}
}

func TestKeeperInStatus(t *testing.T) {
	at := time.Date(2026, 3, 2, 13, 5, 0, 0, time.UTC)
	for want, k := range map[string]*admin.KeeperStatus{
		"":              nil,
		"ok, 0 links\n": {State: "ok"},
		"not there, 0 links; one crash since the start\n": {State: "not there", Crashes: 1},
		"ok, 15,000 links; 1,200 crashes since the start; 14,998 links taken back at 13:05:00 UTC, 1 torn\n": {
			State: "ok", Links: 15000, Crashes: 1200, Recovered: &admin.Recovery{At: at, Crash: true, Links: 14998, Torn: 1}},
		"ok, 1 link; 1 link taken back at 13:05:00 UTC\n": {State: "ok", Links: 1, Recovered: &admin.Recovery{At: at, Links: 1}},
	} {
		s := exampleStatus()
		s.Keeper = k
		var b strings.Builder
		if err := admin.WriteStatus(&b, s); err != nil {
			t.Fatal(err)
		}
		if want != "" {
			want = "keeper     " + want
		}
		if !strings.Contains(b.String(), want) || (want == "") == strings.Contains(b.String(), "keeper") {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}
