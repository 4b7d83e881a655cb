package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	"edged/admin"
	"edged/bus"
	"edged/registry"
)

// Users counts who is on this gateway.
func (p *people) Users(context.Context) (admin.Users, error) {
	d := p.hub.Directory()
	return admin.Users{Users: d.Users(), Devices: d.Devices()}, nil
}

// Devices says where a user is: of this gateway its Directory, of the others Redis.
func (p *people) Devices(ctx context.Context, user string) ([]admin.Device, error) {
	var devices []admin.Device
	if p.redis != nil {
		routes, err := p.reader.Lookup(ctx, user)
		if err != nil {
			return nil, err
		}
		for _, r := range routes {
			if r.Gateway != p.hub.ID() { // what stands there of us may be a moment old
				devices = append(devices, admin.Device{Device: r.Device, Gateway: r.Gateway, Epoch: strconv.FormatUint(r.Epoch, 10), Link: r.Link})
			}
		}
	}
	for _, s := range p.hub.Directory().Seats([]byte(user)) {
		devices = append(devices, admin.Device{
			Device: s.Device, Gateway: p.hub.ID(), Epoch: strconv.FormatUint(p.hub.Epoch(), 10), Here: true,
			Link: string(p.hub.AppendLinkID(nil, s.Link)),
		})
	}
	return devices, nil
}

// presencePage bounds the events of one answer.
const presencePage = 500

// Presence reads edged:presence on.
func (p *people) Presence(ctx context.Context, after string, wait time.Duration) ([]admin.PresenceEvent, string, error) {
	if p.redis == nil {
		return nil, "", errors.New("presence is kept in Redis, and none is configured")
	}
	events, next, err := p.reader.Events(ctx, after, presencePage, wait)
	if err != nil {
		return nil, "", err
	}
	out := make([]admin.PresenceEvent, 0, len(events))
	for i := range events {
		out = append(out, presenceEvent(&events[i]))
	}
	return out, next, nil
}

func presenceEvent(e *registry.Event) admin.PresenceEvent {
	word := admin.EventOffline
	if e.Online {
		word = admin.EventOnline
	}
	return admin.PresenceEvent{
		ID: e.ID, At: e.At(), Event: word, User: e.User, Device: e.Device, Gateway: e.Gateway, Epoch: strconv.FormatUint(e.Epoch, 10), Uniq: e.Uniq,
	}
}

// status shows who is here, and whether others find them.
func (p *people) status() *admin.PeopleStatus {
	d := p.hub.Directory()
	out := &admin.PeopleStatus{Users: d.Users(), Devices: d.Devices(), Routes: "off", Bus: "off"}
	if p.routes() != nil {
		out.Routes = routesStatus(p.routes().Stats(), p.redis.Err())
		out.Bus = busStatus(p.subscriber)
	}
	return out
}

func routesStatus(s registry.RoutesStats, redis error) string {
	switch {
	case s.LastError != "":
		return "failing: " + s.LastError
	case s.Held:
		return "ok"
	case redis != nil:
		return "failing: " + redis.Error()
	case s.Twins > 0:
		return "another gateway has this id"
	}
	return "none yet"
}

func busStatus(s *bus.Subscriber) string {
	for _, from := range []bus.Source{bus.FromOwn, bus.FromAll} {
		switch h := s.Heard(from); {
		case h.Up:
		case h.LastError != "":
			return "not heard: " + h.LastError
		default:
			return "not heard yet"
		}
	}
	return "ok"
}
