package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"edged/admin"
	"edged/handover"
	"edged/health"
	"edged/registry"
)

// Versions of the sections that the command itself writes and reads: "edged" is a carried as JSON, "routes" the names whose
// routes are still to be written, a record each: length of the user (uvarint), user, device.
const (
	ownVersion = 1
	ownOldest  = 1
)

// mostCarried bounds what is read of lists: no process has so many sockets or counters.
const mostCarried = 10_000

// formats is what this binary reads of a predecessor.
func formats(gateway handover.Formats) handover.Formats {
	return append(handover.Formats{
		{Kind: "edged", Oldest: ownOldest, Newest: ownVersion},
		{Kind: "routes", Oldest: ownOldest, Newest: ownVersion},
	}, gateway...)
}

// carried is what a process hands to the next one beside the gateway's own. What sockets and times are in it goes by a reload alone.
type carried struct {
	Started  time.Time          `json:"started"` // the cold start
	Reloads  uint64             `json:"reloads"` // since then, this one included
	Began    time.Time          `json:"began"`   // when this one was ordered
	Paused   time.Time          `json:"paused"`  // since when nobody is accepted
	Sockets  []string           `json:"sockets"` // names of those that systemd passed, in their order: files socketFile(i)
	Admin    []string           `json:"admin"`   // addresses of the control sockets: files adminFile(address)
	Exit     bool               `json:"exit"`    // the process is to leave once it is empty
	Health   *health.Snapshot   `json:"health"`  // what was reported last
	Counters map[string]float64 `json:"counters"`

	Keeper    string          `json:"keeper,omitempty"`    // socket of the keeper whose connection is the file keeperFile
	Listener  string          `json:"listener,omitempty"`  // that is advertised
	Left      bool            `json:"left,omitempty"`      // to a keeper: it was told to leave
	Crashes   uint64          `json:"crashes,omitempty"`   // since the cold start
	Recovered *admin.Recovery `json:"recovered,omitempty"` // the last time that links were taken back
}

func socketFile(n int) string        { return fmt.Sprint("socket ", n) }
func adminFile(listen string) string { return "admin " + listen }

func (c *carried) encode() ([]byte, error) { return json.Marshal(c) }

// mustEncode is for one of this process: numbers and texts, in which there is nothing that JSON has not.
func mustEncode(c *carried) []byte {
	b, err := c.encode()
	if err != nil {
		panic("edged: its own state: " + err.Error())
	}
	return b
}

var errCarried = errors.New("the state's part edged cannot be read")

// parseCarried reads what encode wrote.
func parseCarried(b []byte) (*carried, error) {
	c := &carried{}
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("%w: %w", errCarried, err)
	}
	if len(c.Sockets) > mostCarried || len(c.Admin) > mostCarried || len(c.Counters) > mostCarried || c.Started.IsZero() {
		return nil, errCarried
	}
	return c, nil
}

// appendNames appends a record for each name.
func appendNames(b []byte, names *registry.Changes) []byte {
	names.Each(func(n registry.Name) {
		var start int
		b, start = handover.Begin(b, ownVersion)
		b = binary.AppendUvarint(b, uint64(len(n.User)))
		b = append(append(b, n.User...), n.Device...)
		handover.End(b, start)
	})
	return b
}

// parseNames returns the names; one that cannot be read is left out, as those behind a broken record are: the resync finds them.
func parseNames(b []byte) (names []registry.Name) {
	for len(b) > 0 {
		r, rest, err := handover.Next(b)
		if err != nil {
			return names
		}
		b = rest
		n, k := binary.Uvarint(r.Body)
		if k <= 0 || n > uint64(len(r.Body)-k) {
			continue
		}
		user, device := r.Body[k:k+int(n)], r.Body[k+int(n):]
		names = append(names, registry.Name{User: string(user), Device: string(device)})
	}
	return names
}

// counters goes on with what was counted before: by the process before this one, or by a part of this one that was ended and
// begun again.
type counters struct {
	mu   sync.Mutex
	base map[string]float64 // by nameOf; guarded by mu
}

// nameOf tells a metric from all others.
func nameOf(m *admin.Metric) string {
	var b strings.Builder
	b.WriteString(m.Name)
	for _, l := range m.Labels {
		b.WriteString("\x00" + l.Name + "\x00" + l.Value)
	}
	return b.String()
}

// add adds the base to each counter of m.
func (c *counters) add(m []admin.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range m {
		if m[i].Type == admin.Counter {
			m[i].Value += c.base[nameOf(&m[i])]
		}
	}
}

// load makes base what the process before counted.
func (c *counters) load(base map[string]float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base = base
}

// sums returns the counters of m with what was counted before.
func (c *counters) sums(m []admin.Metric) map[string]float64 {
	c.add(m)
	sums := make(map[string]float64)
	for i := range m {
		if m[i].Type == admin.Counter && m[i].Value != 0 {
			sums[nameOf(&m[i])] = m[i].Value
		}
	}
	return sums
}

// mend keeps what those parts had counted that begin anew: before and now are their own counters.
func (c *counters) mend(before, now []admin.Metric) {
	values := make(map[string]float64, len(now))
	for i := range now {
		values[nameOf(&now[i])] = now[i].Value
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.base == nil {
		c.base = make(map[string]float64)
	}
	for i := range before {
		if m := &before[i]; m.Type == admin.Counter && m.Value > values[nameOf(m)] {
			c.base[nameOf(m)] += m.Value - values[nameOf(m)]
		}
	}
}
