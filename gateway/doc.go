// Package gateway is the product: one shard per reactor, which owns its links, their deadlines, their sessions and their
// way to the Managers. It binds the packages below it and holds no algorithm of its own.
//
// A link's life, seen by its shard:
//
//	Opened > [opened to the Manager] > HELLO > bind > WELCOME > DATA both ways > an end: BYE, [closed to the Manager]
//	         `- with login "none" the WELCOME comes at once
//
// uplink.go is the way from the client to the Manager, waiting.go what happens where there is no room on it, downlink.go the way
// back, managers.go the choice among several Managers and reroute.go what happens when they come and go, deadlines.go what time
// does to a link, end.go how links end, and life.go how the gateway begins, drains and stops. A shard's state is touched by its
// reactor's thread alone; the rest of the process posts it a function.
//
// A push on its way to one link:
//
//	by Manager, Redis (bus.go) or cast (rooms.go)
//	  > people.go: the links of its user > turns.go: its turn, by version or place in a package
//	  > letter.go: gzip > push.go: tid, window > output, or what slow.go does where the link does not take it
//	acks.go: ACK, repeats, losses > the Manager        replay.go: what the log has goes before > sync.go: how far the device is
//
// A successor process goes on with all of it: handover.go has everything stand still, state.go tells what is written, and
// inherit.go how the successor begins. What has come from Managers is carried out before, so that no cast and no event is part
// of a state; what the log was asked is asked again.
//
// With a keeper each turn of a shard is also written down for a crash, and committed as one step: keep.go and revive.go.
//
// For each link operations keep their order, casts among them, however long a cast takes to come to all its links. Of each push
// that must be acknowledged, and for each link that it was for, there is one report: acked or undelivered. Only stored messages
// that are left to the log have none: their report comes when they were sent.
package gateway
