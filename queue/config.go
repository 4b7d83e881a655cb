package queue

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Limits of this implementation.
const (
	maxPayload  = 1 << 20 // what package offline stores
	maxName     = 1024    // bytes of a user, a device or a room
	maxMsgID    = 255     // a stamp has one byte for the length
	maxUnixPath = 107     // what fits into sun_path of struct sockaddr_un with its closing zero byte
	minToken    = 16      // bytes
	maxToken    = 4096    // of its file
)

// Config is the [queue] section of queue.toml.
type Config struct {
	Listen    []string `toml:"listen"`     // of POST /v1/messages: "host:port" or "unix:/path"; empty: none
	Token     string   `toml:"token"`      // what a TCP client must show
	TokenFile string   `toml:"token_file"` // file that holds it, instead of token

	Group      string        `toml:"group"`       // the consumer group that the processes share
	Consumer   string        `toml:"consumer"`    // this process in the group; empty: host, process and a random number
	Batch      int           `toml:"batch"`       // entries that are read at once
	InFlight   int           `toml:"in_flight"`   // entries that were read and are not done
	ClaimAfter time.Duration `toml:"claim_after"` // silence after which a process is taken for dead
	MaxLen     int           `toml:"max_len"`     // entries in the stream from which on POST is refused
	PayloadMax int           `toml:"payload_max"` // bytes
	DeadMax    int           `toml:"dead_max"`    // about how many entries edged:dead keeps
}

// Default returns the settings of a process whose file says nothing.
func Default() Config {
	return Config{
		Group:      "edged",
		Batch:      512,
		InFlight:   8192,
		ClaimAfter: 15 * time.Second,
		MaxLen:     1_000_000,
		PayloadMax: 65_000, // with head, stamp and a msg_id it fits into a frame of 65,535 bytes
		DeadMax:    10_000,
	}
}

// Validate reports every setting that cannot be meant, each with its key. It reads the token file, as a service cannot start
// with one that cannot be read.
func (c Config) Validate() error {
	var p problems
	c.checkListen(&p)
	if _, err := c.secret(); err != nil {
		p = append(p, err)
	}
	p.name("group", c.Group)
	if c.Consumer != "" {
		p.name("consumer", c.Consumer)
	}
	p.number("batch", c.Batch, 1, 10_000)
	p.number("in_flight", c.InFlight, 1, 1_000_000)
	if c.InFlight < c.Batch {
		p.bad("in_flight", "%d is less than batch (%d)", c.InFlight, c.Batch)
	}
	if c.ClaimAfter < time.Second || c.ClaimAfter > time.Hour {
		p.bad("claim_after", "%v is not between %v and %v", c.ClaimAfter, time.Second, time.Hour)
	}
	p.number("max_len", c.MaxLen, 1, 1_000_000_000)
	p.number("payload_max", c.PayloadMax, 1, maxPayload)
	p.number("dead_max", c.DeadMax, 1, 100_000_000)
	return errors.Join(p...)
}

func (c Config) checkListen(p *problems) {
	for i, a := range c.Listen {
		if err := checkAddress(a); err != nil {
			p.bad("listen", "%w", err)
			continue
		}
		if !strings.HasPrefix(a, "unix:") && c.Token == "" && c.TokenFile == "" {
			p.bad("listen", "%q is reached by TCP and needs a token: set token or token_file", a)
		}
		for _, before := range c.Listen[:i] {
			if a == before {
				p.bad("listen", "%q stands there twice", a)
				break
			}
		}
	}
}

func checkAddress(a string) error {
	if path, ok := strings.CutPrefix(a, "unix:"); ok {
		if !filepath.IsAbs(path) || len(path) > maxUnixPath || strings.ContainsRune(path, 0) {
			return fmt.Errorf("%q is not unix: and an absolute path of at most %d bytes", a, maxUnixPath)
		}
		return nil
	}
	_, port, err := net.SplitHostPort(a)
	if _, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil {
		return fmt.Errorf("%q is neither host:port nor unix:/absolute/path", a)
	}
	return nil
}

// secret is the token, or "" when none is configured. Errors never repeat it, as they end in a log.
func (c Config) secret() (string, error) {
	switch {
	case c.Token != "" && c.TokenFile != "":
		return "", errors.New("token: token and token_file exclude each other")
	case c.Token != "":
		return c.Token, checkToken("token", c.Token)
	case c.TokenFile == "":
		return "", nil
	}
	info, err := os.Stat(c.TokenFile)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxToken) { // a FIFO or a device could hold us up for ever
		err = fmt.Errorf("%s is not a file of at most %d bytes", c.TokenFile, maxToken)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(c.TokenFile)
	}
	if err != nil {
		return "", fmt.Errorf("token_file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	return token, checkToken("token_file", token)
}

func checkToken(key, token string) error {
	if len(token) < minToken {
		return fmt.Errorf("%s: shorter than %d characters", key, minToken)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%s: holds a blank or a character outside printable ASCII", key)
	}
	return nil
}

// problems gathers what is wrong, each as `key: reason`.
type problems []error

func (p *problems) bad(key, format string, args ...any) {
	*p = append(*p, fmt.Errorf("%s: %w", key, fmt.Errorf(format, args...)))
}

func (p *problems) number(key string, n, least, most int) {
	if n < least || n > most {
		p.bad(key, "%d is not between %d and %d", n, least, most)
	}
}

func (p *problems) name(key, s string) {
	if s == "" || len(s) > 128 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		p.bad(key, "%q is no name of 1 to 128 printable ASCII characters without spaces", s)
	}
}
