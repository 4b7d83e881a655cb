package main

import (
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"edged/admin"
	"edged/handover"
	"edged/health"
)

func willMemory(t *testing.T, g handover.Geometry) *handover.Memory {
	t.Helper()
	m, err := handover.NewMemory(g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// TestWill: the last one is read, also beside a gateway's rings, and where its box has more interfaces than fit.
func TestWill(t *testing.T) {
	for name, g := range map[string]handover.Geometry{
		"alone":        {Shards: 1},
		"beside rings": {Shards: 3, Records: 10, Blocks: 10, Rings: 2, RingBytes: 1 << 16},
	} {
		t.Run(name, func(t *testing.T) {
			m := willMemory(t, withWill(g))
			if c, err := readWill(m); !errors.Is(err, errWill) {
				t.Errorf("before any was written: %+v, %v", c, err)
			}
			want := exampleCarried()
			want.Counters, want.Left, want.Crashes, want.Listener = nil, true, 7, "systemd:main"
			want.Recovered = &admin.Recovery{At: want.Began, Crash: true, Links: 3, Torn: 1}
			for range 3 {
				want.Reloads++
				writeWill(m, want)
				if got, err := readWill(m); err != nil || !reflect.DeepEqual(got, want) {
					t.Fatalf("%v\n%+v, want\n%+v", err, got, want)
				}
			}
			many := *want
			many.Health = &health.Snapshot{Availability: 1, NICs: strings.Split(strings.Repeat("eth0,", 1000), ",")}
			writeWill(m, &many)
			want.Health = nil
			if got, err := readWill(m); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%v\n%+v, want\n%+v", err, got, want)
			}
			if r := ringOfWill(m); r.Each(func(_, _, _ uint64, _ []byte) { t.Error("an entry") }) != nil {
				t.Error("the ring is damaged")
			}
		})
	}
}

// TestNoWill: a memory of somebody else has none.
func TestNoWill(t *testing.T) {
	if c, err := readWill(willMemory(t, handover.Geometry{Shards: 1})); !errors.Is(err, errWill) {
		t.Errorf("%+v, %v", c, err)
	}
	m := willMemory(t, handover.Geometry{Shards: 1, Rings: 1, RingBytes: 4096})
	m.Ring(0, 0).PutNote([]byte("hello"))
	if c, err := readWill(m); !errors.Is(err, errWill) || !errors.Is(err, errCarried) {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestKeepingWithoutKeeper: with none there is nothing to keep to, and nothing to wait for.
func TestKeepingWithoutKeeper(t *testing.T) {
	var off *keeping
	off.refuse()
	if off.leaves() {
		t.Error("links are left to nobody")
	}
	cfg := handover.DefaultKeeper()
	if k := openKeeping(cfg, slog.New(slog.DiscardHandler)); k != nil {
		t.Errorf("%+v although it is off", k)
	}
	cfg.Enabled, cfg.Socket = true, t.TempDir()+"/k.sock"
	k := openKeeping(cfg, slog.New(slog.DiscardHandler))
	if err := k.prepare(handover.Geometry{Shards: 1}); err != nil {
		t.Fatal(err)
	}
	if !k.memory.Retired() {
		t.Error("a memory that is not whole is offered")
	}
	own := func() *carried { return &carried{Started: time.Now()} }
	lent := k.lend(own, func() {})
	lent.Began()
	k.start(own)
	lent.Whole()
	if k.memory.Retired() || k.leaves() {
		t.Errorf("retired %v, leaves %v", k.memory.Retired(), k.leaves())
	}
	k.halt(t.Context())
	k.start(own)
	k.end(t.Context())
	_ = k.memory.Close()
}
