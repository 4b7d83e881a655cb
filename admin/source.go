package admin

import (
	"context"
	"time"
)

// Source is what a Server shows. The composition root implements it over the
// product's counters. Its methods are called from any goroutine, each of them
// by one goroutine at a time; they should answer within milliseconds and are
// given up after two seconds.
type Source interface {
	// Status is the daemon at a glance.
	Status() Status
	// Metrics is a snapshot of every number; the slice and what hangs on it
	// are not changed after the return.
	Metrics() []Metric
	// Healthy is nil while the process works: its reactors answer.
	Healthy() error
	// Ready is nil while new links are welcome: not draining, and a Manager
	// reachable if one is configured. The error's text is the reason.
	Ready() error
	// Drain orders a drain, or its end, and returns as soon as the order is
	// given; nobody waits in it for links to leave.
	Drain(ctx context.Context, r DrainRequest) error
}

// The states that Status.State names.
const (
	StateWarming  = "warming"
	StateUp       = "up"
	StateDraining = "draining"
	StateDown     = "down"
)

// Status is the daemon at a glance: the JSON of /v1/status, and what
// `edged ctl status` prints.
type Status struct {
	ID          string          `json:"id"`
	Version     string          `json:"version"`
	State       string          `json:"state"`
	Reason      string          `json:"reason,omitempty"` // why the state is not "up"
	PID         int             `json:"pid"`
	Epoch       string          `json:"epoch,omitempty"`
	Started     time.Time       `json:"started"`
	At          time.Time       `json:"at"` // when these numbers were read; zero: unknown
	Advertise   string          `json:"advertise,omitempty"`
	Listeners   []string        `json:"listeners"`
	Reactors    int             `json:"reactors"`
	Capacity    int             `json:"capacity"`
	Links       int             `json:"links"`
	Managers    []ManagerStatus `json:"managers"`
	MessagesIn  uint64          `json:"messages_in"`
	MessagesOut uint64          `json:"messages_out"`
	Reloads     uint64          `json:"reloads,omitempty"` // since the cold start: processes that handed the links on
	Reload      *Reloaded       `json:"reload,omitempty"`  // the last of them
	Keeper      *KeeperStatus   `json:"keeper,omitempty"`  // nil: the links end with the process
	Drain       *DrainStatus    `json:"drain,omitempty"`   // nil: no link is sent away
	Room        *RoomStatus     `json:"room,omitempty"`    // nil: it is not measured
	People      *PeopleStatus   `json:"people,omitempty"`  // nil: the daemon has no links
}

// DrainStatus is how far a drain has come.
type DrainStatus struct {
	Share bool      `json:"share,omitempty"` // only some of the links are sent away, and new ones are taken
	Total int       `json:"total"`           // links to send away, at the begin
	Left  int       `json:"left"`            // of them
	Until time.Time `json:"until"`           // when the last one is to go
}

// KeeperStatus is whether the links outlive the process.
type KeeperStatus struct {
	State     string    `json:"state"`               // "ok", or what is wrong
	Links     int       `json:"links"`               // kept now
	Crashes   uint64    `json:"crashes,omitempty"`   // since the cold start
	Recovered *Recovery `json:"recovered,omitempty"` // the last time that links were taken back
}

// Recovery is how a process got its links from the keeper.
type Recovery struct {
	At    time.Time `json:"at"`
	Crash bool      `json:"crash"` // the process before had died, and not left
	Links int       `json:"links"` // that went on
	Torn  int       `json:"torn"`  // those that were in use when it died, and had to be closed
}

// PeopleStatus is who is here, and whether others find them.
type PeopleStatus struct {
	Users   int    `json:"users"`
	Devices int    `json:"devices"`
	Routes  string `json:"routes"` // whether Redis has them: "off", "ok", or what is wrong
	Bus     string `json:"bus"`    // whether what others publish is heard: likewise
}

// RoomStatus is how much room the box has left, and whether that reaches Redis.
type RoomStatus struct {
	Availability float64   `json:"availability"` // 0 full, 1 empty
	Reason       string    `json:"reason"`       // which of the terms decided
	PPS          float64   `json:"pps"`          // packets a second
	PPSLimit     float64   `json:"pps_limit"`    // 0: none
	Bytes        float64   `json:"bytes"`        // bytes a second
	BytesLimit   float64   `json:"bytes_limit"`  // 0: none
	NICs         []string  `json:"nics"`
	SLB          string    `json:"slb,omitempty"`
	Reports      string    `json:"reports"`              // "off", "ok", or what is wrong
	Reported     time.Time `json:"reported_at,omitzero"` // the last success
}

// ManagerStatus is one configured Manager as the daemon sees it.
type ManagerStatus struct {
	Address string `json:"address"`
	ID      string `json:"id,omitempty"` // as it named itself; empty before its hello
	State   string `json:"state"`
	Streams int    `json:"streams"` // how many are up
}

// Type is what kind of number a Metric is.
type Type int

// The types of a Metric. The zero value is none of them.
const (
	Counter Type = iota + 1
	Gauge
	Histogram
)

// Metric is one number of a snapshot. All metrics of one name carry the same
// help, the same type and the same label names in the same order; no two of
// them carry the same label values.
type Metric struct {
	Name   string
	Help   string
	Type   Type
	Labels []Label
	Value  float64 // of a Counter or Gauge

	// Of a Histogram. Count may be torn against the buckets, as both are read
	// while others count: the larger of Count and the buckets' sum is shown.
	Buckets []Bucket
	Sum     float64
	Count   uint64
}

// Label is one name and value that tell a Metric from its siblings.
type Label struct{ Name, Value string }

// Bucket is one step of a histogram: the observations above the bound of the
// bucket before it, up to and including UpTo. Counts are the bucket's own, not
// cumulative; bounds ascend.
type Bucket struct {
	UpTo  float64
	Count uint64
}
