package config

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// list gathers the errors of one section, each as `key: reason`.
type list []error

func (l *list) bad(key, format string, args ...any) { l.add(key, fmt.Errorf(format, args...)) }

func (l *list) add(key string, err error) { *l = append(*l, fmt.Errorf("%s: %w", key, err)) }

func (l *list) err() error { return errors.Join(*l...) }

// brief leaves out the zeros that a duration's own form ends in: 10m, not 10m0s.
func brief(v any) any {
	d, ok := v.(time.Duration)
	if !ok {
		return v
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
