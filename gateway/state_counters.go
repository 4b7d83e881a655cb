package gateway

import "reflect"

// Counters go on in the successor: whoever watches a gateway sees no jump back. They are told by their names, so that a release
// may add and drop some: each is its name (text), how many numbers it has (u8), these (u64).

// counter is one counter of a struct, or an array of them.
type counter struct {
	name string // as "Sent.Batches"
	path []int
}

// countersOf returns all fields of type uint64, and of arrays of it, also those of structs within. Others are no counters.
func countersOf(t reflect.Type) []counter { return fieldsOf(nil, t, "", nil) }

func fieldsOf(all []counter, t reflect.Type, prefix string, path []int) []counter {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(path[:len(path):len(path)], i)
		switch name := prefix + f.Name; {
		case f.Type.Kind() == reflect.Uint64, f.Type.Kind() == reflect.Array && f.Type.Elem().Kind() == reflect.Uint64:
			all = append(all, counter{name, at})
		case f.Type.Kind() == reflect.Struct:
			all = fieldsOf(all, f.Type, name+".", at)
		}
	}
	return all
}

// appendCounters appends the counters of the struct that v points to.
func appendCounters[T any](b []byte, v *T) []byte {
	s := reflect.ValueOf(v).Elem()
	for _, c := range countersOf(s.Type()) {
		f := s.FieldByIndex(c.path)
		if b = text(b, c.name); f.Kind() == reflect.Uint64 {
			b = u64(append(b, 1), f.Uint())
			continue
		}
		b = append(b, byte(f.Len()))
		for i := range f.Len() {
			b = u64(b, f.Index(i).Uint())
		}
	}
	return b
}

// loadCounters reads what appendCounters wrote. What the struct does not know is left out.
func loadCounters[T any](in *input, v *T) {
	s := reflect.ValueOf(v).Elem()
	known := map[string][]int{}
	for _, c := range countersOf(s.Type()) {
		known[c.name] = c.path
	}
	for len(in.rest) > 0 && !in.bad {
		path, ok := known[string(in.text())]
		n := int(in.u8())
		for i := range n {
			value := in.u64()
			if !ok || in.bad {
				continue
			}
			if f := s.FieldByIndex(path); f.Kind() == reflect.Uint64 && n == 1 {
				f.SetUint(value)
			} else if f.Kind() == reflect.Array && i < f.Len() {
				f.Index(i).SetUint(value)
			}
		}
	}
}

// addCounters adds the counters of one struct to those of another.
func addCounters[T any](to, more *T) {
	d, s := reflect.ValueOf(to).Elem(), reflect.ValueOf(more).Elem()
	for _, c := range countersOf(s.Type()) {
		f, g := d.FieldByIndex(c.path), s.FieldByIndex(c.path)
		if f.Kind() == reflect.Uint64 {
			f.SetUint(f.Uint() + g.Uint())
			continue
		}
		for i := range f.Len() {
			f.Index(i).SetUint(f.Index(i).Uint() + g.Index(i).Uint())
		}
	}
}
