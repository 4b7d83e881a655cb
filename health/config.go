package health

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"edged/nic"
)

// Bounds of what a setting may say.
const (
	leastInterval  = time.Second // drivers refresh their counters about once a second
	mostInterval   = time.Minute
	mostPPS        = 10_000_000_000
	mostBytes      = 1_000_000_000_000
	mostNameLength = 15 // IFNAMSIZ without its zero
)

// Config is the [health] section.
type Config struct {
	Interval     time.Duration `toml:"interval"`     // between two samples
	NICs         []string      `toml:"nics"`         // interface names, or "auto" alone
	PPSLimit     int64         `toml:"pps_limit"`    // packets per second that mean full, as limit_mode counts; 0: no such term
	BytesLimit   int64         `toml:"bytes_limit"`  // bytes per second that mean full; 0: the link speed where that is real
	LimitMode    LimitMode     `toml:"limit_mode"`   // which direction is held against pps_limit and bytes_limit
	PPSLimitRx   int64         `toml:"pps_limit_rx"` // further limits for one direction; 0: no such term
	PPSLimitTx   int64         `toml:"pps_limit_tx"`
	BytesLimitRx int64         `toml:"bytes_limit_rx"`
	BytesLimitTx int64         `toml:"bytes_limit_tx"`
	Terms        Terms         `toml:"terms"`
}

// LimitMode says which direction of the traffic is held against a limit: "sum", "max", "rx" or "tx". Clouds limit the sum of
// packets, but bytes in each direction.
type LimitMode struct {
	PPS   string `toml:"pps"`
	Bytes string `toml:"bytes"`
}

// Terms is the [health.terms] section: which signals beside the traffic may lower the availability.
type Terms struct {
	Links      bool `toml:"links"`       // links against capacity
	Manager    bool `toml:"manager"`     // 0 while no Manager is there for longer than its grace time
	Fds        bool `toml:"fds"`         // open files against the process's and the system's limit
	TCPMem     bool `toml:"tcp_mem"`     // memory of TCP against tcp_mem's pressure mark; below 0.2 after pressure was entered
	Memory     bool `toml:"memory"`      // the last fifth of the memory, of the box and of the unit's cgroup
	Accept     bool `toml:"accept"`      // below 0.3 after an accept queue was full
	Softnet    bool `toml:"softnet"`     // below 0.3 after a CPU's packet backlog was full
	NICDrops   bool `toml:"nic_drops"`   // below 0.3 while an interface misses more than 1 in 1000 packets
	Conntrack  bool `toml:"conntrack"`   // the connection tracking table
	ReactorCPU bool `toml:"reactor_cpu"` // the busiest reactor; below 0.2 while a CPU does little but softirqs
	PSI        bool `toml:"psi"`         // below 0.2 while all work waits for memory more than 5 % of the time
}

// Default returns the settings of a gateway whose file says nothing.
func Default() Config {
	return Config{
		Interval:  5 * time.Second,
		NICs:      []string{nic.Auto},
		LimitMode: LimitMode{PPS: modeSum, Bytes: modeMax},
		Terms:     Terms{Links: true, Manager: true},
	}
}

// The values of LimitMode.
const (
	modeSum = "sum"
	modeMax = "max"
	modeRx  = "rx"
	modeTx  = "tx"
)

// Validate reports every setting that cannot be meant, each with its key.
func (c Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf(key+": "+format, args...))
	}
	if c.Interval < leastInterval || c.Interval > mostInterval {
		bad("interval", "%v is not between 1s and 1m", c.Interval)
	}
	limit := func(key string, v, most int64) {
		if v < 0 || v > most {
			bad(key, "%d is not between 0 and %d", v, most)
		}
	}
	limit("pps_limit", c.PPSLimit, mostPPS)
	limit("bytes_limit", c.BytesLimit, mostBytes)
	limit("pps_limit_rx", c.PPSLimitRx, mostPPS)
	limit("pps_limit_tx", c.PPSLimitTx, mostPPS)
	limit("bytes_limit_rx", c.BytesLimitRx, mostBytes)
	limit("bytes_limit_tx", c.BytesLimitTx, mostBytes)
	mode := func(key, v string) {
		if !slices.Contains([]string{modeSum, modeMax, modeRx, modeTx}, v) {
			bad(key, `%q is not "sum", "max", "rx" or "tx"`, v)
		}
	}
	mode("limit_mode.pps", c.LimitMode.PPS)
	mode("limit_mode.bytes", c.LimitMode.Bytes)
	c.checkNames(bad)
	return errors.Join(errs...)
}

func (c Config) checkNames(bad func(key, format string, args ...any)) {
	if len(c.NICs) == 0 {
		bad("nics", `the list is empty; write ["auto"] to have the interfaces found`)
	}
	for i, name := range c.NICs {
		switch {
		case name == nic.Auto && len(c.NICs) > 1:
			bad("nics", `"auto" cannot stand beside names`)
		case name == "" || len(name) > mostNameLength || strings.ContainsFunc(name, notInName):
			bad("nics", "%.40q is not the name of a network interface", name)
		}
		if slices.Contains(c.NICs[:i], name) {
			bad("nics", "%.40q stands there twice", name)
		}
	}
}

// notInName knows what the kernel refuses in the name of an interface.
func notInName(r rune) bool { return r <= ' ' || r == '/' || r == ':' }

// auto says whether the interfaces are found rather than named.
func (c Config) auto() bool { return slices.Contains(c.NICs, nic.Auto) }
