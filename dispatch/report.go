package dispatch

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The states of a gateway, as its report and edged:state name them.
const (
	StateUp       = "up"
	StateWarming  = "warming"  // started, and not measured yet: it gets no clients
	StateDraining = "draining" // its links are being sent away
	StateDown     = "down"     // none of its interfaces works, or it has left
)

// Report is what a gateway tells the dispatch services about itself. It becomes the hash edged:gw:{<gateway>} of
// PROTOCOL.md §3.
type Report struct {
	Address string // the advertised one, host:port
	SLB     string // the load balancer that the gateway stands behind; empty: it is its own, under Address
	State   string
	Reason  string // which term of the score won
	Version string

	Availability, Raw float64 // 0 to 1: smoothed, and of the last interval alone
	PPS, PPSLimit     float64 // packets per second; a limit of 0 is none
	Bytes, BytesLimit float64 // bytes per second
	Links, Capacity   int

	Epoch   uint64
	Sharded bool // the gateway listens for Downstream batches by sharded publish and subscribe
}

// balancer is the load balancer under which the gateway is listed.
func (r *Report) balancer() string {
	if r.SLB != "" {
		return r.SLB
	}
	return r.Address
}

// fields returns the hash's fields and values in turn. boot and seq tell the process and the attempt; at is for people, no
// reader computes with it.
func (r *Report) fields(boot string, seq uint64, at time.Time) []string {
	return []string{
		"v", reportVersion,
		"availability", formatShare(r.Availability),
		"raw", formatShare(r.Raw),
		"reason", r.Reason,
		"state", r.State,
		"pps", formatRate(r.PPS),
		"pps_limit", formatRate(r.PPSLimit),
		"bytes", formatRate(r.Bytes),
		"bytes_limit", formatRate(r.BytesLimit),
		"links", strconv.Itoa(r.Links),
		"capacity", strconv.Itoa(r.Capacity),
		"address", r.Address,
		"slb", r.SLB,
		"version", r.Version,
		"epoch", strconv.FormatUint(r.Epoch, 10),
		"boot", boot,
		"seq", strconv.FormatUint(seq, 10),
		"sharded", formatFlag(r.Sharded),
		"at", strconv.FormatInt(at.UnixMilli(), 10),
	}
}

const reportVersion = "1"

// formatShare writes a share of 0.000 to 1.000. What is no number is written as 0: a box that cannot say how free it is gets
// no clients.
func formatShare(share float64) string {
	if math.IsNaN(share) {
		share = 0
	}
	return strconv.FormatFloat(min(max(share, 0), 1), 'f', 3, 64)
}

// formatSum writes the sum of shares.
func formatSum(sum float64) string {
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		sum = 0
	}
	return strconv.FormatFloat(max(sum, 0), 'f', 3, 64)
}

func formatRate(rate float64) string {
	if math.IsNaN(rate) || math.IsInf(rate, 0) {
		rate = 0
	}
	return strconv.FormatFloat(max(rate, 0), 'f', 0, 64)
}

func formatFlag(flag bool) string {
	if flag {
		return "1"
	}
	return "0"
}

// neededFields are the ones by which a dispatch service works. The others are for people and other services, and nothing
// here fails because of them.
var neededFields = [...]string{"v", "availability", "state", "links", "capacity", "address", "slb", "boot", "seq"}

// maxName bounds addresses and names of load balancers, in bytes.
const maxName = 255

// ParseReport reads the hash of the gateway id, of which it needs nine fields. It checks all that the ranking and the HTTP
// answer build upon; the error says which field is wrong. A gateway without slb is its own load balancer under its address,
// and one that is not up has no availability, whatever it wrote. Age is left 0: the hash does not tell it.
func ParseReport(id string, fields map[string]string) (Gateway, error) {
	for _, name := range neededFields {
		if _, ok := fields[name]; !ok {
			return Gateway{}, fmt.Errorf("it has no field %s", name)
		}
	}
	if v := fields["v"]; v != reportVersion {
		return Gateway{}, fmt.Errorf("v is %s, not %s", quote(v), reportVersion)
	}
	g := Gateway{ID: id, Address: fields["address"], SLB: fields["slb"], State: fields["state"], Boot: fields["boot"]}
	var bad error
	check := func(name string, err error) {
		if err != nil && bad == nil {
			bad = fmt.Errorf("%s is %s: %w", name, quote(fields[name]), err)
		}
	}
	var err error
	g.Availability, err = parseShare(fields["availability"])
	check("availability", err)
	check("state", checkState(g.State))
	g.Links, err = parseCount(fields["links"])
	check("links", err)
	g.Capacity, err = parseCount(fields["capacity"])
	check("capacity", err)
	check("address", checkAddress(g.Address))
	check("slb", checkName(g.SLB))
	check("boot", checkBoot(g.Boot))
	g.Seq, err = strconv.ParseUint(fields["seq"], 10, 64)
	check("seq", notA(err, "number"))
	if bad != nil {
		return Gateway{}, bad
	}
	if g.SLB == "" {
		g.SLB = g.Address
	}
	if g.State != StateUp {
		g.Availability = 0
	}
	return g, nil
}

// parseShare refuses what is not decimal: strconv also reads NaN, Inf and 0x1p-2, which no gateway writes.
func parseShare(text string) (float64, error) {
	share, err := strconv.ParseFloat(text, 64)
	if err != nil || strings.Trim(text, "0123456789.eE+-") != "" {
		return 0, errors.New("not a number")
	}
	if !(share >= 0 && share <= 1) {
		return 0, errors.New("not within 0 and 1")
	}
	return math.Abs(share), nil // -0 is 0
}

// parseCount keeps to 32 bits: sums over a fleet of them cannot overflow.
func parseCount(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	return int(n), notA(err, "count")
}

func notA(err error, what string) error {
	if err != nil {
		return errors.New("not a " + what)
	}
	return nil
}

func checkState(state string) error {
	switch state {
	case StateUp, StateWarming, StateDraining, StateDown:
		return nil
	}
	return errors.New("not a state")
}

func checkBoot(boot string) error {
	if boot == "" {
		return errors.New("not a process")
	}
	return checkName(boot)
}

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return errors.New("not host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("not host:port")
	}
	return checkName(address)
}

// checkName keeps what would break a line of a list, a log or a key out of names.
func checkName(name string) error {
	if len(name) > maxName {
		return errors.New("too long")
	}
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }) {
		return errors.New("not printable")
	}
	return nil
}

// shown is a name from Redis as a sentence can hold it.
func shown(name string) string {
	if name == "" || checkName(name) != nil {
		return quote(name)
	}
	return name
}

// quote makes a foreign value fit for a line of log, however long it is.
func quote(value string) string {
	const shown = 40
	if len(value) > shown {
		return strconv.Quote(value[:shown]) + "…"
	}
	return strconv.Quote(value)
}
