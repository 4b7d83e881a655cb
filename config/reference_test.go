package config_test

import (
	"errors"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"edged/config"
	"edged/dispatch"
)

// The reference is made of what cannot be stale: keys, types and defaults from the structs, ranges from what Parse says about
// values, and the words from the files of etc/, which other tests hold against the structs.

// kindOfFile is one kind of configuration file.
type kindOfFile struct {
	name     string
	daemon   string // whose it is
	defaults any
	parse    func(text string) error
}

func kindsOfFile() []kindOfFile {
	dispatching := config.DefaultDispatch()
	dispatching.SLBs = []dispatch.SLB{{}} // there is none by default, and its keys are to be seen
	return []kindOfFile{
		{"edged.toml", "edged serve", *config.Default(), func(text string) error {
			_, err := config.Parse("x", []byte(text))
			return err
		}},
		{"dispatch.toml", "edged dispatch", *dispatching, func(text string) error {
			_, err := config.ParseDispatch("x", []byte(text))
			return err
		}},
		{"queue.toml", "edged queue", *config.DefaultQueue(), func(text string) error {
			_, err := config.ParseQueue("x", []byte(text))
			return err
		}},
	}
}

// section is one [section] or [[section]] of a file, in the order of the example.
type section struct {
	name  string
	many  bool
	words string
	keys  []setting
}

// setting is one key as the reference tells it.
type setting struct {
	name, value, preset string // preset: the default as it stands in a file
	words               string
}

// reference reads one kind of file from its example and its struct.
func reference(t *testing.T, k kindOfFile) (intro string, sections []section) {
	t.Helper()
	text, err := os.ReadFile("../etc/" + k.name)
	if err != nil {
		t.Fatal(err)
	}
	intro, sections = readExample(string(text))
	values := map[string]reflect.Value{}
	walk(reflect.ValueOf(k.defaults), "", func(path string, v reflect.Value) {
		values[strings.Replace(path, ".0.", ".", 1)] = v
	})
	for i := range sections {
		s := &sections[i]
		var keys []setting
		for _, key := range s.keys {
			keys = append(keys, k.explain(t, s, key, values)...)
		}
		s.keys = keys
	}
	for path := range values {
		t.Errorf("%s does not stand in etc/%s", path, k.name)
	}
	return intro, sections
}

// explain adds what the struct knows of a key. A key that is a table becomes several, below its words.
func (k kindOfFile) explain(t *testing.T, s *section, key setting, values map[string]reflect.Value) []setting {
	t.Helper()
	path := s.name + "." + key.name
	if v, ok := values[path]; ok {
		delete(values, path)
		key.value = k.valueOf(s, key, v)
		return []setting{key}
	}
	parts := regexp.MustCompile(`([a-z_]+) = ([^,} ]+)`).FindAllStringSubmatch(key.preset, -1)
	if len(parts) == 0 {
		t.Fatalf("etc/%s has %s, and the struct does not", k.name, path)
	}
	key.value = "table"
	all := []setting{key}
	for _, m := range parts {
		v, ok := values[path+"."+m[1]]
		if !ok {
			t.Fatalf("etc/%s has %s.%s, and the struct does not", k.name, path, m[1])
		}
		delete(values, path+"."+m[1])
		below := setting{name: key.name + "." + m[1], preset: m[2], words: key.words}
		below.value = k.valueOf(s, below, v)
		below.words = ""
		all = append(all, below)
	}
	return all
}

// readExample takes an example apart. A section that stands in a comment is one too: there is none of it by default.
func readExample(text string) (intro string, sections []section) {
	var words []string
	settled := regexp.MustCompile(`^#?([a-z0-9_]+) = (.*)$`)
	header := regexp.MustCompile(`^#?(\[\[?)([a-z.]+)\]\]?$`)
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := header.FindStringSubmatch(line); m != nil {
			sections = append(sections, section{name: m[2], many: m[1] == "[[", words: strings.Join(words, " ")})
			words = nil
		} else if m := settled.FindStringSubmatch(line); m != nil {
			preset, beside, _ := strings.Cut(m[2], " # ")
			if strings.HasPrefix(line, "#") {
				preset = "" // it is an example
			}
			if beside != "" {
				words = append(words, beside)
			}
			s := &sections[len(sections)-1]
			s.keys = append(s.keys, setting{name: m[1], preset: preset, words: strings.Join(words, " ")})
			words = nil
		} else if line == "" {
			if sections == nil {
				intro = strings.Join(words, " ")
			}
			words = nil
		} else {
			words = append(words, strings.TrimPrefix(line, "# "))
		}
	}
	return intro, sections
}

// valueOf says what may stand behind a key: its type, its unit, and the bounds that the program itself obeys.
func (k kindOfFile) valueOf(s *section, key setting, v reflect.Value) string {
	accepts := func(value string) bool { return k.accepts(s, key.name, value) }
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return "duration" + durations(accepts, time.Duration(v.Int()))
	case v.CanInt():
		return unit(key.words) + integers(accepts, v.Int())
	case v.CanFloat():
		return "number" + hundredths(accepts, v.Float())
	case v.Kind() == reflect.Bool:
		return "true or false"
	case v.Kind() == reflect.Slice:
		return "list of texts"
	}
	if names := choices(accepts, key.words); names != "" {
		return names
	}
	return "text"
}

// accepts says whether the file may have that value. What it says of two keys that do not fit together is about the other's default.
func (k kindOfFile) accepts(s *section, key, value string) bool {
	name, below, nested := strings.Cut(key, ".")
	if nested {
		value = "{ " + below + " = " + value + " }"
	}
	head := "[" + s.name + "]"
	if s.many {
		head = "[" + head + "]"
	}
	var problems config.Problems
	if !errors.As(k.parse(head+"\n"+name+" = "+value+"\n"), &problems) {
		return true
	}
	for _, p := range problems {
		full := s.name + "." + key
		if p.Key == full && !otherKey.MatchString(p.Reason) || p.Key == "" {
			return false
		}
	}
	return true
}

// otherKey finds the reasons that are about two keys.
var otherKey = regexp.MustCompile(`shorter than [a-z_.]+ \(|longer than [a-z_.]+ \(|less than [a-z_.]+ \(`)
