package swarm

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"edged/sdk/client"
	"edged/wire"
)

// Config says what a swarm does. Begin with Default.
type Config struct {
	Target     []string      // "host:port"; links take them in turn
	Dispatch   string        // instead of Target: http or https URL of a dispatch service; each link asks where to go
	Links      int           // in all
	Duration   time.Duration // of the run, once all links are open
	Rate       float64       // messages/s over all links; 0: each link sends when answers come
	Depth      int           // with Rate 0: messages of one link that wait for their answers
	Ramp       float64       // new links/s; 0: as fast as possible, with mostConnects at a time
	Size       int           // bytes of a payload
	Think      time.Duration // with Rate 0 and Depth 1: from an answer to the next message
	Checker    bool          // keep account of every number on both sides
	Pushes     int           // each so manieth message of a link is answered by a push that wants an ACK; 0: none
	Silent     bool          // send no messages
	Heartbeat  time.Duration // 0: as WELCOME says
	Login      string        // "sdk": protobuf Hello; "text": `user device`; "none": send no HELLO
	UserPrefix string        // the users are prefix0, prefix1, …
	Device     string        // of all of them
	Token      string        // in the protobuf Hello
	Reconnect  bool          // come back as BYE allows
	Loops      int           // reactors; 0: half of the CPUs
	From       []netip.Addr  // local addresses, in turn; empty: the kernel's choice. One has some 28,000 ports for a target
	Patience   time.Duration // how long a connection, a login or an answer may take; with Dispatch the first two 3 s at most
}

// How logins are made.
const (
	LoginSDK  = "sdk"
	LoginText = "text"
	LoginNone = "none"
)

// mostConnects is how many links are being opened at a time when Config.Ramp does not say.
const mostConnects = 256

// mostPushed is the size of a payload that fits into a push, whatever its stamp.
const mostPushed = wire.MaxRest - 300

// mostLinks keeps the numbers of links and Millis heaps in range.
const mostLinks = 1 << 24

// Default returns the defaults; Target or Dispatch is the caller's.
func Default() Config {
	return Config{
		Links: 100, Duration: 10 * time.Second, Depth: 1, Size: 64, Login: LoginSDK, UserPrefix: "swarm-", Device: "swarm",
		Patience: 10 * time.Second,
	}
}

// Validate names all that is wrong.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(len(c.Target) > 0 || c.Dispatch != "", "target: none is given, and no dispatch")
	check(len(c.Target) == 0 || c.Dispatch == "", "dispatch: goes not with a target")
	if c.Dispatch != "" {
		if _, err := client.NewDirectory(c.Dispatch, nil); err != nil {
			check(false, "%s", strings.TrimPrefix(err.Error(), "client: "))
		}
	}
	for _, t := range c.Target {
		_, port, err := net.SplitHostPort(t)
		n, _ := strconv.ParseUint(port, 10, 16)
		check(err == nil && n > 0, "target: %q is not HOST:PORT", t)
	}
	check(c.Links > 0 && c.Links <= mostLinks, "links: %d is not between 1 and %d", c.Links, mostLinks)
	check(c.Duration > 0, "duration: %v is not above 0", c.Duration)
	check(finite(c.Rate), "rate: %v is not a number from 0", c.Rate)
	check(finite(c.Ramp), "ramp: %v is not a number from 0", c.Ramp)
	check(c.Size >= PayloadHead && c.Size <= wire.MaxRest, "size: %d is not between %d and %d, which is what a frame holds", c.Size, PayloadHead, wire.MaxRest)
	check(c.Rate > 0 || c.Depth > 0 && c.Depth <= 1024, "depth: %d is not between 1 and 1024", c.Depth)
	check(c.Pushes >= 0, "pushes: %d is below 0", c.Pushes)
	check(c.Pushes == 0 || c.Size <= mostPushed, "size: %d is over %d, which is what a push holds", c.Size, mostPushed)
	check(c.Think >= 0, "think: %v is below 0", c.Think)
	check(c.Think == 0 || c.Rate == 0 && c.Depth == 1, "think: goes only with rate 0 and depth 1")
	check(!c.Silent || !c.Checker && c.Rate == 0, "silent: goes with neither checker nor rate")
	check(c.Heartbeat >= 0, "heartbeat: %v is below 0", c.Heartbeat)
	check(c.Login == LoginSDK || c.Login == LoginText || c.Login == LoginNone, "login: %q is none of sdk, text, none", c.Login)
	check(utf8.ValidString(c.UserPrefix+c.Device+c.Token), "prefix, device or token: not UTF-8")
	check(c.Loops >= 0 && c.Loops <= 256, "loops: %d is not between 0 and 256", c.Loops)
	check(c.Patience > 0, "patience: %v is not above 0", c.Patience)
	return errors.Join(errs...)
}

func finite(f float64) bool { return f >= 0 && !math.IsInf(f, 1) }

// loops is the number of reactors.
func (c *Config) loops() int {
	n := c.Loops
	if n == 0 {
		n = max(1, runtime.NumCPU()/2)
	}
	return min(n, c.Links)
}
