package keyindex

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
)

// recursion is how deep protobuf may go: a map within a map is a Value, a Map and an entry of it.
const recursion = 3*mostDepth + 3

// Unmarshal returns the body of the edgedpb.Message in b, with names for its numbers; doc.go tells the types. What the schema
// does not know is called by its number, as in "#7". A header is passed over: Names is for one that was read elsewhere.
func (s *Schema) Unmarshal(b []byte) (map[string]any, error) {
	var m edgedpb.Message
	if err := (proto.UnmarshalOptions{RecursionLimit: recursion}).Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("keyindex: %w", err)
	}
	return s.Names(m.GetBody())
}

// Names is Unmarshal for the body or the header of a Message. It fails only if more than 64 maps and lists lie inside each
// other. Bytes are shared with the Message.
func (s *Schema) Names(values map[uint32]*edgedpb.Value) (map[string]any, error) {
	return s.fields(values, 1)
}

func (s *Schema) fields(values map[uint32]*edgedpb.Value, depth int) (map[string]any, error) {
	out := make(map[string]any, len(values))
	for n, v := range values {
		k := s.byNumber(n)
		var err error
		if out[k.name], err = k.inner.value(v, depth); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// value turns a Value; s, which may be nil, holds the names of the maps in it.
func (s *Schema) value(v *edgedpb.Value, depth int) (any, error) {
	if depth > mostDepth {
		return nil, fmt.Errorf("keyindex: more than %d maps and lists inside each other", mostDepth)
	}
	switch k := v.GetKind().(type) {
	case *edgedpb.Value_Int:
		return k.Int, nil
	case *edgedpb.Value_Double:
		return k.Double, nil
	case *edgedpb.Value_Bool:
		return k.Bool, nil
	case *edgedpb.Value_String_:
		return k.String_, nil
	case *edgedpb.Value_Bytes:
		return k.Bytes, nil
	case *edgedpb.Value_Map:
		return s.fields(k.Map.GetFields(), depth+1)
	case *edgedpb.Value_List:
		out := make([]any, len(k.List.GetItems()))
		for i, item := range k.List.GetItems() {
			var err error
			if out[i], err = s.value(item, depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return nil, nil // of no kind, or of one that a newer api has
}
