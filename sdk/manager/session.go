package manager

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"edged/batch"
)

// Session is what the gateway knows of a link: the keys of PROTOCOL.md 2.4 and those that Managers have set. It is lent
// like the Event that it is part of; what its methods return as strings, numbers and times are copies to keep.
type Session struct {
	raw []byte
}

// Value returns what stands under key; nil if nothing does.
func (s Session) Value(key string) []byte {
	v, _ := batch.SessionValue(s.raw, key)
	return v
}

// Text returns what stands under key as a copy to keep.
func (s Session) Text(key string) string { return string(s.Value(key)) }

// Each calls f for each key until f returns false. It returns an error if the session is not well-formed.
func (s Session) Each(f func(key, value []byte) bool) error { return batch.SessionEach(s.raw, f) }

// User is who the link was bound to last; "" before.
func (s Session) User() string { return s.Text("user") }

// Device is the device of the user; "" before a bind.
func (s Session) Device() string { return s.Text("device") }

// LinkID is the link's name, as Link.String returns it.
func (s Session) LinkID() string { return s.Text("link") }

// Remote is the client's address, IP:port; "unix" for a link from a unix socket.
func (s Session) Remote() string { return s.Text("remote") }

// Listener is the name of the listener that the client came to.
func (s Session) Listener() string { return s.Text("listener") }

// OpenedAt is when the link was opened, by the gateway's clock; the zero Time if the session does not say.
func (s Session) OpenedAt() time.Time {
	t, _ := parseTime(s.Value("opened_at"))
	return t
}

// Key is a key of Managers in sessions, with the type of what stands under it, so that those who write and those who read
// mean the same:
//
//	var level = manager.IntKey("auth.level")
//
//	e.Change(level.Set(3))
//	n, ok := level.Get(e.Session)
//
// Make one with TextKey, IntKey, BoolKey or TimeKey.
type Key[T any] struct {
	name   string
	format func(T) string
	parse  func([]byte) (T, bool)
}

// Change is what Key.Set and Key.Delete ask for.
type Change struct {
	key, value string
	gone       bool
}

// Name returns the key as it stands in the session.
func (k Key[T]) Name() string { return k.name }

// Get returns what stands under the key. ok is false if nothing does, or nothing of the type.
func (k Key[T]) Get(s Session) (v T, ok bool) {
	b, found := batch.SessionValue(s.raw, k.name)
	if !found {
		return v, false
	}
	return k.parse(b)
}

// Or is Get with a value for when there is none.
func (k Key[T]) Or(s Session, otherwise T) T {
	if v, ok := k.Get(s); ok {
		return v
	}
	return otherwise
}

// Set asks for v to stand under the key.
func (k Key[T]) Set(v T) Change { return Change{key: k.name, value: k.format(v)} }

// Delete asks for the key to be gone.
func (k Key[T]) Delete() Change { return Change{key: k.name, gone: true} }

// TextKey is a key for texts. Like its siblings it panics if a Manager may not write the key: one without a dot belongs to
// the gateway.
func TextKey(name string) Key[string] {
	return newKey(name, func(v string) string { return v }, func(b []byte) (string, bool) { return string(b), true })
}

// IntKey is a key for integers; they stand there in decimal.
func IntKey(name string) Key[int64] {
	return newKey(name, func(v int64) string { return strconv.FormatInt(v, 10) }, parseInt)
}

// BoolKey is a key for truths; they stand there as "true" and "false".
func BoolKey(name string) Key[bool] {
	return newKey(name, strconv.FormatBool, func(b []byte) (v, ok bool) {
		v, err := strconv.ParseBool(string(b))
		return v, err == nil
	})
}

// TimeKey is a key for times; they stand there like opened_at, as milliseconds since 1970 in decimal.
func TimeKey(name string) Key[time.Time] {
	return newKey(name, func(v time.Time) string { return strconv.FormatInt(v.UnixMilli(), 10) }, parseTime)
}

func newKey[T any](name string, format func(T) string, parse func([]byte) (T, bool)) Key[T] {
	if !strings.Contains(name, ".") || !utf8.ValidString(name) {
		panic(fmt.Sprintf("manager: session key %q has no dot in it, or is not UTF-8", name))
	}
	return Key[T]{name, format, parse}
}

func parseInt(b []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(b), 10, 64)
	return n, err == nil
}

func parseTime(b []byte) (time.Time, bool) {
	ms, ok := parseInt(b)
	if !ok {
		return time.Time{}, false
	}
	return time.UnixMilli(ms), true
}
