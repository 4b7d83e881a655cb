package admin

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// MinToken is the fewest bytes a token may have.
const MinToken = 16

// maxUnixPath is what sun_path of struct sockaddr_un holds beside its final zero,
// less what the socket's first name is longer: see bindUnix.
const maxUnixPath = 107 - besideLen

// maxTokenFile bounds what is read of a token file.
const maxTokenFile = 4096

// Config is the section [admin].
type Config struct {
	// Listen names the sockets: "unix:/absolute/path" or "host:port". Empty: none.
	Listen []string `toml:"listen"`
	// Token is what a TCP client must show; TokenFile names a file that holds it.
	Token     string `toml:"token"`
	TokenFile string `toml:"token_file"`
}

// Default is the configuration of a box that says nothing about it.
func Default() Config {
	return Config{Listen: []string{"unix:/run/edged/admin.sock"}}
}

// Validate says everything that is wrong with c, each key by its name. It reads
// the token file, as an unreadable one would keep the daemon from starting.
func (c Config) Validate() error {
	var errs []error
	for i, l := range c.Listen {
		e, err := parseEndpoint(l)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("listen: %w", err))
		case slices.Contains(c.Listen[:i], l):
			errs = append(errs, fmt.Errorf("listen: %s stands there twice", l))
		case !e.local() && c.Token == "" && c.TokenFile == "":
			errs = append(errs, fmt.Errorf("listen: %s is not a loopback address and needs a token: set token or token_file", l))
		}
	}
	if _, err := c.secret(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// secret is the configured token, or "" when none is.
func (c Config) secret() (string, error) {
	switch {
	case c.Token != "" && c.TokenFile != "":
		return "", errors.New("token: token and token_file exclude each other")
	case c.Token != "":
		return c.Token, checkToken("token", c.Token)
	case c.TokenFile == "":
		return "", nil
	}
	b, err := readTokenFile(c.TokenFile)
	if err != nil {
		return "", fmt.Errorf("token_file: %w", err)
	}
	token := strings.TrimSpace(string(b))
	return token, checkToken("token_file", token)
}

func readTokenFile(path string) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	// A FIFO or a device could hold the start up for ever.
	if !fi.Mode().IsRegular() || fi.Size() > maxTokenFile {
		return nil, fmt.Errorf("%s is not a file of at most %d bytes", path, maxTokenFile)
	}
	return os.ReadFile(path)
}

// checkToken refuses what is easily guessed, and what no Authorization header
// can carry. It never repeats the token, as its error ends in a log.
func checkToken(key, token string) error {
	if len(token) < MinToken {
		return fmt.Errorf("%s: shorter than %d characters", key, MinToken)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%s: holds a blank or a character outside printable ASCII", key)
	}
	return nil
}

// endpoint is one address of the admin interface.
type endpoint struct {
	network string // "unix" or "tcp"
	address string // path, or host:port
}

// parseEndpoint reads "unix:/path" and "host:port".
func parseEndpoint(s string) (endpoint, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return unixEndpoint(path)
	}
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return endpoint{}, fmt.Errorf("%q is neither unix:/absolute/path nor host:port", s)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return endpoint{}, fmt.Errorf("%q: the port is not a number up to 65535", s)
	}
	return endpoint{"tcp", s}, nil
}

func unixEndpoint(path string) (endpoint, error) {
	switch {
	case !filepath.IsAbs(path):
		return endpoint{}, fmt.Errorf("unix:%s is not an absolute path", path)
	case filepath.Clean(path) != path:
		return endpoint{}, fmt.Errorf("unix:%s is not in its plain form unix:%s", path, filepath.Clean(path))
	case len(path) > maxUnixPath:
		return endpoint{}, fmt.Errorf("unix:%s has more than %d bytes", path, maxUnixPath)
	}
	return endpoint{"unix", path}, nil
}

// local says whether nobody outside the box reaches e. A host name other than
// localhost is not looked up: it could mean something else tomorrow.
func (e endpoint) local() bool {
	if e.network == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(e.address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// String is e as it stands in the configuration.
func (e endpoint) String() string {
	if e.network == "unix" {
		return "unix:" + e.address
	}
	return e.address
}
