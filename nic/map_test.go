package nic_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edged/nic"
	"edged/nic/nictest"
)

var update = flag.Bool("update", false, "write the golden maps anew")

// list writes CPUs, "?" where they are not known and "none" where there are none.
func list(cpus []int) string {
	switch {
	case cpus == nil:
		return "?"
	case len(cpus) == 0:
		return "none"
	}
	return nic.FormatCPUs(cpus)
}

// draw writes a map as a person reads it; equal queues would hide nothing, so each has its line.
func draw(d nic.Device) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("%s index %d driver %q bus %q %d Mbit/s node %d near %s", d.Name, d.Index, d.Driver, d.Bus, d.SpeedMbit, d.Node, list(d.LocalCPUs))
	say("  mapped %v%s", d.Mapped, strings.TrimRight(": "+d.Why, ": "))
	say("  channels %s of %s", d.Channels.Now, d.Channels.Max)
	say("  rings rx %d of %d tx %d of %d", d.Rings.RX, d.Rings.RXMax, d.Rings.TX, d.Rings.TXMax)
	say("  coalesce %s", d.Coalesce)
	say("  features %+v", d.Features)
	say("  rss %d buckets over %d queues", len(d.RSSTable), len(slices.Compact(slices.Sorted(slices.Values(d.RSSTable)))))
	for _, question := range slices.Sorted(maps.Keys(d.Refused)) {
		say("  refused %s: %v", question, d.Refused[question])
	}
	drawQueues(say, "rx", d.RX)
	drawQueues(say, "tx", d.TX)
	for _, v := range d.Vectors {
		say("  irq %d %q on %s of %s", v.IRQ, v.Name, list(v.CPUs), list(v.Allowed))
	}
	return b.String()
}

func drawQueues(say func(string, ...any), way string, queues []nic.Queue) {
	for _, q := range queues {
		say("  %s-%d %s napi %d irq %d %q on %s node %d mask %s flows %d",
			way, q.Index, q.How, q.NAPI, q.IRQ, q.Vector, list(q.CPUs), q.Node, list(q.Mask), q.Flows)
	}
}

// TestMaps compares the maps of all boxes with those that were read line by line.
func TestMaps(t *testing.T) {
	boxes := nictest.Names()
	if len(boxes) < 10 {
		t.Fatalf("boxes are %q", boxes)
	}
	for _, name := range boxes {
		t.Run(name, func(t *testing.T) {
			m := nictest.Open(t, name)
			var b strings.Builder
			for _, leaf := range m.Leaves(t) {
				d, err := m.Host.Map(t.Context(), leaf)
				if err != nil {
					t.Fatal(err)
				}
				b.WriteString(draw(d))
			}
			golden(t, name, b.String())
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "map", name+".ok")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("map of %s is\n%s\nwant\n%s", name, got, want)
	}
}
