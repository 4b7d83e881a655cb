package main

import (
	"maps"
	"slices"
	"strconv"

	"edged/admin"
	"edged/dispatch"
)

// Metrics is a snapshot of every number of the dispatch service.
func (s dispatchSource) Metrics() []admin.Metric {
	var m metrics
	st := s.service.Stats()
	m.gauge("edged_build_info", "the running version", 1, label("version", version))
	for _, code := range slices.Sorted(maps.Keys(st.Answers)) {
		m.counter("edged_dispatch_requests_total", "requests of clients, by status of the answer", st.Answers[code], label("code", strconv.Itoa(code)))
	}
	m.counter("edged_dispatch_refreshes_total", "readings of the fleet that went well", st.Readings)
	m.counter("edged_dispatch_refresh_failures_total", "readings of the fleet that failed", st.Failures)
	if st.Age >= 0 {
		m.add(admin.Gauge, "edged_dispatch_refresh_age_seconds", "age of the reading that answers are made of", st.Age.Seconds())
	}
	m.gauge("edged_dispatch_stale", "1 while answers are marked stale", flag(st.Stale))
	m.gauge("edged_dispatch_degraded", "1 while missing gateways are believed to be there", flag(st.Degraded))
	m.gauge("edged_dispatch_gateways", "gateways with a live report", st.Gateways)
	m.gauge("edged_dispatch_missing_gateways", "gateways without one that are believed to be there", st.Missing)
	m.gauge("edged_dispatch_broken_reports", "things that are wrong in Redis: reports that cannot be used, members without one", len(st.Broken))
	m.gauge("edged_dispatch_unknown_slbs", "load balancers with gateways that have no address in the configuration", len(st.Unknown))
	m.gauge("edged_dispatch_dispatchers", "live dispatch services, 0 while unknown", st.Dispatchers)
	for i := range st.Balancers {
		m.balancer(&st.Balancers[i])
	}
	return m
}

func (m *metrics) balancer(b *dispatch.BalancerStats) {
	slb := label("slb", b.Name)
	m.add(admin.Gauge, "edged_dispatch_slb_availability", "sum over the gateways of a load balancer", b.Availability, slb)
	m.gauge("edged_dispatch_slb_gateways", "gateways behind a load balancer that take links", b.Open, slb)
	m.add(admin.Gauge, "edged_dispatch_slb_links", "links of the gateways behind a load balancer", b.Links, slb)
	m.counter("edged_dispatch_first_places_total", "answers with a load balancer at the head", b.First, slb)
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
