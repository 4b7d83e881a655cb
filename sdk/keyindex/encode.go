package keyindex

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
)

// UnknownError means that a map has names which the schema does not.
type UnknownError struct {
	Names []string // from the outermost map, as in members[3].nickname; sorted
}

// Error lists the names.
func (e *UnknownError) Error() string {
	return "keyindex: names that are not in the schema: " + strings.Join(e.Names, ", ")
}

// Marshal returns the bytes of an edgedpb.Message with this body and no header: what goes into a DATA or PUSH. Equal maps
// give equal bytes. The error is an UnknownError if all that is wrong are names.
func (s *Schema) Marshal(body map[string]any) ([]byte, error) {
	values, err := s.Values(body)
	if err != nil {
		return nil, err
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&edgedpb.Message{Body: values})
	if err != nil {
		return nil, fmt.Errorf("keyindex: %w", err)
	}
	return b, nil
}

// Values returns what Marshal packs, for the body or the header of a Message that is made elsewhere, client.NewMessage say.
// Numbers 1 to 3 of a header are taken by the tag and the request number.
func (s *Schema) Values(m map[string]any) (map[uint32]*edgedpb.Value, error) {
	e := encoder{}
	out, err := e.fields(s, reflect.ValueOf(m), place{})
	if err != nil {
		return nil, fmt.Errorf("keyindex: %w", err)
	}
	if len(e.unknown) > 0 {
		slices.Sort(e.unknown)
		return nil, &UnknownError{e.unknown}
	}
	return out, nil
}

// encoder turns values into those of the wire.
type encoder struct {
	unknown []string
}

// place is where a value stands; it is put into words only when something is wrong there.
type place struct {
	outer *place
	name  string
	index int // in a list; -1: it has a name
	depth int
}

func (p *place) in(name string, index int) place { return place{p, name, index, p.depth + 1} }

func (p *place) String() string {
	switch {
	case p.outer == nil:
		return ""
	case p.index >= 0:
		return fmt.Sprintf("%v[%d]", p.outer, p.index)
	case p.outer.outer == nil:
		return p.name
	}
	return fmt.Sprintf("%v.%s", p.outer, p.name)
}

// fields turns a map, whose keys are strings.
func (e *encoder) fields(s *Schema, m reflect.Value, at place) (map[uint32]*edgedpb.Value, error) {
	out := make(map[uint32]*edgedpb.Value, m.Len())
	for entry := m.MapRange(); entry.Next(); {
		name := entry.Key().String()
		here := at.in(name, -1)
		k := s.byName(name)
		if k == nil {
			e.unknown = append(e.unknown, here.String())
			continue
		}
		if out[k.number] != nil {
			return nil, fmt.Errorf("%v: number %d is there twice", &here, k.number)
		}
		v, err := e.value(k.inner, entry.Value(), here)
		if err != nil {
			return nil, err
		}
		out[k.number] = v
	}
	return out, nil
}

// value turns anything; s holds the names that maps in it may have.
func (e *encoder) value(s *Schema, v reflect.Value, at place) (*edgedpb.Value, error) {
	if at.depth > mostDepth {
		return nil, fmt.Errorf("%.100s: more than %d maps and lists inside each other", &at, mostDepth)
	}
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	switch {
	case !v.IsValid():
		return &edgedpb.Value{}, nil
	case v.Kind() == reflect.Bool:
		return &edgedpb.Value{Kind: &edgedpb.Value_Bool{Bool: v.Bool()}}, nil
	case v.CanInt():
		return integer(v.Int()), nil
	case v.CanUint() && v.Uint() <= math.MaxInt64:
		return integer(int64(v.Uint())), nil
	case v.CanUint():
		return nil, fmt.Errorf("%v: %d does not fit 64 bits with a sign", &at, v.Uint())
	case v.CanFloat():
		return double(v.Float()), nil
	case v.Type() == reflect.TypeFor[json.Number]():
		return number(json.Number(v.String()), at)
	case v.Kind() == reflect.String && !utf8.ValidString(v.String()):
		return nil, fmt.Errorf("%v: not UTF-8", &at)
	case v.Kind() == reflect.String:
		return &edgedpb.Value{Kind: &edgedpb.Value_String_{String_: v.String()}}, nil
	case v.Kind() == reflect.Slice || v.Kind() == reflect.Array:
		return e.list(s, v, at)
	case v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String:
		fields, err := e.fields(s, v, at)
		return &edgedpb.Value{Kind: &edgedpb.Value_Map{Map: &edgedpb.Map{Fields: fields}}}, err
	}
	return nil, fmt.Errorf("%v: a %v has no form on the wire", &at, v.Type())
}

func integer(n int64) *edgedpb.Value  { return &edgedpb.Value{Kind: &edgedpb.Value_Int{Int: n}} }
func double(f float64) *edgedpb.Value { return &edgedpb.Value{Kind: &edgedpb.Value_Double{Double: f}} }

// number turns a number of JSON.
func number(n json.Number, at place) (*edgedpb.Value, error) {
	if i, err := n.Int64(); err == nil {
		return integer(i), nil
	}
	f, err := n.Float64()
	if err != nil {
		return nil, fmt.Errorf("%v: %q is not a number", &at, n)
	}
	return double(f), nil
}

// list turns a slice or an array; one of bytes is bytes.
func (e *encoder) list(s *Schema, v reflect.Value, at place) (*edgedpb.Value, error) {
	if v.Type().Elem() == reflect.TypeFor[byte]() {
		b := make([]byte, v.Len())
		reflect.Copy(reflect.ValueOf(b), v)
		return &edgedpb.Value{Kind: &edgedpb.Value_Bytes{Bytes: b}}, nil
	}
	items := make([]*edgedpb.Value, v.Len())
	for i := range items {
		var err error
		if items[i], err = e.value(s, v.Index(i), at.in("", i)); err != nil {
			return nil, err
		}
	}
	return &edgedpb.Value{Kind: &edgedpb.Value_List{List: &edgedpb.List{Items: items}}}, nil
}
