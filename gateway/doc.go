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
// does to a link, end.go how links end, and life.go how the gateway begins, drains and stops. A shard's state is touched by its reactor's thread alone; the rest of the process posts it a function.
package gateway
