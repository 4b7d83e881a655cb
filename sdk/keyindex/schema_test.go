package keyindex_test

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"edged/sdk/keyindex"
)

func parse(t testing.TB, text string) *keyindex.Schema {
	t.Helper()
	s, err := keyindex.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseTells(t *testing.T) {
	for text, want := range map[string]string{
		"a 1\nb":                          `line 2: "b" is not a name and a number`,
		"a 1 2":                           `line 1: "a 1 2" is not`,
		"a x":                             `line 1: "x" is not a number from 0 to 4294967295`,
		"a -1":                            `"-1" is not a number`,
		"a 4294967296":                    `"4294967296" is not a number`,
		"a 1\n# b 1\n\nc 1":               "line 4: number 1 is taken",
		"a 1\n- 1":                        "line 2: number 1 is taken",
		"a 1\na 2":                        `line 2: name "a" is taken`,
		"a 1 {\nb 1\n":                    "schema ends before its last }",
		"a 1 {\n}\n}":                     "line 3: } without a {",
		"}":                               "line 1: } without a {",
		"a 1 { b 2":                       `is not a name and a number`,
		"- 1 {":                           "a withdrawn number has no names inside",
		"a{ 1":                            "holds braces",
		"\"a\" 1":                         "holds braces, quotes",
		"a\x00 1":                         "cannot be printed",
		"a\xff 1":                         "line 1: not UTF-8",
		strings.Repeat("a 1 {\n", 70):     "line 64: more than 64 maps",
		strings.Repeat("# long\n", 2e5):   "more than 1048576 bytes",
		strings.Repeat("x", 100_000):      "token too long",
		"ok 1\n" + strings.Repeat("}", 3): `line 2: "}}}" is not a name`,
	} {
		if s, err := keyindex.Parse(strings.NewReader(text)); s != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
	broken := errors.New("disk")
	if _, err := keyindex.Parse(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

func TestParseTakes(t *testing.T) {
	s := parse(t, "\ufeffa 1\r\n\tb\t4294967295 # the last\n größe 0\na.b-c_d 2 {\n- 7\n a 1\n}\n- 8\n- 9")
	b, err := s.Marshal(map[string]any{"b": 1, "größe": 2, "a.b-c_d": map[string]any{"a": 1}})
	if err == nil {
		var got map[string]any
		got, err = s.Unmarshal(b)
		if len(got) != 3 {
			t.Errorf("%v", got)
		}
	}
	if err != nil {
		t.Error(err)
	}
	if m, err := parse(t, "").Unmarshal(nil); m == nil || len(m) != 0 || err != nil {
		t.Errorf("%v, %v", m, err)
	}
}

func TestExtends(t *testing.T) {
	old := "a 0\nb 1 {\nx 0\ny 1\n}\n- 2\n"
	for name, c := range map[string]struct{ text, want string }{
		"the same":            {old, ""},
		"another order":       {"- 2\nb 1 {\ny 1\nx 0\n}\na 0", ""},
		"more":                {"a 0 {\nin 0\n}\nb 1 {\nx 0\ny 1\nz 2\n}\n- 2\nc 3", ""},
		"withdrawn":           {"- 0\nb 1 {\n- 0\ny 1\n}\n- 2", ""},
		"gone":                {"b 1 {\nx 0\ny 1\n}\n- 2", `number 0, "a", is gone`},
		"gone inside":         {"a 0\nb 1 {\nx 0\n}\n- 2", `number 1, "y", is gone: withdraw it with - 1, in "b"`},
		"another name":        {"c 0\nb 1 {\nx 0\ny 1\n}\n- 2", `number 0 was "a" and is "c"`},
		"swapped inside":      {"a 0\nb 1 {\ny 0\nx 1\n}\n- 2", `number 0 was "x" and is "y", in "b"`},
		"given out again":     {"a 0\nb 1 {\nx 0\ny 1\n}\nc 2", `number 2 was withdrawn and is "c"`},
		"no longer withdrawn": {"a 0\nb 1 {\nx 0\ny 1\n}", `number 2, withdrawn, is gone`},
		"nothing inside":      {"a 0\nb 1\n- 2", `"b" has no names inside any more`},
	} {
		err := parse(t, c.text).Extends(parse(t, old))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A text that is taken means the same when it is read again, and extends itself.
func FuzzParse(f *testing.F) {
	f.Add("a 0\nb 1 {\n\tx 0 # why\n}\n- 2")
	f.Add("#\n}\n{")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := keyindex.Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		if err := s.Extends(parse(t, text)); err != nil {
			t.Error(err)
		}
	})
}
