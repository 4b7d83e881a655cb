package config

import (
	"edged/admin"
	"edged/bus"
	"edged/offline"
	"edged/queue"
	"edged/redisconn"
)

// Queue is queue.toml, the file of a queue layer; each field is a section.
type Queue struct {
	Queue   queue.Config     `toml:"queue"`
	Redis   redisconn.Config `toml:"redis"`
	Offline offline.Config   `toml:"offline"`
	Bus     bus.Config       `toml:"bus"`
	Admin   admin.Config     `toml:"admin"`
}

// DefaultQueue returns what an empty file means.
func DefaultQueue() *Queue {
	redis := redisconn.Default()
	redis.Addresses = []string{"127.0.0.1:6379"}
	return &Queue{Queue: queue.Default(), Redis: redis, Offline: offline.Default(), Bus: bus.Default(), Admin: admin.Config{}}
}

// LoadQueue reads and checks the file of a queue layer at path. What is wrong inside it comes as Problems.
func LoadQueue(path string) (*Queue, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return ParseQueue(path, text)
}

// ParseQueue reads and checks text, which errors call name. What is wrong inside it comes as Problems.
func ParseQueue(name string, text []byte) (*Queue, error) {
	c := DefaultQueue()
	if err := parse(name, text, c); err != nil {
		return nil, err
	}
	return c, nil
}

// ofQueue recognises the file of a queue layer. Text that is no TOML is wrong in every kind of file.
func ofQueue(text []byte) bool {
	if len(text) > maxFile {
		return false
	}
	values, _ := decode(normalize(string(text)))
	_, queue := values["queue"]
	return queue
}

// check finds what one section of the file alone cannot see.
func (c *Queue) check(r *reader, root *place) {
	at, _ := root.find("redis", "addresses")
	if !c.Redis.Enabled() {
		r.complain(at, "redis.addresses", "the list is empty, but messages come by Redis alone")
	}
	bound := make(map[string]bool)
	for _, a := range c.Queue.Listen {
		bound[bindKey(a)] = true
	}
	at, _ = root.find("admin", "listen")
	for i, a := range c.Admin.Listen {
		if key := bindKey(a); key != "" && bound[key] {
			r.complain(at.item(i), "admin.listen", "%q is an address of queue.listen too", a)
		}
	}
}
