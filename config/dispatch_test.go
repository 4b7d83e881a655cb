package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"edged/config"
	"edged/dispatch"
)

const dispatchExample = "../etc/dispatch.toml"

// TestDispatchExampleIsDefault proves that the file which is installed changes nothing, and that each setting stands in it,
// once, in its section, with a comment: the load balancers, of which there are none by default, as comments themselves.
func TestDispatchExampleIsDefault(t *testing.T) {
	got, err := config.LoadDispatch(dispatchExample)
	if err != nil {
		t.Fatal(err)
	}
	if want := config.DefaultDispatch(); !reflect.DeepEqual(got, want) {
		t.Errorf("etc/dispatch.toml means\n%+v\nthe defaults are\n%+v", got, want)
	}
	text, err := os.ReadFile(dispatchExample)
	if err != nil {
		t.Fatal(err)
	}
	full := uncommented(string(text))
	c, err := config.ParseDispatch("full", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.SLBs) != 1 || len(c.SLBs[0].Addresses) != 2 {
		t.Errorf("load balancers %+v", c.SLBs)
	}
	seen := commented(t, full)
	walk(reflect.ValueOf(*c), "", func(path string, _ reflect.Value) {
		path = strings.Replace(path, "slb.0.", "slb.", 1)
		if strings.HasPrefix(path, "dispatch.backoff.") {
			path = "dispatch.backoff"
		}
		if seen[path] != 1 {
			t.Errorf("%s stands %d times in etc/dispatch.toml", path, seen[path])
		}
	})
}

// uncommented takes the comment signs off the lines that are settings but for them.
func uncommented(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if rest, ok := strings.CutPrefix(line, "#"); ok && rest != "" && rest[0] != ' ' {
			lines[i] = rest
		}
	}
	return strings.Join(lines, "\n")
}

// TestDispatchDesignFile reads the file as the design has it.
func TestDispatchDesignFile(t *testing.T) {
	c, err := config.LoadDispatch("testdata/dispatch.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := config.DefaultDispatch()
	want.SLBs = []dispatch.SLB{{Name: "sh-1", Addresses: []string{"203.0.113.7:7000"}}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("the file means\n%+v\nwant\n%+v", c, want)
	}
}

// TestDispatchProblems pins what an operator is told.
func TestDispatchProblems(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"no load balancers", "slb = []", ""},
		{"a gateway's section", "[dispatch]\n[gateway]\nreactors = 1\n", "f:2: gateway: unknown section"},
		{"a gateway's key", "[redis]\nslb = \"sh-1\"\n", "f:2: redis.slb: unknown key"},
		{"another section's key", "[admin]\nrefresh = \"1s\"\n", `f:2: admin.refresh: unknown key; "refresh" belongs to [dispatch]`},
		{"mistyped", "[dispatch]\nshare_kap = 1\n", `f:2: dispatch.share_kap: unknown key; did you mean "share_cap"?`},
		{"types", "[dispatch]\nlisten = 7080\nshare_cap = \"10\"\n", "f:2: dispatch.listen: must be a list in brackets, not the number 7080\nf:3: dispatch.share_cap: must be a number, not the text \"10\""},
		{"nested", "[dispatch]\nbackoff.factor = 0\nbackoff = { base = \"2s\" }", "f:3: key"},
		{"backoff", "[dispatch]\nbackoff = { base = \"2s\", max = \"1s\" }\n", "f:2: dispatch.backoff.max: 1s is shorter than base (2s)"},
		{"an item", "[dispatch]\norigins = [\n  \"https://a.example\",\n  \"b.example\",\n]\n", `f:4: dispatch.origins: "b.example" is no origin`},
		{"no Redis", "[redis]\naddresses = []\n", "f:2: redis.addresses: the list is empty, but gateways report to Redis alone"},
		{"Redis", "[redis]\naddresses = [\"x\"]\n", `f:2: redis.addresses: "x" is not host:port`},
		{"single brackets", "[slb]\nname = \"a\"\n", "f:1: slb: there may be several such sections; write [[slb]] with double brackets"},
		{"nameless", "[[slb]]\naddresses = [\"203.0.113.7:1\"]\n", `f:1: slb.name: "" is no name`},
		{"no addresses", "[[slb]]\nname = \"a\"\n", `f:1: slb.addresses: "a" has none`},
		{"address", "[[slb]]\nname = \"a\"\naddresses = [\"203.0.113.7:1\",\n\"203.0.113.7\"]\n", `f:4: slb.addresses: "203.0.113.7" is not host:port`},
		{
			"names", "[[slb]]\nname = \"a\"\naddresses = [\"203.0.113.7:1\"]\n[[slb]]\nname = \"a\"\naddresses = [\"203.0.113.8:1\"]\n",
			`f:5: slb.name: "a" is the name of the slb at line 2 too`,
		},
		{
			"addresses", "[[slb]]\nname = \"a\"\naddresses = [\"203.0.113.7:1\"]\n[[slb]]\nname = \"b\"\naddresses = [\"203.0.113.8:1\",\n\"[::ffff:203.0.113.7]:1\"]\n",
			`f:7: slb.addresses: "[::ffff:203.0.113.7]:1" is an address of the slb at line 1 too`,
		},
		{"admin", "[dispatch]\nlisten = [\"127.0.0.1:80\"]\n[admin]\nlisten = [\"127.0.0.1:80\"]\n", `f:4: admin.listen: "127.0.0.1:80" is an address of dispatch.listen too`},
		{"syntax", "[dispatch\n", "f:1: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := config.ParseDispatch("f", []byte(tt.text))
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("error %v", err)
			case tt.want != "" && (err == nil || !hasLines(err.Error(), tt.want)):
				t.Errorf("got\n%v\nwant\n%s", err, tt.want)
			}
		})
	}
}

// hasLines reports whether text has as many lines as want, each beginning as in want.
func hasLines(text, want string) bool {
	return slices.EqualFunc(strings.Split(text, "\n"), strings.Split(want, "\n"), strings.HasPrefix)
}

// TestCheck: a file is looked at as what it is.
func TestCheck(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"a gateway's", "[gateway]\nreactors = 1\n[keeper]\nenabled = true\n", ""},
		{"an empty one", "", ""},
		{"a dispatch service's", "[dispatch]\nmode = \"p2c\"\n", ""},
		{"one of load balancers alone", "[[slb]]\nname = \"a\"\naddresses = [\"203.0.113.7:1\"]\n", ""},
		{"both", "[dispatch]\n[gateway]\n", ":2: gateway: unknown section"},
		{"a key in the wrong place", "slb = \"a\"\n", `:1: slb: unknown key outside of every section; "slb" belongs to [redis]`},
		{"no TOML", "dispatch", ":1: "},
		{"too much", "#" + strings.Repeat("x", 256<<10), ":1: the file is larger"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f.toml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			err := config.Check(path)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	if err := config.Check(t.TempDir()); err == nil {
		t.Error("a directory is no file")
	}
}
