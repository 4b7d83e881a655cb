package gateway

import (
	"edged/delivery"
	"edged/linkpool"
	"edged/netpoll"
	"edged/session"
)

// link is what a shard knows of one link: flat and without pointers. Its place and uniq are linkpool's.
type link struct {
	conn     netpoll.Conn
	session  session.Ref // 0 while latent
	opened   linkpool.Millis
	heard    linkpool.Millis   // when input came last
	since    linkpool.Millis   // half: when that frame began; waiting: since when; throttled: until when
	pinged   linkpool.Millis   // when the last PING went out; with asked
	tid      uint32            // of the next PUSH; latent: the client's IPv4 address
	unacked  delivery.Ref      // its window of unacknowledged pushes; latent: the client's port
	order    delivery.OrderRef // of versions and packages that are sent to it
	flags    linkFlags
	spent    uint16 // what it said in a window of pace.go
	window   uint8  // which window that was
	listener uint8
	manager  uint8 // which Manager it sticks to
}

type linkFlags uint16

const (
	welcomed  linkFlags = 1 << iota // WELCOME was sent
	half                            // a frame has begun and is not whole
	waiting                         // not read: there is no room towards its Manager; never with half
	announced                       // its Manager knows of it: `opened` was sent, or is held for it
	asked                           // a PING was sent
	latent                          // its session is not stored: latent.go
	throttled                       // not read: it said more than its rate; never with half or waiting
	bound                           // it has a user: the directory knows it
	blocked                         // the kernel does not take its output: slow.go
	replaying                       // it is brought up from the log: replay.go
	unsynced                        // how far its device has everything is to be stored: sync.go
	starved                         // DATA for it was dropped since its output began to wait
	loose                           // a version went out that nobody acknowledges, and may not have arrived: sync.go
	stuck                           // a version came to nothing: sync.go
	gathered                        // it was heard last at the end of its window: beats.go; not kept
)

// delivers says that the link has pushes that wait for something.
func (l *link) delivers() bool {
	return l.order != 0 || l.flags&replaying != 0 || l.flags&latent == 0 && l.unacked != 0
}

// noLink is the tag of a connection that has no link: it was refused, or its link has ended.
const noLink = ^uint32(0)
