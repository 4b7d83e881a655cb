package config

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// draft writes a random document and notes the line of each key as it writes it: the naive twin of the index.
type draft struct {
	*rand.Rand
	text strings.Builder
	line int
	next int            // numbers the keys, so that none comes twice
	want map[string]int // path of a key, item numbers included: line
}

func (d *draft) put(s string) {
	d.text.WriteString(s)
	d.line += strings.Count(s, "\n")
}

func (d *draft) one(of ...string) string { return of[d.IntN(len(of))] }

// key returns a new name and a way to write it.
func (d *draft) key() (name, written string) {
	d.next++
	name = fmt.Sprintf("k%d", d.next)
	switch d.IntN(6) {
	case 0:
		return name, `"` + name + `"`
	case 1:
		return name, "'" + name + "'"
	case 2:
		return "é " + name, `"\u00e9\x20` + name + `"`
	case 3:
		return name + `\"`, `"` + name + `\\\""`
	}
	return name, name
}

// pair writes a key, dotted at times, and its value, and notes all parts.
func (d *draft) pair(path string, depth int) {
	at := d.line
	for {
		name, written := d.key()
		path += "|" + name
		d.put(written + d.one("", " ", "\t"))
		d.want[path] = at
		if d.IntN(5) > 0 {
			break
		}
		d.put("." + d.one("", " "))
	}
	d.put("=" + d.one("", " "))
	d.value(path, depth)
}

func (d *draft) value(path string, depth int) {
	kind := d.IntN(10)
	if depth == 0 {
		kind = d.IntN(7)
	}
	switch {
	case kind < 3:
		d.put(d.one("1", "-2.5e3", "true", "0xff", "1979-05-27T07:32:00Z", "1979-05-27 07:32:00", "nan"))
	case kind < 5:
		d.put(d.one(`""`, `"a = 1 # [b] \" \\"`, `''`, `'[c] = {'`, `'\'`, `"}"`))
	case kind < 7:
		d.put(d.one("\"\"\"\n[d]\ne = 1\\\n \"\"\\\" # \"\"\"\"", "'''\n[f]\n'' \\'''''", `""""""`, "'''\r\n'''", `"""a"""""`))
	case kind < 9:
		d.put("[")
		for i := range d.IntN(4) {
			d.gap()
			d.want[fmt.Sprintf("%s|%d", path, i)] = d.line
			d.value(fmt.Sprintf("%s|%d", path, i), depth-1)
			d.gap()
			d.put(",")
		}
		d.gap()
		d.put("]")
	default:
		d.put("{")
		for i := range d.IntN(4) {
			if i > 0 {
				d.put(",")
			}
			d.gap()
			d.pair(path, depth-1)
			d.gap()
		}
		d.put("}")
	}
}

// gap writes what may stand between the members of a list.
func (d *draft) gap() { d.put(d.one("", "", " ", "\t", "\n", "\r\n", "\n\n", " # ], } \" '\n")) }

// document writes pairs, then sections with pairs in them.
func (d *draft) document() {
	for section := range 6 {
		path, name, written := "", "", ""
		if section > 0 {
			name, written = d.key()
			path = "|" + name
			d.want[path] = d.line
			if d.IntN(3) == 0 {
				d.want[path+"|0"] = d.line
				d.put("[[" + d.one("", " ") + written + " ]]")
				path += "|0"
			} else {
				d.put("[" + written + "]")
			}
			d.put(d.one("", " ", " # [x]") + d.one("\n", "\r\n"))
		}
		for range d.IntN(5) {
			d.put(d.one("", "", "# a = 1\n", "\n", "\t"))
			d.pair(path, 3)
			d.put(d.one("", " ", " # b = \"\"\"") + d.one("\n", "\r\n"))
		}
	}
}

// TestIndexModel holds the index of random documents against the lines that were noted while they were written.
func TestIndexModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 500 {
		d := &draft{Rand: r, line: 1, want: make(map[string]int)}
		d.document()
		text := d.text.String()
		if _, err := decode(text); err != nil {
			t.Fatalf("the document is wrong: %v\n%s", err, text)
		}
		got := make(map[string]int)
		lines(index(text), "", got)
		for path, line := range d.want {
			if got[path] != line {
				t.Errorf("%q is at line %d, want %d", path, got[path], line)
			}
		}
		if len(got) != len(d.want) || t.Failed() {
			t.Fatalf("%d places, want %d, in\n%s", len(got), len(d.want), text)
		}
	}
}

func lines(p *place, path string, into map[string]int) {
	for name, below := range p.keys {
		into[path+"|"+name] = below.line
		lines(below, path+"|"+name, into)
	}
	for i, below := range p.items {
		item := fmt.Sprintf("%s|%d", path, i)
		into[item] = below.line
		lines(below, item, into)
	}
}
