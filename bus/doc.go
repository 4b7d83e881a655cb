// Package bus carries Downstream batches from whoever can publish to Redis to gateways, by pub/sub: PROTOCOL.md section 3.
//
//	queue layer  Publisher.To ────> edged:down:{gateway} ──> Subscriber of that gateway ──> Receiver.Batch
//	             Publisher.ToAll ─> edged:down ────────────> Subscriber of every gateway ─> Receiver.Batch
//
// Pub/sub keeps nothing: what is published while a gateway is not subscribed is lost to it. A Subscriber therefore tells its
// Receiver after every interruption that something may have been missed, and a Publisher tells how many clients Redis handed a
// batch to. Whoever cannot afford a loss stores the message first.
//
// # Two kinds of channel
//
// A Cluster carries a plain message to all of its nodes, and one of sharded pub/sub (Redis 7.0) within one shard alone. The
// channel of one gateway is sharded where the server has that, else plain and of the same name. The Subscriber tries sharded
// pub/sub each time that it subscribes, and Sharded is for the gateway's report, so that other publishers know.
//
// The Publisher needs no report: it publishes on one kind, and where nobody heard it, on the other. A gateway listens to one of
// them, so that nothing comes twice, and a gateway, or a server, that changes the kind loses no message by it. Redis counts the
// receivers of a plain message in a Cluster at one node only: a zero there is a guess.
//
// # What holds
//
// Batches that one Publisher takes from one goroutine for one channel come in that order. The channels of a gateway and of
// everyone are two subscriptions with a goroutine each, and nothing orders one towards the other.
//
// A Receiver that takes its time holds its subscription up. Redis keeps what waits in client-output-buffer-limit pubsub, by
// default 32 MiB, or 8 MiB for a minute, and then drops the connection: that is an interruption like any other. So is a
// connection on which nothing could be read for 3 s, which redisconn takes for dead.
//
// # Who owns what
//
// The two channels are this package's. A Subscriber's state belongs to its two goroutines, the Publisher's to one; both borrow
// the redisconn.Client and leave it open. The package does not look into items and knows neither links nor users.
package bus
