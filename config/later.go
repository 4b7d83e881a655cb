package config

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// The sections in this file belong to packages that this version does not have yet. Their names and checks are final all the
// same: a file written today stays valid. Each struct moves to its package, and its section out of withoutEffect, when
// that package is made.
var withoutEffect = map[string]bool{
	"keeper":   true,
	"handover": true,
}

// Keeper is the [keeper] section; it moves to package handover.
type Keeper struct {
	Enabled bool   `toml:"enabled"`
	Socket  string `toml:"socket"` // absolute path
}

func defaultKeeper() Keeper { return Keeper{Socket: "/run/edged-keeper/keeper.sock"} }

// Validate reports every setting that cannot be meant, each with its key.
func (c Keeper) Validate() error {
	var l list
	if strings.HasPrefix(c.Socket, "unix:") {
		l.bad("socket", `%q is a path already; leave out "unix:"`, shorten(c.Socket))
	} else if !strings.HasPrefix(c.Socket, "/") || len(c.Socket) > maxSocketPath || strings.ContainsRune(c.Socket, 0) {
		l.bad("socket", "%q is not an absolute path of at most %d bytes", shorten(c.Socket), maxSocketPath)
	}
	return l.err()
}

// Handover is the [handover] section; it moves to package handover.
type Handover struct {
	Mode string `toml:"mode"` // "fork" or "exec"
}

func defaultHandover() Handover { return Handover{Mode: "fork"} }

// Validate reports every setting that cannot be meant, each with its key.
func (c Handover) Validate() error {
	var l list
	l.oneOf("mode", c.Mode, "fork", "exec")
	return l.err()
}

// maxSocketPath is what fits into sun_path with its closing zero byte.
const maxSocketPath = 107

// list gathers the errors of one section, each as `key: reason`.
type list []error

func (l *list) bad(key, format string, args ...any) { l.add(key, fmt.Errorf(format, args...)) }

func (l *list) add(key string, err error) { *l = append(*l, fmt.Errorf("%s: %w", key, err)) }

func (l *list) err() error { return errors.Join(*l...) }

func (l *list) oneOf(key, got string, names ...string) {
	for _, name := range names {
		if got == name {
			return
		}
	}
	last := len(names) - 1
	l.bad(key, `%q is not "%s" or "%s"`, shorten(got), strings.Join(names[:last], `", "`), names[last])
}

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
