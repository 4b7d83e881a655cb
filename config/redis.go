package config

import (
	"strings"

	"edged/redisconn"
)

// Redis is the [redis] section of a gateway: what redisconn.Config has, and the load balancer's name.
type Redis struct {
	Addresses    []string `toml:"addresses"`
	Username     string   `toml:"username"`
	Password     string   `toml:"password"`
	PasswordFile string   `toml:"password_file"`
	Sentinel     string   `toml:"sentinel"`
	Database     int      `toml:"database"`
	TLS          bool     `toml:"tls"`
	CA           string   `toml:"ca"`
	Cert         string   `toml:"cert"`
	Key          string   `toml:"key"`
	ServerName   string   `toml:"server_name"`
	SLB          string   `toml:"slb"` // the load balancer that this box stands behind; empty: the box is its own
}

func defaultRedis() Redis { return Redis{Addresses: []string{}} }

// Conn returns the settings of the connection.
func (c Redis) Conn() redisconn.Config {
	return redisconn.Config{
		Addresses: c.Addresses, Username: c.Username, Password: c.Password, PasswordFile: c.PasswordFile, Sentinel: c.Sentinel,
		Database: c.Database, TLS: c.TLS, CA: c.CA, Cert: c.Cert, Key: c.Key, ServerName: c.ServerName,
	}
}

// Validate reports every setting that cannot be meant, each with its key.
func (c Redis) Validate() error {
	var l list
	if err := c.Conn().Validate(); err != nil {
		l = append(l, err)
	}
	if most := 1 << 20; c.Database > most { // a server has 16 unless it is told otherwise
		l.bad("database", "%d is above %d", c.Database, most)
	}
	for i, a := range c.Addresses {
		for _, before := range c.Addresses[:i] {
			if a == before {
				l.bad("addresses", "%q stands there twice", a)
			}
		}
	}
	if strings.ContainsFunc(c.SLB, func(r rune) bool { return r <= ' ' || r > '~' || r == '{' || r == '}' }) || len(c.SLB) > 128 {
		l.bad("slb", "%q is not a name of at most 128 printable ASCII characters without spaces or braces", shorten(c.SLB))
	}
	return l.err()
}
