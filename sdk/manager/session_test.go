package manager_test

import (
	"errors"
	"testing"
	"time"

	"edged/sdk/manager"
)

var (
	colour = manager.TextKey("test.colour")
	level  = manager.IntKey("test.level")
	muted  = manager.BoolKey("test.muted")
	until  = manager.TimeKey("test.until")
)

// What one handler writes under a typed key another one reads as the same; of two changes of a key the last one counts.
func TestTypedKeys(t *testing.T) {
	then := time.UnixMilli(1730000000123)
	s := serve(t, manager.Options{Handler: manager.Handler{
		Opened: func(e *manager.Event) {
			_ = e.Change(colour.Set("green"), level.Set(-7), muted.Set(true), until.Set(then), colour.Set("grün"))
			_ = e.Change(level.Set(1), colour.Set("x"), level.Delete())
			if err := e.Change(colour.Set("\xff")); !errors.Is(err, manager.ErrText) {
				t.Errorf("%v, want ErrText", err)
			}
		},
	}})
	u := s.open(hello("gw", 1, 0))
	u.items(opened(ref(0, 1, 1)))
	equal(t, u.next(2),
		"1/1 patch map[test.colour:grün test.level:-7 test.muted:true test.until:1730000000123] []",
		"1/1 patch map[test.colour:x] [test.level]")
	l, err := s.Link("192.0.2.7:8000:1:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Change(l, muted.Delete(), muted.Set(false)); err != nil {
		t.Error(err)
	}
	equal(t, u.next(1), "1/1 patch map[test.muted:false] []")

	read(t, "test.colour", "grün", colour, "grün", true)
	read(t, "test.level", "-7", level, -7, true)
	read(t, "test.level", "-7 ", level, 0, false)
	read(t, "test.level", "", level, 0, false)
	read(t, "test.muted", "true", muted, true, true)
	read(t, "test.muted", "perhaps", muted, false, false)
	read(t, "test.until", "1730000000123", until, then, true)
	read(t, "test.until", "soon", until, time.Time{}, false)
	read(t, "test.other", "1", level, 0, false)
	read(t, "test.other", "1", colour, "", false)
}

// read has a Manager look at a session that holds one key.
func read[T comparable](t *testing.T, name, value string, key manager.Key[T], want T, ok bool) {
	t.Helper()
	done := make(chan struct{})
	s := serve(t, manager.Options{Handler: manager.Handler{Data: func(e *manager.Event) {
		defer close(done)
		if v, found := key.Get(e.Session); v != want || found != ok {
			t.Errorf("%s in %s=%q: %v, %v", key.Name(), name, value, v, found)
		}
		var other T
		if v := key.Or(e.Session, other); ok && v != want || !ok && v != other {
			t.Errorf("%s in %s=%q or %v: %v", key.Name(), name, value, other, v)
		}
	}}})
	s.open(hello("gw", 1, 0)).items(data(ref(0, 1, 1), "", name, value))
	within(t, "the message", done)
}

func TestSessionOfTheGateway(t *testing.T) {
	got := make(chan []any, 1)
	s := serve(t, manager.Options{Handler: manager.Handler{Data: func(e *manager.Event) {
		s := e.Session
		got <- []any{s.User(), s.Device(), s.LinkID(), s.Remote(), s.Listener(), s.OpenedAt()}
	}}})
	u := s.open(hello("gw", 1, 0))
	u.items(data(ref(0, 1, 1), "", "user", "42", "device", "phone", "link", "192.0.2.7:8000:1:1", "remote", "198.51.100.1:4000",
		"listener", "main", "opened_at", "1730000000123"))
	want := []any{"42", "phone", "192.0.2.7:8000:1:1", "198.51.100.1:4000", "main", time.UnixMilli(1730000000123)}
	for i, v := range within(t, "the message", got) {
		if v != want[i] {
			t.Errorf("%v, want %v", v, want[i])
		}
	}
	u.items(data(ref(0, 1, 1), ""))
	want = []any{"", "", "", "", "", time.Time{}}
	for i, v := range within(t, "the message", got) {
		if v != want[i] {
			t.Errorf("empty session: %v, want %v", v, want[i])
		}
	}
}

// A key that belongs to the gateway is refused at start, not by the gateway each time.
func TestKeysOfTheGateway(t *testing.T) {
	for _, name := range []string{"user", "", "a.\xff"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a key %q was made", name)
				}
			}()
			manager.BoolKey(name)
		}()
	}
}

// Each operation on users, devices, rooms and everyone goes to every gateway once.
func TestOperationsToAll(t *testing.T) {
	s := serve(t, manager.Options{})
	ups := []*up{s.open(hello("a", 1, 0)), s.open(hello("b", 1, 0))}
	user := manager.ToUser("42")
	ops := map[string]func() (int, error){
		`ref 1 join r`: func() (int, error) { return s.JoinTo(user, "r", 1) },
		`leave r`:      func() (int, error) { return s.LeaveTo(user, "r") },
		`patch map[a.b:c] [d.e]`: func() (int, error) {
			return s.PatchTo(user, map[string]string{"a.b": "c"}, []string{"d.e"})
		},
		`patch map[test.level:3] []`: func() (int, error) { return s.ChangeTo(user, level.Set(3)) },
		`ref 2 close 7 2000 out`:     func() (int, error) { return s.CloseTo(user, 7, 2*time.Second, "out", 2) },
	}
	for want, op := range ops {
		if n, err := op(); n != 2 || err != nil {
			t.Errorf("%s: %d, %v", want, n, err)
		}
		for _, u := range ups {
			equal(t, u.next(1), "&{42} "+want)
		}
	}
	for name, bad := range map[string]manager.Target{"zero": {}, "a link": {Kind: 1}, "of the future": {Kind: 99}} {
		if n, err := s.JoinTo(bad, "r"); n != 0 || !errors.Is(err, manager.ErrTarget) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	for name, op := range map[string]func() (int, error){
		"join":  func() (int, error) { return s.JoinTo(user, "\xff") },
		"leave": func() (int, error) { return s.LeaveTo(user, "\xff") },
		"patch": func() (int, error) { return s.PatchTo(user, nil, []string{"\xff"}) },
		"close": func() (int, error) { return s.CloseTo(user, 7, 0, "\xff") },
	} {
		if n, err := op(); n != 0 || !errors.Is(err, manager.ErrText) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	if _, err := s.DataTo(manager.ToEveryone(), []byte("end")); err != nil {
		t.Error(err)
	}
	for _, u := range ups {
		if got := u.next(1)[0]; string(got.GetData()) != "end" {
			t.Errorf("%v, want the end", got)
		}
	}
}
