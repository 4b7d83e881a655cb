package config

import (
	"net/netip"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"edged/gateway"
)

// section is what can say what is wrong with it, as `key: reason`, several joined by errors.Join.
type section interface{ Validate() error }

// askAll asks every section of a file what is wrong with it.
func (r *reader) askAll(file reflect.Value, root *place) {
	for i, name := range settings(file.Type()) {
		at, _ := root.find(name)
		v := file.Field(i)
		if v.Kind() != reflect.Slice {
			r.ask(v.Interface().(section), at.last(), name)
			continue
		}
		for k := range v.Len() {
			r.ask(v.Index(k).Interface().(section), at.item(k), name)
		}
	}
}

// check finds what one section of a gateway's file alone cannot see.
func (c *Config) check(r *reader, root *place) {
	at, _ := root.find("listener")
	for i, l := range c.Listeners {
		r.checkListener(l, at.item(i), c.Gateway)
	}
	r.checkClashes(c, at, root)
}

// ask reports what s says of itself. A problem that speaks of a key that could not be read is left out: it is about the
// default that stands there instead.
func (r *reader) ask(s section, at *place, name string) {
	for _, err := range flatten(s.Validate()) {
		key, reason, _ := strings.Cut(err.Error(), ": ")
		key = strings.TrimPrefix(key, name+".")
		names := strings.Split(key, ".")
		if fieldOf(reflect.TypeOf(s), names[0]) < 0 {
			r.complain(at, name, "%s", err)
			continue
		}
		where, exact := at.find(names...)
		unread := false
		for other, p := range at.keys {
			if !mentions(reason, other) {
				continue
			}
			unread = unread || r.wrong[spot{p.line, join(name, other)}]
			if !exact && (where == at || p.line > where.line) {
				where = p // the file sets only the other one of two keys that do not fit together
			}
		}
		if v := reflect.ValueOf(s).Field(fieldOf(reflect.TypeOf(s), names[0])); exact && len(names) == 1 {
			where = blamed(v, where, reason)
		}
		if !unread {
			r.complain(where, name+"."+key, "%s", reason)
		}
	}
}

// blamed returns the place of the list item that the reason quotes, the last of equals; else that of the whole setting.
func blamed(v reflect.Value, at *place, reason string) *place {
	items, _ := v.Interface().([]string)
	for i := len(items) - 1; i >= 0; i-- {
		if strings.Contains(reason, strconv.Quote(items[i])) {
			return at.item(i)
		}
	}
	return at
}

func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var flat []error
	for _, e := range joined.Unwrap() {
		flat = append(flat, flatten(e)...)
	}
	return flat
}

func mentions(reason, key string) bool {
	words := strings.FieldsFunc(reason, func(r rune) bool { return r >= 0x80 || !bare(byte(r)) })
	return slices.Contains(words, key)
}

func (r *reader) checkListener(l gateway.Listener, at *place, g gateway.Config) {
	if l.Kind == "websocket" {
		where, _ := at.find("kind")
		r.complain(where, "listener.kind", `"websocket" is not served by this version; use "tcp"`)
	}
	if l.PingInterval >= g.IdleTimeout && l.PingInterval > 0 {
		where, _ := at.find("ping_interval")
		r.complain(where, "listener.ping_interval", "%v is not shorter than gateway.idle_timeout (%v), so no PING would ever be sent",
			brief(l.PingInterval), brief(g.IdleTimeout))
	}
}

// checkClashes finds what two listeners, or a listener and the admin interface, both claim.
func (r *reader) checkClashes(c *Config, listeners, root *place) {
	names, addresses := make(map[string]int), make(map[string]int)
	for i, l := range c.Listeners {
		r.claim("listener", names, l.Name, l.Name, listeners.item(i), "name")
		r.claim("listener", addresses, bindKey(l.Address), l.Address, listeners.item(i), "address")
	}
	at, _ := root.find("admin", "listen")
	for i, a := range c.Admin.Listen {
		if line, taken := addresses[bindKey(a)]; taken {
			r.complain(at.item(i), "admin.listen", "%q is the address of the listener at line %d", a, line)
		}
	}
}

// claim notes that the section at that place has the value; id is the same for two values that exclude each other, and empty
// where nothing is excluded.
func (r *reader) claim(section string, taken map[string]int, id, value string, at *place, key string) {
	where, written := at.find(key)
	full := join(section, key)
	line, clash := taken[id]
	switch {
	case id == "" || r.wrong[spot{where.line, full}] || r.wrong[spot{at.line, section}]:
	case !clash:
		taken[id] = where.line
	case written:
		r.complain(where, full, "%q is the %s of the %s at line %d too", value, key, section, line)
	default:
		r.complain(where, full, "a %s for which none is set has %q, as the one at line %d has", section, value, line)
	}
}

// bindKey returns what two addresses have in common that cannot both be bound; empty for port 0, which the kernel fills in.
func bindKey(address string) string {
	if p, ok := strings.CutPrefix(address, "unix:"); ok {
		return "unix:" + path.Clean(p)
	}
	ap, err := netip.ParseAddrPort(address)
	switch {
	case err != nil:
		return address
	case ap.Port() == 0:
		return ""
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String()
}
