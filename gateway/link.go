package gateway

import (
	"edged/linkpool"
	"edged/netpoll"
	"edged/session"
)

// link is what a shard knows of one link: flat and without pointers. Its place and uniq are linkpool's.
type link struct {
	conn     netpoll.Conn
	session  session.Ref
	opened   linkpool.Millis
	heard    linkpool.Millis // when input came last
	frame    linkpool.Millis // when the frame began that is not whole yet; with half
	stalled  linkpool.Millis // since when it waits for room towards its Manager; with waiting
	pinged   linkpool.Millis // when the last PING went out; with asked
	tid      uint32          // of the next PUSH
	listener uint8
	manager  uint8 // which Manager it sticks to
	flags    linkFlags
}

type linkFlags uint8

const (
	welcomed  linkFlags = 1 << iota // WELCOME was sent
	half                            // a frame has begun and is not whole
	waiting                         // not read: there is no room towards its Manager
	announced                       // its Manager knows of it: `opened` was sent, or is held for it
	asked                           // a PING was sent
)

// noLink is the tag of a connection that has no link: it was refused, or its link has ended.
const noLink = ^uint32(0)
