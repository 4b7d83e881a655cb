package main

import (
	"edged/admin"
	"edged/bus"
)

// metrics shows who is here and how they fare in Redis.
func (p *people) metrics(m *metrics) {
	d := p.hub.Directory()
	m.gauge("edged_users", "users with a link here", d.Users())
	m.gauge("edged_devices", "links that belong to a user's device", d.Devices())
	for _, k := range []admin.TargetKind{admin.ToUser, admin.ToDevice, admin.ToRoom, admin.ToEveryone, admin.ToLink} {
		m.counter("edged_operator_pushes_total", "pushes of operators, by target", p.count.pushed.of(k).Load(), label("to", string(k)))
	}
	m.counter("edged_strays_total", "messages by Redis for users without a link here, whose routes were looked after", p.count.strays.Load())
	m.counter("edged_strays_dropped_total", "those for which there was no time", p.count.strayLost.Load())
	if p.routes() == nil {
		return
	}
	p.routeMetrics(m)
	p.busMetrics(m)
	s := p.stored.Stats()
	m.counter("edged_stored_messages_pulled_total", "stored messages read", s.Pulled)
	m.counter("edged_stored_messages_removed_total", "stored messages found too old, and removed", s.Removed)
	m.counter("edged_stored_messages_garbage_total", "entries of logs that are no message, left out", s.Garbage)
}

func (p *people) routeMetrics(m *metrics) {
	s := p.routes().Stats()
	m.gauge("edged_lease_held", "1 while Redis has this gateway's lease, so that its users are online", flag(s.Held))
	m.counter("edged_lease_failures_total", "renewals of the lease that failed", s.LeaseFailures)
	m.counter("edged_lease_twins_total", "renewals that found a younger process under this gateway's id", s.Twins)
	m.counter("edged_lease_lost_total", "times that all routes were looked after, because Redis had lost the lease", s.LeaseLost)
	m.gauge("edged_routes_waiting", "devices whose routes are to be written", s.Waiting)
	m.counter("edged_routes_written_total", "routes written", s.Written)
	m.counter("edged_routes_removed_total", "routes removed", s.Removed)
	m.counter("edged_routes_visited_total", "routes looked after without a change here", s.Visited)
	m.counter("edged_routes_elsewhere_total", "routes found to be another gateway's", s.Elsewhere)
	m.counter("edged_route_failures_total", "writes of routes without an answer of Redis", s.Failures)
	m.counter("edged_routes_refused_total", "routes that Redis does not take, because another program uses their key", s.Refused)
	m.counter("edged_routes_dropped_total", "changes dropped because too many waited; the resync finds them", s.Dropped)
	m.counter("edged_routes_dead_total", "dead routes found and removed", p.reader.Dead())
	m.counter("edged_presence_dropped_total", "presence events dropped because too many waited", s.EventsDropped)
	m.counter("edged_evictions_total", "links that had to give way to a login on another gateway, or there to one here", s.Evicted)
	m.counter("edged_evictions_told_total", "those of other gateways that were told", p.count.told.Load())
	m.counter("edged_evictions_untold_total", "those that could not be", p.count.untold.Load())
}

func (p *people) busMetrics(m *metrics) {
	for _, from := range []bus.Source{bus.FromOwn, bus.FromAll} {
		h, channel := p.subscriber.Heard(from), label("channel", from.String())
		m.gauge("edged_bus_up", "1 while what others publish is heard", flag(h.Up), channel)
		m.counter("edged_bus_received_batches_total", "batches heard", h.Batches, channel)
		m.counter("edged_bus_received_bytes_total", "bytes of them", h.Bytes, channel)
		m.counter("edged_bus_garbage_total", "messages that are no batch", h.Garbage, channel)
		m.counter("edged_bus_interruptions_total", "times that batches may have been missed", h.Misses, channel)
	}
	s := p.publisher.Published()
	m.counter("edged_bus_published_batches_total", "batches that Redis took", s.Batches)
	m.counter("edged_bus_published_bytes_total", "bytes of them", s.Bytes)
	m.counter("edged_bus_unheard_batches_total", "those that no gateway heard", s.Unheard)
	m.counter("edged_bus_failed_batches_total", "batches that were perhaps not published", s.Failed)
	m.counter("edged_bus_refused_batches_total", "batches refused because too many waited", s.Full)
	m.gauge("edged_bus_waiting_batches", "batches that wait for Redis", s.Waiting)
}
