package main

import (
	"edged/admin"
	"edged/gateway"
	"edged/relay"
)

// pushes shows what became of pushes, and what is under way.
func (m *metrics) pushes(s *gateway.ShardStats, reactor admin.Label) {
	for i, ack := range []string{admin.AckNone, admin.AckRequired, admin.AckSampled} { // as batch.Ack numbers them
		m.counter("edged_pushes_total", "pushes sent, each once, by the acknowledgement asked for", s.Pushes[i], reactor, label("ack", ack))
	}
	m.counter("edged_pushes_acked_total", "pushes acknowledged, samples among them", s.Acked, reactor)
	m.counter("edged_pushes_repeated_total", "pushes sent once more", s.Repeats, reactor)
	m.counter("edged_duplicate_acks_total", "acknowledged tids that nobody waits for any more", s.DuplicateAcks, reactor)
	m.counter("edged_samples_asked_total", "links asked to acknowledge a push as a sample", s.Sampled, reactor)
	m.counter("edged_samples_acked_total", "of them, those that did: the ratio is the reach", s.SampledAcked, reactor)
	m.counter("edged_pushes_compressed_total", "pushes that went out as gzip", s.Gzipped, reactor)
	m.counter("edged_gzip_saved_bytes_total", "bytes that this saved", s.GzipSaved, reactor)
	m.counter("edged_data_dropped_total", "DATA dropped or refused because its link did not take it", s.DataDropped, reactor)
	m.counter("edged_links_replaced_total", "links closed because their user and device have a newer one", s.Replaced, reactor)
	m.gauge("edged_links_unacked", "links with unacknowledged pushes", s.Windows, reactor)
	m.gauge("edged_pushes_unacked", "pushes that wait for their acknowledgement", s.Outstanding, reactor)
}

// rooms shows rooms and what is carried out on many links.
func (m *metrics) rooms(s *gateway.ShardStats, reactor admin.Label) {
	m.gauge("edged_rooms", "rooms with members on this reactor", s.Rooms, reactor)
	m.gauge("edged_room_members", "pairs of a room and a link in it", s.Memberships, reactor)
	m.counter("edged_room_joins_total", "links that joined a room", s.Joins, reactor)
	m.counter("edged_room_leaves_total", "links that left a room", s.Leaves, reactor)
	m.counter("edged_casts_total", "operations for a room or everyone", s.Casts, reactor)
	m.counter("edged_cast_deliveries_total", "links that they were carried out on", s.CastDeliveries, reactor)
}

// turns shows stored messages and what waits for its turn.
func (m *metrics) turns(s *gateway.ShardStats, reactor admin.Label) {
	m.counter("edged_pulls_total", "questions to the log of stored messages", s.Pulls, reactor)
	m.counter("edged_pull_errors_total", "those without an answer", s.PullErrors, reactor)
	m.counter("edged_pulled_messages_total", "stored messages sent out of the log", s.Pulled, reactor)
	m.counter("edged_messages_held_back_total", "messages that came before their turn", s.HeldBack, reactor)
	m.counter("edged_messages_late_total", "messages sent after their turn was given up", s.LateSent, reactor)
	m.counter("edged_messages_doubled_total", "messages dropped because they had their turn", s.Doubles, reactor)
	m.counter("edged_messages_left_to_log_total", "messages left to the log because their link did not take them", s.Behind, reactor)
	m.counter("edged_bus_items_total", "items that came by Redis or from an operator", s.BusItems, reactor)
	m.counter("edged_bus_items_not_here_total", "of them, those for users and rooms that are not here", s.BusNotHere, reactor)
	m.gauge("edged_links_ordered", "links whose messages have an order", s.Orders, reactor)
	m.gauge("edged_messages_held", "messages that wait for their turn", s.Held, reactor)
	m.gauge("edged_links_replaying", "links that are brought up from the log", s.Replays, reactor)
}

// inlet shows a way in that is no Manager's.
func (m *metrics) inlet(s *relay.InletStats, from admin.Label) {
	m.counter("edged_inlet_batches_total", "batches by Redis and from operators", s.Received.Batches, from)
	m.counter("edged_inlet_bytes_total", "bytes of them", s.Received.Bytes, from)
	m.counter("edged_inlet_garbage_total", "batches that were none", s.Garbage, from)
	m.counter("edged_inlet_link_items_total", "items for links in what went to every gateway, left out", s.LinkItems, from)
	m.counter("edged_inlet_dropped_items_total", "items that found no room in time, once for each reactor that lacked it", s.Dropped, from)
	m.counter("edged_inlet_busy_batches_total", "batches of which something was dropped", s.Busy, from)
}
