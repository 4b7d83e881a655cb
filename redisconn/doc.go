// Package redisconn opens Redis, once for all: one [Config] for a standalone server, a set behind Sentinel or a Cluster, and one
// [Client] that whoever talks to Redis shares.
//
// Redis may be down when the process starts, die later, hang, become a replica or lose its data: a call then returns an error, at
// its context's end at the latest, and the Client finds back by itself. Nothing is queued meanwhile, and no write is ever
// repeated: a caller that wants its newest value in Redis writes it again.
//
// # Who owns what
//
// One goroutine of the Client opens sessions, a session being the library's client with all its connections. It drops a session
// that answers READONLY, because then the address leads to the wrong server. Within a session the library reconnects at the
// next call, follows a Cluster's slots and Sentinel's switches.
//
// The commands of a session to one server share one connection, in the order of the calls. A blocking command and each Receive
// have a connection of their own. A caller whose commands must not wait behind those of another opens a Client of its own.
//
// The package knows neither keys nor who asks.
package redisconn
