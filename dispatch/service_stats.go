package dispatch

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Stats are a Service's numbers.
type Stats struct {
	Readings    uint64        // of the fleet, that went well
	Failures    uint64        // that did not
	Age         time.Duration // of what answers are made of; below 0: nothing was ever read
	Stale       bool          // answers say so
	Degraded    bool          // likewise
	Gateways    int           // with a live report
	Missing     int           // whose reports are gone, and who are believed to be there all the same
	Broken      []string      // what is wrong in Redis: reports that cannot be used, and why
	Unknown     []string      // load balancers with gateways and without an address
	Dispatchers int           // live dispatch services; 0: unknown
	Balancers   []BalancerStats
	Answers     map[int]uint64 // by HTTP status
}

// BalancerStats are the numbers of one load balancer that clients are told.
type BalancerStats struct {
	Name         string
	Addresses    int
	Gateways     int     // behind it
	Open         int     // of these, neither draining nor down
	Availability float64 // sum over them
	Capacity     float64 // links, likewise
	Links        float64
	First        uint64 // answers that it stood at the head of, since it is known
}

// Stats reads the numbers.
func (s *Service) Stats() Stats {
	k := &s.fleet
	k.mu.Lock()
	defer k.mu.Unlock()
	now := s.now()
	st := Stats{
		Readings: k.readings, Failures: k.failures, Age: -1,
		Stale: s.view().isStale(now), Degraded: k.putBack > 0,
		Gateways: len(k.gateways) - k.putBack, Missing: k.putBack,
		Broken: k.broken, Dispatchers: k.dispatcher, Answers: s.count.read(),
	}
	if k.good >= 0 {
		st.Age = now - k.good
	}
	for _, b := range k.unknown {
		st.Unknown = append(st.Unknown, b.box.Name)
	}
	if k.roster == nil {
		return st
	}
	for _, list := range [][]balancer{k.roster.serving, k.roster.idle} {
		for _, b := range list {
			st.Balancers = append(st.Balancers, BalancerStats{
				Name: b.name, Addresses: b.addresses, Gateways: b.gateways, Open: b.open, First: b.first.Load(),
				Availability: b.box.Availability, Capacity: b.box.Capacity, Links: b.box.Links,
			})
		}
	}
	return st
}

// Healthy is nil while Run works: it has tried to read the fleet lately, well or not.
func (s *Service) Healthy() error {
	const late = 10 * time.Second
	idle := s.now() - time.Duration(s.attempt.Load())
	if idle > s.config.Refresh+late {
		return fmt.Errorf("no attempt to read the fleet for %v", idle.Round(time.Second))
	}
	return nil
}

// Ready is nil while there is something to answer with, fresh or stale.
func (s *Service) Ready() error {
	select {
	case <-s.ready:
	default:
		return errors.New("the fleet was not read yet")
	}
	if s.view().roster == nil {
		return errNobody
	}
	return nil
}

// mostNotices bounds the names in one line of the log. Those beyond come with the next reading.
const mostNotices = 50

// notices remembers what was said, so that a thing that lasts is said once, and again when it is back.
type notices struct{ unknown, silent map[string]bool }

// notice logs what does not fit together in a reading and the configuration. What is wrong with the reports themselves the
// reader has logged.
func (s *Service) notice(r *roster) {
	k := &s.fleet
	said := &k.said
	var unknown, silent []string
	for _, b := range r.unknown {
		unknown = append(unknown, b.box.Name)
	}
	for _, b := range r.idle {
		if b.gateways == 0 {
			silent = append(silent, b.box.Name)
		}
	}
	said.unknown = news(s.log, said.unknown, unknown, "load balancers with gateways, but without an address in [[slb]], are left out")
	said.silent = news(s.log, said.silent, silent, "load balancers of which no gateway reports are listed last")
}

// news logs those of now that were not said yet, and returns all that count as said from here on.
func news(log *slog.Logger, said map[string]bool, now []string, message string) map[string]bool {
	next := make(map[string]bool, len(now))
	var fresh []string
	for _, name := range now {
		if !said[name] && len(fresh) == mostNotices {
			continue
		}
		if !said[name] {
			fresh = append(fresh, name)
		}
		next[name] = true
	}
	if len(fresh) > 0 {
		log.Warn(message, "number", len(now), "new", fresh)
	}
	return next
}
