package config

import (
	"fmt"
	"iter"
	"reflect"
	"strconv"
	"strings"
	"time"

	"edged/gateway"
)

// reader moves the library's maps into the structs and gathers what is wrong. The library's own way into structs ends
// at the first wrong value and speaks of Go types.
type reader struct {
	file  string
	shape reflect.Type // of the whole file: its sections
	found Problems
	said  map[Problem]bool // those in found
	wrong map[spot]bool    // keys that could not be read
}

func newReader(file string, shape reflect.Type) *reader {
	return &reader{file: file, shape: shape, said: make(map[Problem]bool), wrong: make(map[spot]bool)}
}

// table fills a struct from the keys of a table; path is the table's name, empty for the whole file.
func (r *reader) table(dst reflect.Value, src map[string]any, at *place, path string) {
	for key, v := range src {
		where, _ := at.find(key)
		full := join(path, key)
		if i := fieldOf(dst.Type(), key); i >= 0 {
			r.value(dst.Field(i), v, where, full)
			continue
		}
		r.problem(where, full, "%s", r.unknown(dst.Type(), key, v, path))
	}
}

func (r *reader) value(dst reflect.Value, src any, at *place, path string) {
	if dst.Type() == reflect.TypeFor[time.Duration]() {
		r.duration(dst, src, at, path)
		return
	}
	ok, want := true, ""
	switch dst.Kind() {
	case reflect.Struct:
		r.section(dst, src, at, path)
	case reflect.Slice:
		r.list(dst, src, at, path)
	case reflect.String:
		ok, want = set(src, dst.SetString), "text in quotes"
	case reflect.Bool:
		ok, want = set(src, dst.SetBool), "true or false"
	case reflect.Int, reflect.Int64:
		ok, want = set(src, dst.SetInt), "a whole number"
	case reflect.Float64:
		ok, want = set(src, func(n int64) { dst.SetFloat(float64(n)) }) || set(src, dst.SetFloat), "a number"
	default:
		panic("config: no rule for " + path + " of type " + dst.Type().String())
	}
	switch {
	case ok:
	case strings.HasSuffix(path, "token"), strings.HasSuffix(path, "password"): // a secret is no matter for a log, even a wrong one
		r.problem(at, path, "must be %s", want)
	default:
		r.problem(at, path, "must be %s, not %s", want, describe(src))
	}
}

// set hands src to put if it has put's type; otherwise the setting keeps its default.
func set[T any](src any, put func(T)) bool {
	v, ok := src.(T)
	if ok {
		put(v)
	}
	return ok
}

func (r *reader) duration(dst reflect.Value, src any, at *place, path string) {
	switch v := src.(type) {
	case string:
		if d, err := time.ParseDuration(v); err == nil {
			dst.SetInt(int64(d))
		} else if _, err := strconv.ParseFloat(v, 64); err == nil {
			r.problem(at, path, `%q has no unit; write a duration such as "%ss"`, v, v)
		} else {
			r.problem(at, path, `%q is not a duration such as "30s" or "1m30s"`, v)
		}
	case int64:
		r.problem(at, path, `the bare number %d has no unit; write a duration such as "%ds"`, v, v)
	default:
		r.problem(at, path, `must be a duration such as "30s", not %s`, describe(src))
	}
}

// section fills a struct from a table, which a [header] or braces made.
func (r *reader) section(dst reflect.Value, src any, at *place, path string) {
	switch v := src.(type) {
	case map[string]any:
		r.table(dst, v, at, path)
	case []map[string]any:
		r.problem(at, path, "there is one such section only; write [%s] with single brackets", path)
	default:
		r.problem(at, path, "must be a section with keys, not %s", describe(src))
	}
}

// list fills a slice. The file's list replaces the default one.
func (r *reader) list(dst reflect.Value, src any, at *place, path string) {
	elem := dst.Type().Elem()
	items, ok := itemsOf(src)
	switch {
	case !ok && elem.Kind() == reflect.Struct:
		r.problem(at, path, "there may be several such sections; write [[%s]] with double brackets", path)
		return
	case !ok:
		r.problem(at, path, "must be a list in brackets, not %s", describe(src))
		return
	case len(items) == 0 && elem.Kind() == reflect.Struct && dst.Len() > 0:
		r.problem(at, path, "there must be at least one")
		return
	case len(items) == 0 && dst.Len() == 0:
		return // one empty list is as good as the other, and the default stays comparable
	}
	before, out := len(r.found), reflect.MakeSlice(dst.Type(), len(items), len(items))
	for i, item := range items {
		if elem == reflect.TypeFor[gateway.Listener]() {
			out.Index(i).Set(reflect.ValueOf(gateway.DefaultListener()))
		}
		r.value(out.Index(i), item, at.item(i), path)
	}
	if elem.Kind() != reflect.Struct && len(r.found) > before {
		r.wrong[spot{at.line, path}] = true // a list with a hole in it says nothing as a whole
		return
	}
	dst.Set(out)
}

// itemsOf sees through the two forms that the library has for lists.
func itemsOf(src any) ([]any, bool) {
	switch v := src.(type) {
	case []any:
		return v, true
	case []map[string]any:
		items := make([]any, len(v))
		for i := range v {
			items[i] = v[i]
		}
		return items, true
	}
	return nil, false
}

// describe names a value as its writer sees it.
func describe(src any) string {
	switch v := src.(type) {
	case string:
		return "the text " + strconv.Quote(shorten(v))
	case int64, float64:
		return fmt.Sprintf("the number %v", v)
	case bool:
		return strconv.FormatBool(v)
	case time.Time:
		return "a date or time"
	case map[string]any:
		return "a table"
	}
	return "a list"
}

func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// unknown says what may have been meant by a key that the struct t does not have.
func (r *reader) unknown(t reflect.Type, key string, v any, path string) string {
	what := "unknown key"
	if path == "" {
		what = "unknown section"
		if _, table := v.(map[string]any); !table {
			if _, tables := v.([]map[string]any); !tables {
				what = "unknown key outside of every section"
			}
		}
	}
	if name := nearest(key, keysOf(t)); name != "" {
		return fmt.Sprintf("%s; did you mean %q?", what, name)
	}
	if section := r.owner(key); section != "" {
		return fmt.Sprintf("%s; %q belongs to [%s]", what, key, section)
	}
	return what
}

// owner returns the section that has the key.
func (r *reader) owner(key string) string {
	for i, name := range settings(r.shape) {
		section := r.shape.Field(i).Type
		if section.Kind() == reflect.Slice {
			section = section.Elem()
		}
		if fieldOf(section, key) >= 0 {
			return name
		}
	}
	return ""
}

func fieldOf(t reflect.Type, key string) int {
	for i, name := range settings(t) {
		if name == key {
			return i
		}
	}
	return -1
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for _, key := range settings(t) {
		keys = append(keys, key)
	}
	return keys
}

// settings yields the number and the key of each exported field. One without a key would be a setting that nobody can
// set, and nobody is told so.
func settings(t reflect.Type) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		for i := range t.NumField() {
			f := t.Field(i)
			key := f.Tag.Get("toml")
			if f.IsExported() && key == "" {
				panic("config: field " + f.Name + " of " + t.String() + " has no toml tag")
			}
			if f.IsExported() && !yield(i, key) {
				return
			}
		}
	}
}

func join(path, key string) string {
	if strings.IndexFunc(key, func(r rune) bool { return r >= 0x80 || !bare(byte(r)) }) >= 0 || key == "" {
		key = strconv.Quote(shorten(key)) // also keeps a newline in a key from making two lines of one problem
	}
	if path == "" {
		return key
	}
	return path + "." + key
}
