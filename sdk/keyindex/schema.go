package keyindex

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a schema and of messages.
const (
	mostText  = 1 << 20 // bytes of a schema
	mostDepth = 64      // maps and lists inside each other
)

// Schema says which number stands for which name, in one map and in the maps within it. It does not change.
type Schema struct {
	names   map[string]*key
	numbers map[uint32]*key // those that were withdrawn too
}

// key is one line of a schema.
type key struct {
	name   string // empty: withdrawn
	number uint32
	inner  *Schema // nil: no names are known inside of it
}

// Parse reads the text of a schema, of at most 1 MiB. An error tells the line.
func Parse(r io.Reader) (*Schema, error) {
	p := parser{open: []*Schema{newSchema()}}
	limited := &io.LimitedReader{R: r, N: mostText + 1}
	lines := bufio.NewScanner(limited)
	for n := 1; lines.Scan(); n++ {
		text := lines.Text()
		if n == 1 {
			text = strings.TrimPrefix(text, "\ufeff") // which some editors put there
		}
		if err := p.line(text); err != nil {
			return nil, fmt.Errorf("keyindex: line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("keyindex: schema: %w", err)
	}
	if limited.N == 0 {
		return nil, fmt.Errorf("keyindex: schema of more than %d bytes", mostText)
	}
	if len(p.open) > 1 {
		return nil, errors.New("keyindex: schema ends before its last }")
	}
	return p.open[0], nil
}

func newSchema() *Schema {
	return &Schema{names: map[string]*key{}, numbers: map[uint32]*key{}}
}

// parser is a schema that is being read; open are the maps that the next line lies in, outermost first.
type parser struct {
	open []*Schema
}

func (p *parser) line(text string) error {
	if !utf8.ValidString(text) {
		return errors.New("not UTF-8")
	}
	text, _, _ = strings.Cut(text, "#")
	words := strings.Fields(text)
	switch {
	case len(words) == 0:
		return nil
	case len(words) == 1 && words[0] == "}":
		if len(p.open) == 1 {
			return errors.New("} without a {")
		}
		p.open = p.open[:len(p.open)-1]
		return nil
	case len(words) == 2, len(words) == 3 && words[2] == "{":
		return p.key(words[0], words[1], len(words) == 3)
	}
	return fmt.Errorf("%q is not a name and a number", strings.TrimSpace(text))
}

func (p *parser) key(name, number string, hasInner bool) error {
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return fmt.Errorf("%q is not a number from 0 to 4294967295", number)
	}
	k := &key{name: name, number: uint32(n)}
	if name == "-" {
		if k.name = ""; hasInner {
			return errors.New("a withdrawn number has no names inside")
		}
	} else if strings.ContainsFunc(name, forbidden) {
		return fmt.Errorf("name %q holds braces, quotes or what cannot be printed", name)
	}
	s := p.open[len(p.open)-1]
	if s.numbers[k.number] != nil {
		return fmt.Errorf("number %d is taken", k.number)
	}
	if k.name != "" && s.names[k.name] != nil {
		return fmt.Errorf("name %q is taken", k.name)
	}
	s.numbers[k.number] = k
	if k.name != "" {
		s.names[k.name] = k
	}
	if !hasInner {
		return nil
	}
	if len(p.open) == mostDepth {
		return fmt.Errorf("more than %d maps inside each other", mostDepth)
	}
	k.inner = newSchema()
	p.open = append(p.open, k.inner)
	return nil
}

func forbidden(r rune) bool { return strings.ContainsRune("{}\"'`", r) || !unicode.IsPrint(r) }

// Extends says whether readers and writers with an older schema understand those with this one: each number of the old
// schema has the same name here, or was withdrawn. The error names the first one of which that is not so.
func (s *Schema) Extends(old *Schema) error {
	for _, n := range slices.Sorted(maps.Keys(old.numbers)) {
		was, is := old.numbers[n], s.numbers[n]
		switch {
		case is == nil:
			return fmt.Errorf("keyindex: number %d, %s, is gone: withdraw it with - %d", n, was, n)
		case is.name == "":
		case is.name != was.name:
			return fmt.Errorf("keyindex: number %d was %s and is %s", n, was, is)
		case was.inner != nil && is.inner == nil:
			return fmt.Errorf("keyindex: %s has no names inside any more", was)
		case was.inner != nil:
			if err := is.inner.Extends(was.inner); err != nil {
				return fmt.Errorf("%w, in %s", err, was)
			}
		}
	}
	return nil
}

// String quotes the name, for errors.
func (k *key) String() string {
	if k.name == "" {
		return "withdrawn"
	}
	return strconv.Quote(k.name)
}

// byName finds a key by its name, or by # and its number; nil: it is unknown. A nil Schema knows no names.
func (s *Schema) byName(name string) *key {
	if digits, ok := strings.CutPrefix(name, "#"); ok {
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || strconv.FormatUint(n, 10) != digits {
			return nil // a number has one name only
		}
		return s.byNumber(uint32(n))
	}
	if s == nil {
		return nil
	}
	return s.names[name]
}

// byNumber finds a key by its number. One that is unknown or withdrawn is called by the number.
func (s *Schema) byNumber(n uint32) *key {
	if s != nil {
		if k := s.numbers[n]; k != nil && k.name != "" {
			return k
		}
	}
	return &key{name: "#" + strconv.FormatUint(uint64(n), 10), number: n}
}
