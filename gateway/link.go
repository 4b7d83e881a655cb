package gateway

import (
	"edged/linkpool"
	"edged/netpoll"
	"edged/session"
)

// link is what a shard knows of one link: flat and without pointers. Its place and uniq are linkpool's.
type link struct {
	conn     netpoll.Conn
	session  session.Ref // 0 while latent
	opened   linkpool.Millis
	heard    linkpool.Millis // when input came last
	since    linkpool.Millis // half: when that frame began; waiting: since when; throttled: until when
	pinged   linkpool.Millis // when the last PING went out; with asked
	tid      uint32          // of the next PUSH; latent: the client's IPv4 address
	port     uint16          // latent: the client's
	listener uint8
	manager  uint8 // which Manager it sticks to
	flags    linkFlags
	window   uint8  // pace.go: in which spent was counted
	spent    uint16 // what it said in that window
}

type linkFlags uint8

const (
	welcomed  linkFlags = 1 << iota // WELCOME was sent
	half                            // a frame has begun and is not whole
	waiting                         // not read: there is no room towards its Manager; never with half
	announced                       // its Manager knows of it: `opened` was sent, or is held for it
	asked                           // a PING was sent
	latent                          // its session is not stored: latent.go
	throttled                       // not read: it said more than its rate; never with half or waiting
)

// noLink is the tag of a connection that has no link: it was refused, or its link has ended.
const noLink = ^uint32(0)
