// Package edged is the map of the tree; it holds no code.
//
// edged is an edge gateway for bare Linux boxes: it holds very many long-lived connections (links) from phones, devices and
// desktop programs, relays what they say to the business backend (the Manager), and sends what the Manager says to the
// right link. In the order of the data:
//
//	netpoll      reactors: epoll, one locked thread each; bytes in, bytes out
//	wire         client frames
//	linkpool     places of links, their names, their deadlines
//	session      what is known of a link, encoded once
//	gateway      a shard per reactor: binds the above and the below; one file per direction
//	batch        the Manager protocol's bytes
//	lane         bounded queues between threads
//	relay        gRPC streams to the Managers: batches, receipts, reconnect, flow control
//	nic          interfaces and their counters
//	health       how much room the box has left
//	redisconn    opening Redis, once for all
//	dispatch     reports in Redis, and the address service that reads them
//	room, delivery, registry, offline, bus   users, rooms, acknowledged pushes and stored messages: not bound to the
//	             gateway yet
//	queue        the queue layer: messages from Redis to logs and gateways
//	sdk/manager  a kit for writing a Manager
//	sdk/client   a Go client
//
// Around them: config (edged.toml), admin (control socket, metrics), swarm (load generator), demo (the whole chain in one
// process), cmd/edged (the binary). api holds the protocol's messages, docs the protocol and the architecture, tests what
// drives the real binary, bench what measures it. Imports go down only; floors_test.go is that rule.
package edged
