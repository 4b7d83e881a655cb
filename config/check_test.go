package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// fake is a section that reports what a test wants.
type fake struct {
	Port  int      `toml:"port"`
	Limit int      `toml:"limit"`
	Hosts []string `toml:"hosts"`
	Mode  struct {
		In string `toml:"in"`
	} `toml:"mode"`
	says error
}

func (f fake) Validate() error { return f.says }

// TestAsk: from whatever form a section reports in, an operator gets a line, a key and a sentence.
func TestAsk(t *testing.T) {
	const text = `[fake]
port = 1
hosts = [
	"a",
	"b",
]
mode.in = "x"
`
	tests := []struct {
		name string
		says error
		want []string
	}{
		{"nothing", nil, nil},
		{"a key", errors.New("port: 1 is too small"), []string{"f:2: fake.port: 1 is too small"}},
		{"with its section", errors.New("fake.port: no"), []string{"f:2: fake.port: no"}},
		{"a nested key", errors.New("mode.in: no"), []string{"f:7: fake.mode.in: no"}},
		{"a key below one that is not there", errors.New("mode.out: no"), []string{"f:7: fake.mode.out: no"}},
		{"an item", errors.New(`hosts: "b" is down`), []string{"f:5: fake.hosts: \"b\" is down"}},
		{"an unquoted item", errors.New(`hosts: b is down`), []string{"f:3: fake.hosts: b is down"}},
		{"a key that the file lacks", errors.New("limit: 5 is odd"), []string{"f:1: fake.limit: 5 is odd"}},
		{"the other one of two keys", errors.New("limit: 5 is more than port"), []string{"f:2: fake.limit: 5 is more than port"}},
		{"no key", errors.New("all of it is wrong"), []string{"f:1: fake: all of it is wrong"}},
		{"no key but a colon", errors.New("open /x: gone"), []string{"f:1: fake: open /x: gone"}},
		{"wrapped", fmt.Errorf("port: %w", errors.New("no")), []string{"f:2: fake.port: no"}},
		{"two lines", errors.New("port: one\ntwo"), []string{"f:2: fake.port: one; two"}},
		{"control characters", errors.New("port: \x1b[31mred\u202e"), []string{"f:2: fake.port: ?[31mred?"}},
		{"said twice", errors.Join(errors.New("port: no"), errors.New("port: no")), []string{"f:2: fake.port: no"}},
		{
			"joined in joined", errors.Join(errors.New("mode.in: no"), errors.Join(errors.New("port: a"), errors.New("port: b"))),
			[]string{"f:2: fake.port: a", "f:2: fake.port: b", "f:7: fake.mode.in: no"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newReader("f", reflect.TypeFor[Config]())
			at, _ := index(text).find("fake")
			r.ask(fake{Hosts: []string{"a", "b"}, says: tt.says}, at, "fake")
			var got []string
			if err := r.problems(); err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestAskUnread: of a key that could not be read its section knows the default only, and what it says of that is left out.
func TestAskUnread(t *testing.T) {
	r := newReader("f", reflect.TypeFor[Config]())
	at, _ := index("[fake]\nport = 'x'\nlimit = 5\n").find("fake")
	where, _ := at.find("port")
	r.problem(where, "fake.port", "must be a whole number")
	r.ask(fake{says: errors.Join(errors.New("port: 0 is too small"), errors.New("limit: 5 is more than port"), errors.New("limit: 5 is odd"))}, at, "fake")
	want := "f:2: fake.port: must be a whole number\nf:3: fake.limit: 5 is odd"
	if err := r.problems(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestBindKey(t *testing.T) {
	for _, same := range [][]string{
		{"127.0.0.1:7000", "[::ffff:127.0.0.1]:7000"},
		{"[::1]:7000", "[0:0::1]:7000"},
		{"unix:/a/b", "unix:/a//b", "unix:/a/./b", "unix:/a/c/../b"},
		{"127.0.0.1:0", "[::]:0"},
	} {
		for _, a := range same {
			if bindKey(a) != bindKey(same[0]) {
				t.Errorf("%s and %s differ: %q, %q", a, same[0], bindKey(a), bindKey(same[0]))
			}
		}
	}
	seen := make(map[string]string)
	for _, a := range []string{"127.0.0.1:1", "127.0.0.1:2", "[::1]:1", "unix:/a", "unix:/b", "systemd:/a", "systemd:a"} {
		if b, ok := seen[bindKey(a)]; ok {
			t.Errorf("%s and %s are taken for the same", a, b)
		}
		seen[bindKey(a)] = a
	}
}
