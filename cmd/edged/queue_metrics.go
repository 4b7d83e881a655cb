package main

import (
	"maps"
	"slices"
	"strconv"

	"edged/admin"
	"edged/queue"
)

// Metrics is a snapshot of every number of the queue layer.
func (s queueSource) Metrics() []admin.Metric {
	var m metrics
	st := s.service.Stats()
	m.gauge("edged_build_info", "the running version", 1, label("version", version))
	m.counter("edged_queue_entries_read_total", "entries that were read", st.Read)
	for _, name := range slices.Sorted(maps.Keys(st.Outcomes)) {
		m.counter("edged_queue_entries_total", "entries that are done, by what became of them", st.Outcomes[name], label("outcome", name))
	}
	for _, name := range slices.Sorted(maps.Keys(st.Reasons)) {
		m.counter("edged_queue_dead_total", "entries that were put into edged:dead, by reason", st.Reasons[name], label("reason", name))
	}
	m.counter("edged_queue_read_errors_total", "reads that failed", st.ReadErrors)
	m.counter("edged_queue_retries_total", "times that a step of an entry failed, to be tried again", st.Retries)
	m.gauge("edged_queue_in_flight_entries", "entries that were read and are not done", st.InFlight)
	m.gauge("edged_queue_in_flight_bytes", "bytes of entries that were read and are not done", st.Bytes)
	m.gauge("edged_queue_held_entries", "entries held back because a step failed", st.Held)
	m.delays(st)
	m.counter("edged_queue_publications_total", "batches for gateways", st.Publications)
	m.counter("edged_queue_unheard_publications_total", "batches for gateways that none heard, as far as Redis knew", st.Unheard)
	m.counter("edged_queue_failed_publications_total", "batches for gateways that Redis did not take, and that were tried again", st.Unpublished)
	m.stored(s)
	m.backlog(s)
	codes, messages := s.handler.Answers()
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		m.counter("edged_queue_requests_total", "HTTP requests, by status of the answer", codes[code], label("code", strconv.Itoa(code)))
	}
	m.counter("edged_queue_posted_total", "messages that were taken by HTTP", messages)
	m.counter("edged_queue_dead_routes_total", "routes of dead gateways that were removed", s.reader.Dead())
	m.gauge("edged_queue_redis_up", "1 while Redis answers", flag(s.redis.Connected()))
	return m
}

// delays adds how long entries took.
func (m *metrics) delays(st queue.Stats) {
	out := admin.Metric{
		Name: "edged_queue_delay_seconds", Help: "from when Redis took an entry until it was done", Type: admin.Histogram,
		Sum: float64(st.DelayMs) / 1000, Count: st.Finished,
	}
	for i, n := range st.Delays {
		out.Buckets = append(out.Buckets, admin.Bucket{UpTo: float64(uint64(1)<<i-1) / 1000, Count: n})
	}
	*m = append(*m, out)
}

func (m *metrics) stored(s queueSource) {
	st := s.stored.Stats()
	m.counter("edged_queue_stored_total", "messages that were stored", st.Stored)
	m.counter("edged_queue_duplicates_total", "messages that had been stored before, by their msg_id", st.Duplicates)
	m.counter("edged_queue_store_refused_total", "messages that can never be stored, as a key of their user clashed", st.Refused)
	m.counter("edged_queue_store_failures_total", "messages that Redis perhaps did not store, and that were tried again", st.Failed)
	m.counter("edged_queue_log_removed_total", "stored messages that were removed by the caps of their log", st.Removed)
}

// backlog adds what the stream looks like; nothing before that is known.
func (m *metrics) backlog(s queueSource) {
	claimed, trimmed := s.stream.Counts()
	m.counter("edged_queue_claimed_total", "entries taken over from dead processes", claimed)
	m.counter("edged_queue_trimmed_total", "entries that this process trimmed from the stream", trimmed)
	b, known := s.stream.Backlog()
	if !known {
		return
	}
	m.gauge("edged_queue_stream_entries", "entries in edged:in", b.Length)
	if b.Waiting >= 0 {
		m.gauge("edged_queue_waiting_entries", "entries in edged:in that no process has read", b.Waiting)
	}
	m.gauge("edged_queue_pending_entries", "entries in edged:in that processes have read and not done", b.Pending)
	m.add(admin.Gauge, "edged_queue_oldest_seconds", "age of the oldest entry that is not done", b.Oldest.Seconds())
	m.gauge("edged_queue_consumers", "processes in the group", b.Consumers)
	if b.Dead >= 0 {
		m.gauge("edged_queue_dead_entries", "entries in edged:dead", b.Dead)
	}
	m.add(admin.Gauge, "edged_queue_backlog_timestamp_seconds", "when these numbers of the stream were read, Unix time", float64(b.At.UnixMilli())/1000)
}
