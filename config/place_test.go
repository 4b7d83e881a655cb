package config

import (
	"strings"
	"testing"
)

// The index is tested from inside: through Parse only the lines of wrong keys can be seen.

// TestIndex marks in each text the line of a key with "<- path".
func TestIndex(t *testing.T) {
	texts := map[string]string{
		"tables": `
[a] #                    <- a
x = 1 #                  <- a.x
[a.b] #                  <- a.b
x = 2 #                  <- a.b.x
[ c . "d e" . 'f' ] #    <- c|d e|f
x.y.z = 3 #              <- c|d e|f|x|y|z
"" = 4 #                 <- c|d e|f|
`,
		"implied before its header": `
[a.b]
x = 1
[a] #                    <- a
y = 1 #                  <- a.y
`,
		"arrays of tables": `
[[a]]
x = 1
[[a]]
x = 2 #                  <- a.x
[a.b]
y = 3 #                  <- a.b.y
[[a.c]]
[[a.c]]
z = 4 #                  <- a.c.z
`,
		"strings": `
a = """
b = 1
""" #
b = 2 #                  <- b
c = '''
d = 1 \''' #
d = 2 #                  <- d
e = """"quoted"""""
f = 1 #                  <- f
g = """a\"""" #
h = "" #                 <- h
i = '' #                 <- i
j = "# \" = [" #         <- j
k = '\' #                <- k
l = """a \
   b""" #
m = 1 #                  <- m
`,
		"lists and inline tables": `
a = [ "]", '[', [1, 2], # ]
  { b = 1, c = [ 3, # }
  4 ] },
] #
d = { e = { f = "}", # {
  g = 1 }, #             <- d.e.g
  h.i = 2, #             <- d.h.i
} #
j = 1979-05-27 07:32:00 #<- j
k = [{ l = 1 }, {
  l = 2 #                <- k.l
}]
`,
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			if _, err := decode(text); err != nil {
				t.Fatalf("the text is wrong: %v", err)
			}
			root := index(text)
			for n, line := range strings.Split(text, "\n") {
				_, mark, ok := strings.Cut(line, "<- ")
				if !ok {
					continue
				}
				path := strings.Split(mark, ".")
				if strings.Contains(mark, "|") {
					path = strings.Split(mark, "|")
				}
				p, exact := root.find(path...)
				if !exact || p.last().line != n+1 && p.line != n+1 {
					t.Errorf("%q is at line %d (found: %v), want %d", path, p.line, exact, n+1)
				}
			}
		})
	}
}

func TestIndexEscapes(t *testing.T) {
	const text = `"a\u0062\x63\e\t\"\\" = 1
'\u0062' = 2
"\U0001F600\b\n\f\r" = 3
"\xe9" = 4
`
	values, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	root := index(text)
	for n, key := range []string{"abc\x1b\t\"\\", `\u0062`, "\U0001F600\b\n\f\r", "é"} {
		if _, ok := values[key]; !ok {
			t.Errorf("the library does not know %q: %v", key, values)
		}
		if p, exact := root.find(key); !exact || p.line != n+1 {
			t.Errorf("%q is at line %d (found: %v), want %d", key, p.line, exact, n+1)
		}
	}
}

func TestIndexItems(t *testing.T) {
	root := index("a = [\n1,\n\n{ b = 2,\n c = 3 },\n]\n[[d]]\n[[d]]\n")
	a, _ := root.find("a")
	d, _ := root.find("d")
	got := []int{a.line, a.item(0).line, a.item(1).line, a.item(1).keys["c"].line, a.item(7).line, d.item(0).line, d.item(1).line}
	for i, want := range []int{1, 2, 4, 5, 1, 7, 8} {
		if got[i] != want {
			t.Errorf("lines %v, number %d should be %d", got, i, want)
		}
	}
}

// TestIndexOfNonsense: what is no TOML ends the index, not the program.
func TestIndexOfNonsense(t *testing.T) {
	for _, text := range []string{"[", "[a", "[[a]", "a", "a =", `a = "`, `a = """x`, `"a`, "a = [", "a = {", "a = { =", "=", ".", `"\`, `"\u12" = 1`, "a = [ =", "\x00"} {
		if root := index(text); root == nil || root.line != 1 {
			t.Errorf("%q: %+v", text, root)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"heartbeat", "idle_timeout", "id", "max_frame", "login", "nics"}
	for got, want := range map[string]string{
		"hartbeat": "heartbeat", "heartbaet": "heartbeat", "HEARTBEAT": "heartbeat", "heart_beat": "heartbeat",
		"idletimeout": "idle_timeout", "idle-timeout": "idle_timeout", "maxframe": "max_frame", "nic": "nics", "di": "id",
		"logon": "login", "xyz": "", "": "", "timeout": "", "h": "",
		strings.Repeat("heartbeat", 1000): "",
	} {
		if n := nearest(got, names); n != want {
			t.Errorf("nearest to %.20q is %q, want %q", got, n, want)
		}
	}
}

func TestDistance(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "abd", 1}, {"abc", "bc", 1},
		{"kitten", "sitting", 3}, {"ca", "abc", 3}, {"abcdef", "badcfe", 3},
	}
	for _, tt := range tests {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q and %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if back := distance(tt.b, tt.a); back != tt.want {
			t.Errorf("%q and %q: %d, want %d", tt.b, tt.a, back, tt.want)
		}
	}
}
