package config_test

import (
	"reflect"
	"testing"

	"edged/config"
	"edged/redisconn"
)

// TestRedisHasAllSettings: every setting of a connection is one of the section too, under the same key, and arrives.
func TestRedisHasAllSettings(t *testing.T) {
	conn := reflect.TypeFor[redisconn.Config]()
	for i := range conn.NumField() {
		f := conn.Field(i)
		have, ok := reflect.TypeFor[config.Redis]().FieldByName(f.Name)
		if !ok || have.Type != f.Type || have.Tag.Get("toml") != f.Tag.Get("toml") {
			t.Errorf("%s: the section has %v", f.Name, have)
			continue
		}
		var c config.Redis
		v := reflect.ValueOf(&c).Elem().FieldByName(f.Name)
		switch f.Type.Kind() {
		case reflect.String:
			v.SetString("x")
		case reflect.Int:
			v.SetInt(7)
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Slice:
			v.Set(reflect.ValueOf([]string{"x"}))
		default:
			t.Fatalf("%s has a type that this test does not know", f.Name)
		}
		if got := reflect.ValueOf(c.Conn()).Field(i); got.IsZero() {
			t.Errorf("%s does not arrive", f.Name)
		}
	}
}
