package tuning

import (
	"errors"
	"fmt"
	"strings"

	"edged/nic"
)

// Config is the [tuning] section: what the box is for.
type Config struct {
	Links             int      `toml:"links" json:"links"`                             // 0: what the box can hold
	MessagesPerSecond int      `toml:"messages_per_second" json:"messages_per_second"` // both ways; 0: what the box can carry
	Interfaces        []string `toml:"interfaces" json:"interfaces"`                   // whose queues matter, or "auto" alone
	AllowNIC          bool     `toml:"allow_nic" json:"allow_nic"`                     // also change queues, rings, interrupts and packet steering
	Congestion        string   `toml:"congestion" json:"congestion,omitempty"`         // net.ipv4.tcp_congestion_control; empty: left as it is
	Persist           bool     `toml:"persist" json:"persist,omitempty"`               // keep sysctls over a reboot, in /etc/sysctl.d/60-edged.conf
}

// Bounds of what a setting may say.
const (
	mostLinks      = 100_000_000
	mostMessages   = 1_000_000_000
	mostNameLength = 15 // IFNAMSIZ without its zero
)

// Default returns the settings of a box whose file says nothing.
func Default() Config { return Config{Interfaces: []string{nic.Auto}} }

// Validate reports every setting that cannot be meant, each with its key.
func (c Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf(key+": "+format, args...))
	}
	between := func(key string, v, most int) {
		if v < 0 || v > most {
			bad(key, "%d is not between 0 and %d", v, most)
		}
	}
	between("links", c.Links, mostLinks)
	between("messages_per_second", c.MessagesPerSecond, mostMessages)
	if len(c.Interfaces) == 0 {
		bad("interfaces", `names none; "auto" stands for all physical ones`)
	}
	for _, name := range c.Interfaces {
		switch {
		case name == "" || len(name) > mostNameLength || strings.ContainsAny(name, "/ \t\n\x00"):
			bad("interfaces", "%q is no name of an interface", name)
		case name == nic.Auto && len(c.Interfaces) > 1:
			bad("interfaces", `"auto" stands for all of them and is named alone`)
		}
	}
	if len(c.Congestion) > mostNameLength || strings.ContainsAny(c.Congestion, " \t\n\x00") { // TCP_CA_NAME_MAX
		bad("congestion", "%q is no name of a congestion control", c.Congestion)
	}
	return errors.Join(errs...)
}

// Goal is what a plan is made for: the configuration, and what the gateway's other sections add to it. Zero fields are
// worked out.
type Goal struct {
	Config
	Reactors int      `json:"reactors,omitempty"` // 0: one for each receive queue, at most one for each CPU
	Ports    []uint16 `json:"ports,omitempty"`    // that the gateway listens on
	Buffer   int      `json:"buffer,omitempty"`   // bytes of the largest SO_RCVBUF or SO_SNDBUF that is asked for; 0: none is
}
