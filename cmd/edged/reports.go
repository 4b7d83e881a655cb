package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"edged/admin"
	"edged/dispatch"
	"edged/health"
	"edged/nic"
	"edged/redisconn"
)

// reports measures how much room the box has, shows it in the windows, and tells Redis if there is one.
type reports struct {
	monitor *health.Monitor
	redis   *redisconn.Client                 // nil without Redis
	writing atomic.Pointer[dispatch.Reporter] // nil without Redis; another one after a detach
	state   string                            // that was told last; owned by publish
}

// newReports prepares the measuring; nothing happens before start. last is what a process before this one found, or nil.
func (i *instance) newReports(last *health.Snapshot) error {
	o := health.Options{Inputs: i.inputs, Publish: i.publish, Log: i.log, Gateway: i.gateway.ID(), Source: i.interfaces, Resume: last}
	var err error
	if i.reports.monitor, err = health.New(i.cfg.Health, o); err == nil {
		return nil
	}
	i.log.Warn("traffic is not measured", "err", err)
	o.Source = blind{err}
	if i.reports.monitor, err = health.New(i.cfg.Health, o); err != nil {
		return fmt.Errorf("health: %w", err)
	}
	return nil
}

// blind is the Source of a box that shows its interfaces to nobody: a container may be such a one, and serves all the same.
type blind struct{ why error }

func (b blind) Resolve([]string) (nic.Set, error)         { return nic.Set{}, b.why }
func (b blind) Read(int, string) (nic.Counters, error)    { return nic.Counters{}, b.why }
func (b blind) Watch(ctx context.Context, _ func()) error { <-ctx.Done(); return b.why }
func (b blind) Close() error                              { return nil }

// startReports begins to measure and to report.
func (i *instance) startReports() {
	r := &i.reports
	if conn := i.cfg.Redis.Conn(); conn.Enabled() {
		r.redis = redisconn.New(conn, i.log)
		r.rejoin(i)
	}
	r.monitor.Start()
}

// rejoin begins to report, again after a detach.
func (r *reports) rejoin(i *instance) {
	if r.redis != nil {
		r.writing.Store(dispatch.NewReporter(r.redis, i.gateway.ID(), i.cfg.Health.Interval, i.log))
	}
}

// detach leaves the last report standing, for another process under the same ID.
func (r *reports) detach(ctx context.Context) {
	if w := r.writing.Load(); w != nil {
		w.Detach(ctx)
	}
}

// stopReports takes the gateway out of the list: whoever is told its address now would be refused.
func (i *instance) stopReports(ctx context.Context) {
	r := &i.reports
	r.monitor.Stop()
	if w := r.writing.Load(); w != nil {
		w.Stop(ctx)
		r.redis.Close()
	}
}

// inputs is what the monitor cannot see by itself.
func (i *instance) inputs() health.Inputs {
	return health.Inputs{
		Links: i.gateway.Links(), Capacity: i.gateway.Capacity(),
		ManagersConfigured: len(i.cfg.Manager.Addresses) > 0 || lacksManager(i.cfg), ManagerUp: i.gateway.ManagerUp(),
		Files: i.gateway.Links(), FilesLimit: i.files, // the few others do not matter where the limit is near
		ReactorThreads: i.gateway.Threads(),
	}
}

// publish takes each score. A state that is not the one before is told at once: clients must not be sent to a box that drains.
func (i *instance) publish(s health.Snapshot) {
	r := &i.reports
	reporter := r.writing.Load()
	if reporter == nil {
		return
	}
	report := dispatch.Report{
		Address: i.gateway.Advertise(), SLB: i.cfg.Redis.SLB, State: s.State, Reason: s.Reason, Version: version,
		Availability: s.Availability, Raw: s.Raw,
		PPS: s.PPS, PPSLimit: s.PPSLimit, Bytes: s.Bytes, BytesLimit: s.BytesLimit,
		Links: s.Links, Capacity: s.Capacity, Epoch: i.gateway.Epoch(), Sharded: i.people.sharded(),
	}
	if s.State != r.state {
		r.state = s.State
		reporter.Now(report)
		return
	}
	reporter.Put(report)
}

// status shows the score and how the reports fare.
func (r *reports) status(slb string) *admin.RoomStatus {
	s := r.monitor.Latest()
	out := &admin.RoomStatus{
		Availability: s.Availability, Reason: s.Reason, PPS: s.PPS, PPSLimit: s.PPSLimit, Bytes: s.Bytes, BytesLimit: s.BytesLimit,
		NICs: s.NICs, SLB: slb, Reports: "off",
	}
	reporter := r.writing.Load()
	if reporter == nil {
		return out
	}
	st := reporter.Stats()
	out.Reported = st.LastSuccess
	switch {
	case st.Twin != "":
		out.Reports = "another gateway reports under this id: " + st.Twin
	case st.OK:
		out.Reports = "ok"
	case st.LastError != "":
		out.Reports = "failing: " + st.LastError
	default:
		out.Reports = "none yet"
	}
	return out
}

// metrics shows the same as numbers.
func (r *reports) metrics(m *metrics) {
	s := r.monitor.Latest()
	m.add(admin.Gauge, "edged_availability", "how much room the box has, 0 full to 1 empty", s.Availability)
	m.add(admin.Gauge, "edged_availability_raw", "the same of the last interval alone", s.Raw)
	for _, t := range s.Terms {
		m.add(admin.Gauge, "edged_availability_term", "availability as one term sees it", t.Value, label("term", t.Name))
	}
	for _, state := range []string{health.Up, health.Warming, health.Draining, health.Down} {
		is := 0
		if s.State == state {
			is = 1
		}
		m.gauge("edged_state", "1 for the state that is reported", is, label("state", state))
	}
	for _, d := range []struct {
		direction      string
		packets, bytes float64
	}{{"rx", s.RxPPS, s.RxBytes}, {"tx", s.TxPPS, s.TxBytes}} {
		m.add(admin.Gauge, "edged_nic_packets_per_second", "packets on the wire", d.packets, label("direction", d.direction))
		m.add(admin.Gauge, "edged_nic_bytes_per_second", "bytes on the wire", d.bytes, label("direction", d.direction))
	}
	reporter := r.writing.Load()
	if reporter == nil {
		return
	}
	st := reporter.Stats()
	m.counter("edged_reports_total", "reports written to Redis", st.Reports)
	m.counter("edged_report_failures_total", "reports that did not reach Redis", st.Failures)
	m.counter("edged_report_twins_total", "reports of another process under this gateway's id", st.TwinReports)
	if !st.LastSuccess.IsZero() {
		m.add(admin.Gauge, "edged_report_age_seconds", "time since the last report that reached Redis", time.Since(st.LastSuccess).Seconds())
	}
}
