package linkpool

import (
	"fmt"
	"reflect"
)

// mustBeFlat panics when a value of t can hold a pointer. One pointer in a link
// would make the garbage collector scan the whole array at every cycle.
func mustBeFlat(t reflect.Type) {
	if where, what := pointerIn(t, ""); what != nil {
		panic(fmt.Sprintf("linkpool: %v holds a pointer: %s is of type %v", t, "value"+where, what))
	}
}

// pointerIn returns the path and type of the first part of t that is or holds
// a pointer; a nil type says that there is none.
func pointerIn(t reflect.Type, path string) (string, reflect.Type) {
	switch t.Kind() {
	case reflect.Bool, reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128, reflect.Uintptr,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "", nil
	case reflect.Array:
		return pointerIn(t.Elem(), path+"[0]")
	case reflect.Struct:
		for f := range t.Fields() {
			if where, what := pointerIn(f.Type, path+"."+f.Name); what != nil {
				return where, what
			}
		}
		return "", nil
	}
	return path, t
}
