package main

import (
	"strconv"

	"edged/admin"
	"edged/batch"
	"edged/gateway"
	"edged/relay"
	"edged/wire"
)

// metrics collects what /metrics shows.
type metrics []admin.Metric

func (m *metrics) add(t admin.Type, name, help string, v float64, labels ...admin.Label) {
	*m = append(*m, admin.Metric{Name: name, Help: help, Type: t, Value: v, Labels: labels})
}

func (m *metrics) counter(name, help string, v uint64, labels ...admin.Label) {
	m.add(admin.Counter, name, help, float64(v), labels...)
}

func (m *metrics) gauge(name, help string, v int, labels ...admin.Label) {
	m.add(admin.Gauge, name, help, float64(v), labels...)
}

// powers adds the first buckets of a histogram of powers of two, in units of unit; what lies above shows in its count.
func (m *metrics) powers(name, help string, h relay.Histogram, buckets int, unit float64, labels ...admin.Label) {
	out := admin.Metric{Name: name, Help: help, Type: admin.Histogram, Labels: labels, Sum: float64(h.Sum) * unit, Count: h.Count}
	for i, n := range h.Buckets[:buckets] {
		out.Buckets = append(out.Buckets, admin.Bucket{UpTo: float64(uint64(1)<<i-1) * unit, Count: n})
	}
	*m = append(*m, out)
}

func label(name, value string) admin.Label { return admin.Label{Name: name, Value: value} }

// Metrics is a snapshot of every number of the gateway. Reactors that do not answer are left out.
func (s source) Metrics() []admin.Metric {
	var m metrics
	st, err := s.stats()
	up := 1
	if err != nil {
		up = 0
	}
	m.gauge("edged_healthy", "1 while every reactor answers", up)
	m.gauge("edged_build_info", "the running version", 1, label("version", version))
	m.gauge("edged_capacity_links", "links that can be held", s.gateway.Capacity())
	draining := 0
	if s.gateway.Draining() {
		draining = 1
	}
	m.gauge("edged_draining", "1 while links are sent away", draining)
	own := s.ownMetrics()
	s.counters.add(own)
	m = append(m, own...)
	m.counter("edged_reloads_total", "processes since the cold start that handed their links on", s.reloads)
	m.counter("edged_crashes_total", "processes since the cold start that died, and whose links went on", s.crashes)
	s.steeringMetrics(&m)
	for i := range st.Shards {
		reactor := label("reactor", strconv.Itoa(i))
		m.links(&st.Shards[i], reactor)
		m.frames(&st.Shards[i], reactor)
		m.pushes(&st.Shards[i], reactor)
		m.rooms(&st.Shards[i], reactor)
		m.turns(&st.Shards[i], reactor)
		m.loop(&st.Shards[i], reactor)
		if s.keeping != nil {
			m.kept(&st.Shards[i], reactor)
		}
	}
	for i, n := range st.Relay.Lanes {
		m.gauge("edged_lane_batches", "batches of Managers that wait for their reactor", n, label("reactor", strconv.Itoa(i)))
	}
	for i, name := range []string{"own", "all", "operator"} { // in the order in which the gateway opens them
		if i < len(st.Relay.Inlets) {
			m.inlet(&st.Relay.Inlets[i], label("from", name))
		}
	}
	for i := range st.Relay.Streams {
		m.stream(&st.Relay.Streams[i])
	}
	return m
}

// ownMetrics is what this process alone has to show, beside its gateway.
func (i *instance) ownMetrics() metrics {
	var m metrics
	i.reports.metrics(&m)
	i.people.metrics(&m)
	i.keeping.metrics(&m)
	return m
}

func (m *metrics) links(s *gateway.ShardStats, reactor admin.Label) {
	m.gauge("edged_links", "links held now", s.Links, reactor)
	m.gauge("edged_links_waiting", "links not read for want of room towards their Manager", s.Waiting, reactor)
	m.gauge("edged_session_bytes", "memory that sessions lie in", s.SessionBytes, reactor)
	m.counter("edged_links_opened_total", "connections that became links", s.Opened, reactor)
	m.counter("edged_links_welcomed_total", "links that had their WELCOME", s.Welcomed, reactor)
	m.counter("edged_binds_total", "logins accepted by a Manager", s.Binds, reactor)
	m.counter("edged_link_stalls_total", "times that a link was not read for want of room", s.Stalls, reactor)
	m.counter("edged_link_throttles_total", "times that a link was not read because it said more than its rate", s.Throttles, reactor)
	m.counter("edged_links_moved_total", "links that went to another Manager", s.Moved, reactor)
	for r := range s.Refused {
		if name := wire.Reason(r).String(); r > 0 && (s.Refused[r] > 0 || r == int(wire.ByeOverloaded) || r == int(wire.ByeDraining)) {
			m.counter("edged_links_refused_total", "connections that became no link, by the BYE they got", s.Refused[r], reactor, label("reason", name))
		}
	}
	for _, e := range gateway.EndLabels() {
		m.counter("edged_links_closed_total", "links ended, by reason", s.Ended[e], reactor, label("reason", e.String()))
	}
}

