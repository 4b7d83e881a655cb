package config

import (
	"strconv"
	"strings"
)

// place is where a key stands. Places form the same tree as the values that the library makes of the text: keys of a
// table, items of a list. Made by index, never changed after it.
type place struct {
	line  int
	keys  map[string]*place
	items []*place
}

// index notes the line of each key and list item. The text must have passed the library, which judges it; where it is
// no TOML the index ends early.
func index(text string) *place {
	root := &place{line: 1}
	s := &scanner{text: text, line: 1}
	table := root
	for {
		s.blank()
		switch {
		case s.pos == len(s.text):
			return root
		case s.eat('['):
			if table = s.header(root); table == nil {
				return root
			}
		case !s.pair(table):
			return root
		}
	}
}

// find goes down the tree as far as names lead; of a list of tables it takes the last. The place nearest to a key that
// is not in the file is that of its section, and that of a section the file's first line.
func (p *place) find(names ...string) (at *place, exact bool) {
	for _, name := range names {
		below := p.last().keys[name]
		if below == nil {
			return p, false
		}
		p = below
	}
	return p, true
}

// item returns the place of a list's item, or of the list where that is unknown.
func (p *place) item(i int) *place {
	if i < len(p.items) {
		return p.items[i]
	}
	return p
}

// last is the table that the next [header] below this name belongs to.
func (p *place) last() *place {
	if n := len(p.items); n > 0 {
		return p.items[n-1]
	}
	return p
}

func (p *place) child(name string, line int) *place {
	if c := p.keys[name]; c != nil {
		return c
	}
	if p.keys == nil {
		p.keys = make(map[string]*place)
	}
	c := &place{line: line}
	p.keys[name] = c
	return c
}

func (p *place) add(line int) *place {
	c := &place{line: line}
	p.items = append(p.items, c)
	return c
}

// scanner walks over the text; line is that of pos.
type scanner struct {
	text string
	pos  int
	line int
}

// header reads [name] or [[name]] behind its first bracket and returns the table that the next pairs belong to.
func (s *scanner) header(root *place) *place {
	many, line := s.eat('['), s.line
	names := s.names()
	if names == nil || !s.eat(']') || many && !s.eat(']') {
		return nil
	}
	at := root
	for _, name := range names[:len(names)-1] {
		at = at.child(name, line).last()
	}
	at = at.child(names[len(names)-1], line)
	if many {
		return at.add(line)
	}
	at.line = line // a name that was only implied before, by [name.below], has its own line now
	return at.last()
}

// pair reads `names = value` into table.
func (s *scanner) pair(table *place) bool {
	line := s.line
	names := s.names()
	if names == nil || !s.eat('=') {
		return false
	}
	for _, name := range names {
		table = table.child(name, line)
	}
	return s.value(table)
}

func (s *scanner) value(at *place) bool {
	s.spaces()
	switch {
	case s.eat('['):
		return s.list(']', func() bool { return s.value(at.add(s.line)) })
	case s.eat('{'):
		return s.list('}', func() bool { return s.pair(at) })
	case strings.HasPrefix(s.rest(), `"`), strings.HasPrefix(s.rest(), `'`):
		return s.str()
	}
	n := strings.IndexAny(s.rest(), ",]}#\n")
	if n < 0 {
		n = len(s.rest())
	}
	s.skip(n)
	return n > 0
}

// list reads members up to end. Commas are not judged.
func (s *scanner) list(end byte, member func() bool) bool {
	for {
		s.blank()
		if s.eat(end) {
			return true
		}
		if s.eat(',') {
			continue
		}
		if !member() {
			return false
		}
	}
}

// names reads a dotted key; nil where none stands.
func (s *scanner) names() []string {
	var names []string
	for {
		s.spaces()
		name, ok := s.name()
		if !ok {
			return nil
		}
		names = append(names, name)
		s.spaces()
		if !s.eat('.') {
			return names
		}
	}
}

func (s *scanner) name() (string, bool) {
	rest := s.rest()
	if strings.HasPrefix(rest, `"`) || strings.HasPrefix(rest, `'`) {
		n := quoted(rest)
		if n < 0 {
			return "", false
		}
		s.skip(n)
		if rest[0] == '"' {
			return unescape(rest[1 : n-1]), true
		}
		return rest[1 : n-1], true
	}
	n := 0
	for n < len(rest) && bare(rest[n]) {
		n++
	}
	s.skip(n)
	return rest[:n], n > 0
}

func bare(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// quoted returns the length of the one-line string that s begins with, quotes included; -1 if it does not end.
func quoted(s string) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == s[0]:
			return i + 1
		case s[i] == '\\' && s[0] == '"':
			i++
		}
	}
	return -1
}

// str skips a string of any of the four forms.
func (s *scanner) str() bool {
	rest := s.rest()
	quote := rest[:1]
	if !strings.HasPrefix(rest, strings.Repeat(quote, 3)) {
		n := quoted(rest)
		s.skip(max(n, 0))
		return n > 0
	}
	for i := 3; i < len(rest); i++ {
		if rest[i] == '\\' && quote == `"` {
			i++
			continue
		}
		// Up to five quotes may end the string: those before the last three belong to it.
		if run := len(rest[i:]) - len(strings.TrimLeft(rest[i:], quote)); run >= 3 {
			s.skip(i + run)
			return true
		}
	}
	return false
}

// unescape gives a quoted key the form in which the library knows it.
func unescape(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 || i+1 == len(s) {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[i+1]]
		if digits > len(s)-i-2 {
			return b.String()
		}
		if digits > 0 {
			r, _ := strconv.ParseUint(s[i+2:i+2+digits], 16, 32) // the library has seen that these are digits
			b.WriteRune(rune(r))
		} else {
			b.WriteByte(escaped(s[i+1]))
		}
		s = s[i+2+digits:]
	}
}

func escaped(c byte) byte {
	const from, to = "btnfre", "\b\t\n\f\r\x1b"
	if i := strings.IndexByte(from, c); i >= 0 {
		return to[i]
	}
	return c
}

// blank skips what may stand between two pairs or members.
func (s *scanner) blank() {
	for {
		rest := s.rest()
		s.skip(len(rest) - len(strings.TrimLeft(rest, " \t\r\n")))
		if !strings.HasPrefix(s.rest(), "#") {
			return
		}
		n := strings.IndexByte(s.rest(), '\n')
		if n < 0 {
			n = len(s.rest())
		}
		s.skip(n)
	}
}

func (s *scanner) spaces() { s.skip(len(s.rest()) - len(strings.TrimLeft(s.rest(), " \t"))) }

func (s *scanner) rest() string { return s.text[s.pos:] }

func (s *scanner) skip(n int) {
	s.line += strings.Count(s.text[s.pos:s.pos+n], "\n")
	s.pos += n
}

func (s *scanner) eat(c byte) bool {
	if s.pos == len(s.text) || s.text[s.pos] != c {
		return false
	}
	s.skip(1)
	return true
}
