package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/BurntSushi/toml"

	"edged/admin"
	"edged/bus"
	"edged/delivery"
	"edged/gateway"
	"edged/handover"
	"edged/health"
	"edged/registry"
	"edged/relay"
	"edged/room"
	"edged/tuning"
)

// maxFile bounds the text: no configuration is that large, and both parsers recurse into nested lists.
const maxFile = 256 << 10

// Config is edged.toml; each field is a section.
type Config struct {
	Gateway   gateway.Config        `toml:"gateway"`
	Listeners []gateway.Listener    `toml:"listener"`
	Manager   relay.Config          `toml:"manager"`
	Redis     Redis                 `toml:"redis"`
	Admin     admin.Config          `toml:"admin"`
	Health    health.Config         `toml:"health"`
	Tuning    tuning.Config         `toml:"tuning"`
	Keeper    handover.KeeperConfig `toml:"keeper"`
	Handover  handover.Config       `toml:"handover"`
	Delivery  delivery.Config       `toml:"delivery"`
	Slow      gateway.Slow          `toml:"slow"`
	Rooms     room.Limits           `toml:"rooms"`
	Registry  registry.Config       `toml:"registry"`
	Bus       bus.Config            `toml:"bus"`
	Offline   Offline               `toml:"offline"`
}

// Default returns what an empty file means.
func Default() *Config {
	return &Config{
		Gateway:   gateway.Default(),
		Listeners: []gateway.Listener{gateway.DefaultListener()},
		Manager:   relay.Default(),
		Redis:     defaultRedis(),
		Admin:     admin.Default(),
		Health:    health.Default(),
		Tuning:    tuning.Default(),
		Keeper:    handover.DefaultKeeper(),
		Handover:  handover.Default(),
		Delivery:  delivery.Default(),
		Slow:      gateway.DefaultSlow(),
		Rooms:     room.Default(),
		Registry:  registry.Default(),
		Bus:       bus.Default(),
		Offline:   defaultOffline(),
	}
}

// Load reads and checks a gateway's file at path. What is wrong inside it comes as Problems.
func Load(path string) (*Config, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, text)
}

// Parse reads and checks text, which errors call name. What is wrong inside it comes as Problems.
func Parse(name string, text []byte) (*Config, error) {
	c := Default()
	if err := parse(name, text, c); err != nil {
		return nil, err
	}
	return c, nil
}

// readFile reads the file at path; of one that is too large to be a configuration, a byte more than that.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	_ = f.Close() // it was only read
	return text, err
}

// file is the shape of one kind of file: a struct whose fields are sections, or lists of such.
type file interface {
	// check reports what no section alone can see.
	check(r *reader, root *place)
}

// parse reads text into c, which points to the defaults, and checks it.
func parse(name string, text []byte, c file) error {
	into := reflect.ValueOf(c).Elem()
	r := newReader(name, into.Type())
	if len(text) > maxFile {
		r.problem(&place{line: 1}, "", "the file is larger than %d KiB, which no configuration is", maxFile>>10)
		return r.problems()
	}
	plain := normalize(string(text))
	values, err := decode(plain)
	if err != nil {
		line, reason := syntax(err, plain)
		r.problem(&place{line: line}, "", "%s", reason)
		return r.problems()
	}
	root := index(plain)
	r.table(into, values, root, "")
	r.askAll(into, root)
	c.check(r, root)
	return r.problems()
}

// normalize takes away what differs between editors and means nothing: a byte order mark, and the carriage return
// before a newline, with which the library counts lines wrongly in some of its errors.
func normalize(text string) string {
	for {
		rest := text
		for _, mark := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} {
			rest = strings.TrimPrefix(rest, mark)
		}
		if rest == text {
			return strings.ReplaceAll(text, "\r\n", "\n")
		}
		text = rest
	}
}

// decode turns text into maps. The library panics where it doubts itself; a strange file must not end the process that
// was only asked to look at it.
func decode(text string) (values map[string]any, err error) {
	defer func() {
		if e := recover(); e != nil {
			err = fmt.Errorf("the file cannot be understood: %v", e)
		}
	}()
	_, err = toml.Decode(text, &values)
	return values, err
}

// syntax says where and why text is no TOML.
func syntax(err error, text string) (line int, reason string) {
	var pe toml.ParseError
	if !errors.As(err, &pe) {
		return 1, err.Error()
	}
	line, reason = max(pe.Position.Line, 1), strings.TrimSuffix(pe.Message, ".")
	if number, _, out := strings.Cut(reason, " is out of range for "); out { // the name of a Go type follows
		return line, "the number " + number + " is too large or too small"
	}
	if word, ok := strings.CutPrefix(reason, `expected value but found "`); ok {
		return line, `expected a value but found "` + strings.TrimSuffix(word, " instead") + "; text stands in quotes"
	}
	if strings.Contains(reason, `'\n'`) {
		// In some of these errors the library has counted the newline already, in others not; the offset is always that of the newline.
		line = 1 + strings.Count(text[:min(pe.Position.Start, len(text))], "\n")
	}
	reason = plainWords.Replace(reason)
	if !strings.HasPrefix(reason, "TOML") && reason != "" {
		reason = strings.ToLower(reason[:1]) + reason[1:]
	}
	return line, reason
}

// plainWords says for an operator what the library says for a programmer.
var plainWords = strings.NewReplacer(
	`'\n'`, "the end of the line",
	"unexpected EOF", "the file ends too early",
	"a top-level item to end with a newline, comment, or EOF", "nothing more on this line",
	"was already created as a hash", "has a value already and cannot be a section too",
	"was already created and cannot be used as an array", "stands there already and cannot be in double brackets too",
	"end of table array name delimiter ']'", "']]' behind the section name",
	"table name", "section name",
)
