package swarm

import (
	"maps"
	"time"
)

// Progress is what a swarm did in the last second.
type Progress struct {
	Phase    string        // "ramp", "run", "settle", "finish", "leave"
	Elapsed  time.Duration // since the start
	Links    int           // open now
	Opened   float64       // links/s
	Sent     float64       // messages/s
	Answered float64       // messages/s
	P50, P99 time.Duration // of the answers
	Max      time.Duration // the longest of them
	Errors   uint64        // since the start: connects, lost links, unsent and corrupt messages
}

// Report is what a swarm did and found.
type Report struct {
	Target      []string `json:"target,omitempty"`
	Dispatch    *Lookups `json:"dispatch,omitempty"` // instead of Target
	Links       int      `json:"links"`              // wanted
	Interrupted bool     `json:"interrupted,omitempty"`
	RampS       float64  `json:"ramp_s"` // until each link was opened or had failed
	RunS        float64  `json:"run_s"`  // from then until no more was sent

	Connections Connections `json:"connections"`
	Addresses   []Place     `json:"addresses"` // where links went, in the order of Target or as the lists named them
	Messages    Messages    `json:"messages"`
	Latency     *Histogram  `json:"latency"` // of answers
	Connect     *Histogram  `json:"connect"` // from connect to WELCOME, in whole ms
	Away        *Histogram  `json:"away"`    // of links that came back: from their end to WELCOME, in whole ms
	Lag         *Histogram  `json:"lag"`     // with a rate: how far behind its times the swarm was
	Pause       Pause       `json:"pause"`

	Corrupt List    `json:"corrupt"`         // answers that are not what was sent
	Check   *Checks `json:"check,omitempty"` // with Checker
}

// Pause is the longest time that a client waited for an answer.
type Pause struct {
	Took time.Duration `json:"took_ns"`
	At   time.Duration `json:"at_ns"` // when the answer came, since the run began
	Link string        `json:"link,omitempty"`
}

// Connections counts links and their ends.
type Connections struct {
	Opened  uint64            `json:"opened"` // WELCOMEs, those after a reconnect included
	Up      int               `json:"up"`     // when the swarm began to leave
	PerS    float64           `json:"per_s"`  // opened while ramping
	Errors  map[string]uint64 `json:"errors"` // links that did not come up, by reason
	Byes    map[string]uint64 `json:"byes"`   // links that the gateway ended, by the name of its reason
	Lost    map[string]uint64 `json:"lost"`   // links that broke without BYE
	Broken  uint64            `json:"broken"` // both together: links that were up and ended, not by the swarm
	Retries uint64            `json:"retries"`
}

// Place counts the links that went to one address.
type Place struct {
	Address string `json:"address"`
	SLB     string `json:"slb,omitempty"` // the load balancer that the dispatch service named for it
	Opened  uint64 `json:"opened"`        // WELCOMEs, those after a reconnect included
	Up      int    `json:"up"`            // when the swarm began to leave
	Failed  uint64 `json:"failed"`        // tries that did not come so far
	Ended   uint64 `json:"ended"`         // links that were up and ended, with BYE or without
}

// Lookups counts the questions to a dispatch service.
type Lookups struct {
	URL    string            `json:"url"`
	Asked  uint64            `json:"asked"`
	Failed uint64            `json:"failed"` // of them, without a list for an answer
	Errors map[string]uint64 `json:"errors"` // those by reason
	Took   *Histogram        `json:"took"`
}

func (s *Lookups) clone() *Lookups {
	took := *s.Took
	return &Lookups{s.URL, s.Asked, s.Failed, maps.Clone(s.Errors), &took}
}

// Messages counts what went over the links.
type Messages struct {
	Sent       uint64  `json:"sent"`
	Answered   uint64  `json:"answered"`
	PerS       float64 `json:"per_s"`      // answered, over the run
	Unanswered uint64  `json:"unanswered"` // no answer in time, or lost with the link
	Unsent     uint64  `json:"unsent"`     // their time came when the link took no more, or none was up
	Renumbered uint64  `json:"renumbered"` // answers whose Manager's number did not follow the one before
	Pushes     uint64  `json:"pushes"`
	Acks       uint64  `json:"acks"`
	Heartbeats uint64  `json:"heartbeats"`
	BytesIn    uint64  `json:"bytes_in"`
	BytesOut   uint64  `json:"bytes_out"`
}

// Checks is what the two sides' ledgers found.
type Checks struct {
	Answers  Check  `json:"answers"`   // of the answers, as the clients saw them
	Messages Check  `json:"messages"`  // of the messages, as the Manager saw them
	Manager  Check  `json:"manager"`   // of what the Manager sent, by its own numbers, as the clients saw it
	Unheard  List   `json:"unheard"`   // of the missing answers those that links waited for when they ended
	NoReport List   `json:"no_report"` // links of which the Manager's account did not come
	Reports  uint64 `json:"reports"`   // accounts that came
}

// Check is what one side found.
type Check struct {
	Missing    List `json:"missing"`
	Doubled    List `json:"doubled"`
	Disordered List `json:"disordered"`
}

// MostListed bounds the entries of a List.
const MostListed = 64

// List names the links at which a fault was found: the first MostListed, and how often it was found in all.
type List struct {
	Total uint64  `json:"total"`
	First []Fault `json:"first,omitempty"`
}

// Fault is a fault at one link.
type Fault struct {
	Link    string   `json:"link"`
	Count   uint64   `json:"count"`
	Numbers []uint32 `json:"numbers,omitempty"` // of messages; the first ones, as far as known
}

// add counts a fault; link is asked only if it is to be listed.
func (l *List) add(link func() string, count uint64, numbers ...uint32) {
	l.Total += count
	if len(l.First) < MostListed {
		l.First = append(l.First, Fault{link(), count, numbers})
	}
}

func (l *List) merge(o *List) {
	l.Total += o.Total
	l.First = append(l.First, o.First[:min(len(o.First), MostListed-len(l.First))]...)
}

func (c *Check) merge(o *Check) {
	c.Missing.merge(&o.Missing)
	c.Doubled.merge(&o.Doubled)
	c.Disordered.merge(&o.Disordered)
}

func (c *Checks) merge(o *Checks) {
	c.Answers.merge(&o.Answers)
	c.Messages.merge(&o.Messages)
	c.Manager.merge(&o.Manager)
	c.Unheard.merge(&o.Unheard)
	c.NoReport.merge(&o.NoReport)
	c.Reports += o.Reports
}

func sum(m map[string]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}
