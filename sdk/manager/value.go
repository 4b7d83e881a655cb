package manager

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
)

// ErrValue is returned for a Go value that no Value can hold.
var ErrValue = errors.New("manager: no Value can hold this")

// NewValue makes a Value of a Go value: of any integer type but those beyond int64, float32, float64, bool, string,
// []byte, map[uint32]any, []any, or *edgedpb.Value, which is taken as it is.
func NewValue(v any) (*edgedpb.Value, error) {
	switch v := v.(type) {
	case *edgedpb.Value:
		if v == nil {
			return nil, fmt.Errorf("%w: nil", ErrValue)
		}
		return v, nil
	case bool:
		return &edgedpb.Value{Kind: &edgedpb.Value_Bool{Bool: v}}, nil
	case string:
		return &edgedpb.Value{Kind: &edgedpb.Value_String_{String_: v}}, nil
	case []byte:
		return &edgedpb.Value{Kind: &edgedpb.Value_Bytes{Bytes: v}}, nil
	case float32:
		return &edgedpb.Value{Kind: &edgedpb.Value_Double{Double: float64(v)}}, nil
	case float64:
		return &edgedpb.Value{Kind: &edgedpb.Value_Double{Double: v}}, nil
	case map[uint32]any:
		fields, err := newValues(v)
		return &edgedpb.Value{Kind: &edgedpb.Value_Map{Map: &edgedpb.Map{Fields: fields}}}, err
	case []any:
		return newList(v)
	}
	n, ok := integer(v)
	if !ok {
		return nil, fmt.Errorf("%w: %T", ErrValue, v)
	}
	return &edgedpb.Value{Kind: &edgedpb.Value_Int{Int: n}}, nil
}

func newList(list []any) (*edgedpb.Value, error) {
	items := make([]*edgedpb.Value, len(list))
	for i, v := range list {
		var err error
		if items[i], err = NewValue(v); err != nil {
			return nil, err
		}
	}
	return &edgedpb.Value{Kind: &edgedpb.Value_List{List: &edgedpb.List{Items: items}}}, nil
}

func newValues(m map[uint32]any) (map[uint32]*edgedpb.Value, error) {
	values := make(map[uint32]*edgedpb.Value, len(m))
	for k, v := range m {
		value, err := NewValue(v)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", k, err)
		}
		values[k] = value
	}
	return values, nil
}

func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int8:
		return int64(v), true
	case int16:
		return int64(v), true
	case int32:
		return int64(v), true
	case int64:
		return v, true
	case uint8:
		return int64(v), true
	case uint16:
		return int64(v), true
	case uint32:
		return int64(v), true
	}
	return 0, false
}

func intOf(v *edgedpb.Value) (int64, bool) {
	n, ok := v.GetKind().(*edgedpb.Value_Int)
	if !ok {
		return 0, false
	}
	return n.Int, true
}

// Encode returns the bytes of a Message with that tag and body, to be pushed or sent as data. Values may be of the types that
// NewValue takes.
func Encode(t Tag, body map[uint32]any) ([]byte, error) {
	return answer(map[uint32]*edgedpb.Value{
		HeaderTagA: {Kind: &edgedpb.Value_Int{Int: t.A}}, HeaderTagB: {Kind: &edgedpb.Value_Int{Int: t.B}},
	}, 0, body)
}

// answer encodes an answer to a Message with that header; code 0: it is no error.
func answer(asked map[uint32]*edgedpb.Value, code int64, body map[uint32]any) ([]byte, error) {
	values, err := newValues(body)
	if err != nil {
		return nil, err
	}
	header := make(map[uint32]*edgedpb.Value, 4)
	for _, key := range []uint32{HeaderTagA, HeaderTagB, HeaderRequest} {
		if v := asked[key]; v != nil {
			header[key] = v
		}
	}
	if code != 0 {
		header[HeaderError] = &edgedpb.Value{Kind: &edgedpb.Value_Int{Int: code}}
	}
	b, err := proto.Marshal(&edgedpb.Message{Header: header, Body: values})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrValue, err) // a string that is not UTF-8
	}
	return b, nil
}