func (m *metrics) frames(s *gateway.ShardStats, reactor admin.Label) {
	for k := wire.KindHello; k <= wire.KindPong; k++ {
		m.counter("edged_frames_received_total", "frames from clients, by kind", s.FramesIn[k], reactor, label("kind", k.String()))
		m.counter("edged_frames_sent_total", "frames to clients, by kind", s.FramesOut[k], reactor, label("kind", k.String()))
	}
	m.counter("edged_heartbeats_total", "heartbeats received and answered", s.Heartbeats, reactor)
	m.counter("edged_heartbeats_gathered_total", "heartbeats that were answered together with others", s.Gathered, reactor)
	m.counter("edged_unknown_acks_total", "acknowledged tids that were never sent", s.UnknownAcks, reactor)
	m.counter("edged_items_received_total", "items of Managers", s.ItemsIn, reactor)
	m.counter("edged_items_sent_total", "items to Managers", s.ItemsOut, reactor)
	m.counter("edged_items_rerouted_total", "items sent again to another Manager", s.Rerouted, reactor)
	for i, n := range s.Dropped {
		m.counter("edged_items_dropped_total", "items of Managers dropped without an answer", n, reactor, label("reason", gateway.DropLabel(i).String()))
	}
	for i, n := range s.Refusals {
		if i > 0 {
			m.counter("edged_operations_refused_total", "operations of Managers not carried out", n, reactor, label("reason", batch.Code(i).String()))
		}
	}
	for i, n := range s.Undelivered {
		if i > 0 {
			m.counter("edged_pushes_undelivered_total", "pushes given back to Managers", n, reactor, label("reason", batch.LossReason(i).String()))
		}
	}
}

func (m *metrics) loop(s *gateway.ShardStats, reactor admin.Label) {
	l := &s.Loop
	m.counter("edged_received_bytes_total", "bytes from clients", l.ReadBytes, reactor)
	m.counter("edged_sent_bytes_total", "bytes to clients", l.WriteBytes, reactor)
	m.counter("edged_accepts_total", "connections accepted", l.Accepts, reactor)
	m.counter("edged_accepts_without_files_total", "accept calls that found no file descriptor or memory", l.NoFiles, reactor)
	m.counter("edged_reactor_wakeups_total", "turns of the reactor", l.Wakeups, reactor)
	m.counter("edged_reactor_empty_wakeups_total", "turns without an event", l.Empty, reactor)
	m.counter("edged_reactor_rests_total", "times that the reactor rested so that more came at once", l.Rests, reactor)
	m.counter("edged_reactor_events_total", "events taken from epoll", l.Events, reactor)
	m.counter("edged_reactor_reads_total", "recv calls", l.Reads, reactor)
	m.counter("edged_reactor_writes_total", "send and writev calls", l.Writes, reactor)
	m.counter("edged_output_blocked_total", "times that the kernel took not all output of a link", l.Blocked, reactor)
	m.counter("edged_output_refused_total", "writes refused because a link's output was at its bound", l.HighWater, reactor)
	m.counter("edged_output_held_total", "sends put off because the kernel held too much for a link", l.Held, reactor)
	m.gauge("edged_buffer_bytes", "buffers lent to links or kept for lending", l.BufferBytes, reactor)
	m.gauge("edged_connections_lingering", "connections closed here whose peer has not ended its side", l.Lingering, reactor)
}

func (m *metrics) stream(s *relay.StreamStats) {
	at := []admin.Label{label("manager", s.Address), label("reactor", strconv.Itoa(s.Shard))}
	up := 0
	if s.State == relay.StateUp {
		up = 1
	}
	m.gauge("edged_manager_stream_up", "1 while batches flow", up, at...)
	m.counter("edged_manager_streams_total", "streams opened; all but the first are reconnects", s.Streams, at...)
	m.counter("edged_manager_sent_batches_total", "batches to the Manager", s.Sent.Batches, at...)
	m.counter("edged_manager_sent_bytes_total", "bytes of batches to the Manager", s.Sent.Bytes, at...)
	m.counter("edged_manager_received_batches_total", "batches of the Manager", s.Received.Batches, at...)
	m.counter("edged_manager_received_bytes_total", "bytes of batches of the Manager", s.Received.Bytes, at...)
	m.counter("edged_manager_resent_batches_total", "batches sent once more on a new stream", s.Again, at...)
	m.counter("edged_manager_repeated_batches_total", "batches of the Manager dropped as taken before", s.Repeated, at...)
	m.counter("edged_manager_done_items_total", "items of such batches that were carried out before a crash, once for each reactor", s.Done, at...)
	m.counter("edged_manager_unkept_batches_total", "batches that a crash would have lost: with a keeper, for want of room", s.Unkept, at...)
	for _, e := range []struct {
		reason string
		n      uint64
	}{{"hole", s.Holes}, {"garbage", s.Garbage}, {"too_large", s.TooLarge}} {
		m.counter("edged_manager_stream_faults_total", "streams ended for a fault of the Manager", e.n, append(at[:2:2], label("reason", e.reason))...)
	}
	m.counter("edged_manager_renewed_total", "times that another Manager process answered", s.Renewed, at...)
	m.counter("edged_manager_gone_total", "times that the Manager was away for longer than its grace", s.Gone, at...)
	m.gauge("edged_manager_lane_batches", "batches that wait or lack a receipt", int(s.HeldBatches), at...)
	m.gauge("edged_manager_lane_bytes", "bytes of their buffers", int(s.HeldBytes), at...)
	m.powers("edged_manager_batch_items", "items in a batch", s.ItemsPerBatch, 13, 1, at...)
	m.powers("edged_manager_round_trip_seconds", "from a batch to its receipt", s.ReceiptMicros, 25, 1e-6, at...)
}
