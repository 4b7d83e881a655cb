package config

import (
	"edged/admin"
	"edged/dispatch"
	"edged/redisconn"
)

// Dispatch is dispatch.toml, the file of a dispatch service; each field is a section.
type Dispatch struct {
	Dispatch dispatch.Config  `toml:"dispatch"`
	Redis    redisconn.Config `toml:"redis"`
	SLBs     []dispatch.SLB   `toml:"slb"`
	Admin    admin.Config     `toml:"admin"`
}

// DefaultDispatch returns what an empty file means.
func DefaultDispatch() *Dispatch {
	redis := redisconn.Default()
	redis.Addresses = []string{"127.0.0.1:6379"}
	return &Dispatch{Dispatch: dispatch.Default(), Redis: redis, Admin: admin.Config{}}
}

// LoadDispatch reads and checks the file of a dispatch service at path. What is wrong inside it comes as Problems.
func LoadDispatch(path string) (*Dispatch, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return ParseDispatch(path, text)
}

// ParseDispatch reads and checks text, which errors call name. What is wrong inside it comes as Problems.
func ParseDispatch(name string, text []byte) (*Dispatch, error) {
	c := DefaultDispatch()
	if err := parse(name, text, c); err != nil {
		return nil, err
	}
	return c, nil
}

// Check reads and checks the file at path, whichever kind it is: that of a dispatch service or of a queue layer if it has a
// section that only such a file has, else a gateway's.
func Check(path string) error {
	text, err := readFile(path)
	if err != nil {
		return err
	}
	switch {
	case ofDispatch(text):
		_, err = ParseDispatch(path, text)
	case ofQueue(text):
		_, err = ParseQueue(path, text)
	default:
		_, err = Parse(path, text)
	}
	return err
}

// ofDispatch recognises the file of a dispatch service. Text that is no TOML is wrong in every kind of file.
func ofDispatch(text []byte) bool {
	if len(text) > maxFile {
		return false
	}
	values, _ := decode(normalize(string(text)))
	_, dispatch := values["dispatch"]
	_, slbs := values["slb"].([]map[string]any) // a mere key is one that belongs into [redis]
	return dispatch || slbs
}

// check finds what one section of the file alone cannot see.
func (c *Dispatch) check(r *reader, root *place) {
	at, _ := root.find("redis", "addresses")
	if !c.Redis.Enabled() {
		r.complain(at, "redis.addresses", "the list is empty, but gateways report to Redis alone")
	}
	at, _ = root.find("slb")
	names, addresses := make(map[string]int), make(map[string]int)
	for i, s := range c.SLBs {
		r.claim("slb", names, s.Name, s.Name, at.item(i), "name")
		list, _ := at.item(i).find("addresses")
		for k, a := range s.Addresses {
			id := dispatch.AddressKey(a)
			if line, taken := addresses[id]; taken && line != at.item(i).line {
				r.complain(list.item(k), "slb.addresses", "%q is an address of the slb at line %d too", a, line)
			}
			addresses[id] = at.item(i).line
		}
	}
	bound := make(map[string]bool)
	for _, a := range c.Dispatch.Listen {
		bound[bindKey(a)] = true
	}
	at, _ = root.find("admin", "listen")
	for i, a := range c.Admin.Listen {
		if key := bindKey(a); key != "" && bound[key] {
			r.complain(at.item(i), "admin.listen", "%q is an address of dispatch.listen too", a)
		}
	}
}
