package main

import (
	"context"
	"errors"
	"os"
	"strconv"
	"time"

	"edged/admin"
	"edged/gateway"
	"edged/relay"
)

// source is what the windows show of an instance.
type source struct {
	*instance
	admin.People
}

// answerIn is how long a reactor may take to say its numbers before the process counts as unhealthy.
const answerIn = time.Second

func (s source) stats() (gateway.Stats, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerIn)
	defer cancel()
	return s.gateway.Stats(ctx)
}

// Healthy is nil while every reactor answers.
func (s source) Healthy() error {
	_, err := s.stats()
	return err
}

// Ready is nil while new links are welcome.
func (s source) Ready() error {
	if lacksManager(s.cfg) {
		return errNoManager
	}
	return s.gateway.Ready()
}

// Drain sends the links away, or stops doing so.
func (s source) Drain(_ context.Context, r admin.DrainRequest) error {
	if r.Undo {
		if err := s.gateway.Undrain(); err != nil {
			return err
		}
		s.gateway.Shed(0, 0)
		s.reports.monitor.SetDraining(false)
		s.exits.Store(false)
		return nil
	}
	within := r.Within
	if within == 0 {
		within = s.cfg.Gateway.DrainTimeout
	}
	if r.Share > 0 {
		if s.gateway.Draining() {
			return errors.New("all links are being sent away already")
		}
		s.gateway.Shed(r.Share, within)
		return nil
	}
	s.reports.monitor.SetDraining(true) // first: a client that is sent away must not be sent here again
	s.gateway.Drain(within)
	if r.Exit {
		s.leaveWhenEmpty()
	}
	return nil
}

// leaveWhenEmpty ends the process when no link is left, unless the drain is taken back.
func (i *instance) leaveWhenEmpty() {
	i.exits.Store(true)
	go func() {
		if i.gateway.Wait(context.Background()) == nil && i.gateway.Draining() {
			select {
			case i.leave <- struct{}{}:
			default:
			}
		}
	}()
}

// Status is the gateway at a glance.
func (s source) Status() admin.Status {
	st, err := s.stats()
	out := admin.Status{
		ID:        s.gateway.ID(),
		Version:   version,
		State:     admin.StateUp,
		PID:       os.Getpid(),
		Epoch:     strconv.FormatUint(s.gateway.Epoch(), 10),
		Started:   s.started,
		At:        time.Now(),
		Advertise: s.gateway.Advertise(),
		Listeners: s.gateway.Addresses(),
		Reactors:  s.gateway.Reactors(),
		Capacity:  s.gateway.Capacity(),
		Links:     s.gateway.Links(),
		Reloads:   s.reloads,
		Reload:    s.last,
		Managers:  managerStatus(st.Relay),
		Room:      s.reports.status(s.cfg.Redis.SLB),
		People:    s.people.status(),
		Keeper:    s.keeping.status(s.instance, st),
	}
	if s.gateway.Draining() {
		out.State = admin.StateDraining
	}
	if err = errors.Join(err, s.Ready()); err != nil {
		out.Reason = err.Error()
	}
	if d := st.Drain; d.Total > 0 {
		out.Drain = &admin.DrainStatus{Share: d.Shedding, Total: d.Total, Left: d.Left, Until: d.Until}
	}
	for i := range st.Shards {
		for k := range st.Shards[i].FramesIn {
			out.MessagesIn += st.Shards[i].FramesIn[k]
			out.MessagesOut += st.Shards[i].FramesOut[k]
		}
	}
	return out
}

// managerStatus joins the streams of each Manager.
func managerStatus(r relay.Stats) []admin.ManagerStatus {
	var all []admin.ManagerStatus
	for _, st := range r.Streams {
		for len(all) <= st.Manager {
			all = append(all, admin.ManagerStatus{State: relay.StateDown.String()})
		}
		m := &all[st.Manager]
		m.Address = st.Address
		if st.ManagerID != "" {
			m.ID = st.ManagerID
		}
		if st.State == relay.StateUp {
			m.Streams++
			m.State = relay.StateUp.String()
		}
	}
	return all
}
