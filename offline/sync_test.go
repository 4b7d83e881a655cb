package offline_test

import (
	"errors"
	"fmt"
	"testing"

	"edged/offline"
)

func TestSync(t *testing.T) {
	t.Parallel()
	s, l := open(t)
	store(t, l, several("u", 10)...)
	for _, c := range []struct {
		device  string
		version uint64
		stored  string
	}{
		{"phone", 4, "4"}, {"phone", 3, "4"}, {"phone", 4, "4"}, {"phone", 10, "10"}, {"phone", 0, "10"}, {"", 2, "2"}, {"a\x00\n", 1, "1"},
	} {
		synced(t, l, "u", c.device, c.version)
		if got := s.Do("HGET", "edged:sync:{u}", c.device); got != c.stored {
			t.Errorf("%q is at %s after %d, want %s", c.device, got, c.version, c.stored)
		}
	}
	synced(t, l, "nobody", "phone", 0)
	if got := s.Do("EXISTS", "edged:sync:{nobody}"); got != "0" {
		t.Error("nothing was stored, and a key is there")
	}
}

func TestSyncErrors(t *testing.T) {
	t.Parallel()
	s, l := open(t)
	store(t, l, append(several("u", 2), several("v", 2)...)...)
	s.Do("SET", "edged:sync:{v}", "x")
	errs := l.Sync(soon(t), []offline.Point{
		{User: "u", Device: "d", Version: 3}, {User: "v", Device: "d", Version: 1}, {User: "", Device: "d", Version: 1},
		{User: "u", Device: "d", Version: 2}, {User: "u", Device: "e", Version: 1<<64 - 1},
	})
	var ahead *offline.AheadError
	if !errors.As(errs[0], &ahead) || ahead.User != "u" || ahead.Device != "d" || ahead.Version != 3 || ahead.Last != 2 {
		t.Errorf("ahead: %v", errs[0])
	}
	if !isClash(errs[1], "v", "edged:sync:{v}") {
		t.Errorf("clash: %v", errs[1])
	}
	if !errors.Is(errs[2], offline.ErrUser) || errs[3] != nil || !errors.As(errs[4], &ahead) {
		t.Errorf("%v", errs)
	}
	if got := s.Do("HGETALL", "edged:sync:{u}"); got != "d\n2" {
		t.Errorf("%q", got)
	}
}

// TestSyncAfterLoss: when Redis lost the counter and the log, what devices had before says nothing about what comes now.
func TestSyncAfterLoss(t *testing.T) {
	t.Parallel()
	s, l := open(t)
	store(t, l, several("u", 9)...)
	synced(t, l, "u", "d", 9)
	s.Do("DEL", "edged:log:{u}", "edged:ver:{u}", "edged:seen:{u}")
	store(t, l, several("u", 3)...)
	if p := pull(t, l, "u", "d", 0, 0); len(p.Entries) != 3 || p.Synced != 0 || p.After != 0 {
		t.Errorf("%+v", p)
	}
	synced(t, l, "u", "d", 2)
	if p := pull(t, l, "u", "d", 0, 0); len(p.Entries) != 1 || p.Synced != 2 {
		t.Errorf("%+v", p)
	}
}

func TestSyncMany(t *testing.T) {
	t.Parallel()
	_, l := open(t)
	var messages []offline.Message
	var points []offline.Point
	for i := range 2500 {
		messages = append(messages, msg(fmt.Sprint("u", i), "", "x"))
		points = append(points, offline.Point{User: fmt.Sprint("u", i), Device: "d", Version: uint64(1 + i%2)})
	}
	store(t, l, messages...)
	for i, err := range l.Sync(soon(t), points) {
		if (err == nil) != (i%2 == 0) {
			t.Fatalf("point %d: %v", i, err)
		}
	}
	if errs := l.Sync(soon(t), nil); len(errs) != 0 {
		t.Error(errs)
	}
}
