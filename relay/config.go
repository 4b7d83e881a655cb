package relay

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Bounds of the settings. The smallest buffer still holds some large frames; the number of
// Managers is that of the bits in a Port's word of Managers with room.
const (
	minBuffer   = 64 << 10
	maxBuffer   = 1 << 30
	maxGrace    = time.Hour
	maxManagers = 64
)

// Config is the section of the Managers in the configuration file.
type Config struct {
	Addresses  []string      `toml:"addresses"`   // "host:port" or "unix:/path"; empty: no Manager
	CA         string        `toml:"ca"`          // file with the authorities that sign the Managers' certificates; empty with cert: the system's
	Cert       string        `toml:"cert"`        // the gateway's own certificate (file), with key
	Key        string        `toml:"key"`         // its private key (file)
	ServerName string        `toml:"server_name"` // the name in the Managers' certificates; empty: the host of the address
	Buffer     int           `toml:"buffer"`      // bytes that wait or lack a receipt, for each reactor and Manager
	Grace      time.Duration `toml:"grace"`       // how long a Manager may be away before its links are told or moved
}

// Default returns the settings of a gateway without Managers.
func Default() Config {
	return Config{Buffer: 4 << 20, Grace: 2 * time.Second}
}

// Validate checks every setting, the certificate files included. Its error names each wrong key
// without its section; several problems are joined.
func (c Config) Validate() error {
	var errs []error
	if len(c.Addresses) > maxManagers {
		errs = append(errs, fmt.Errorf("addresses: %d are more than %d", len(c.Addresses), maxManagers))
	}
	seen := make(map[string]bool)
	for _, a := range c.Addresses {
		if err := checkAddress(a); err != nil {
			errs = append(errs, err)
		}
		if seen[a] {
			errs = append(errs, fmt.Errorf("addresses: %q stands there twice", a))
		}
		seen[a] = true
	}
	if c.Buffer < minBuffer || c.Buffer > maxBuffer {
		errs = append(errs, fmt.Errorf("buffer: %d is not between %d and %d", c.Buffer, minBuffer, maxBuffer))
	}
	if c.Grace <= 0 || c.Grace > maxGrace {
		errs = append(errs, fmt.Errorf("grace: %v is not between 0s and %v", c.Grace, maxGrace))
	}
	if _, err := c.tls(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func checkAddress(a string) error {
	if path, ok := strings.CutPrefix(a, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("addresses: %q needs an absolute path after unix", a)
		}
		return nil
	}
	host, port, err := net.SplitHostPort(a)
	if err != nil || host == "" {
		return fmt.Errorf("addresses: %q is neither host:port nor unix:/path", a)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("addresses: %q has no port between 1 and 65535", a)
	}
	return nil
}

// target is an address as gRPC wants it: names are looked up again with each reconnect.
func target(address string) string {
	if strings.HasPrefix(address, "unix:") {
		return address
	}
	return "dns:///" + address
}
