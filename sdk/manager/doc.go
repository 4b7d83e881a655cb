// Package manager is a kit for writing a Manager: the business backend behind edged gateways.
//
// Gateways dial the Manager, one gRPC stream per reactor, and tell it what their links (client connections) do. The
// Manager answers with operations on links. This package serves the streams, calls a Handler for what the gateways say
// and carries the operations back; the program only says what is to happen. What the protocol means is told in
// docs/PROTOCOL.md, section 2.
//
//	m := manager.New(manager.Options{Handler: manager.Handler{
//		Hello: func(e *manager.Event) { e.Bind(check(e.Payload)) },
//		Data:  func(e *manager.Event) { e.Data(e.Payload) },
//	}})
//	err := m.Serve(listener)
//
// Serve takes gateways without TLS off the socket itself (package edged/h2); gRPC's server does so for all others, and for all if it is given
// options. Which of them it is makes no difference to a Handler.
//
// # Two ways to act on a link
//
// Event's methods act on the event's own link. They take no lock: what handlers write while one batch of the gateway is
// handled is collected and goes out when all its events have been handled, as one batch if it fits.
//
// Manager's methods act on any link, from any goroutine, also from a handler. What they write is sent at once; what
// comes while a send is under way goes together in the next one. They return ErrGone if the link's gateway has no stream
// to this Manager, and ErrFull if Options.KeepBytes wait already: then nothing was sent. No error means that it will be
// sent in its turn, not that it arrived. A Link may be kept as long as one likes; one that is no more is told apart by
// its gateway, which answers Undelivered or Refused.
//
// # Users, devices, rooms and everyone
//
// Operations that end in To act on all links of a user, of a room and so on, at every gateway with a stream to this
// Manager: PushTo(manager.ToUser("42"), ...). Each gateway answers for itself, so one that has no link of the user says so
// although another one has delivered; Deliveries makes one outcome of a push of it. A Sender hands messages to the queue
// layer instead, which stores them for those who are away and finds the gateways.
//
//	to one link         Event or Manager.Push          now, at its gateway
//	to whoever is here  Manager.PushTo, JoinTo, ...    now, at all gateways with a stream to this Manager
//	that and who not    Sender.Post, Offline           now or when they come back, at all gateways
//
// # Order
//
//   - Events of one link come in their order, never two at a time, and Closed is the last.
//   - Operations on one link are carried out in the order of their calls, among those through Manager (made one after the
//     other) and among those through one Event and the next. Between the two ways the order is open: what an Event writes
//     leaves with its batch, after what Manager was asked to do meanwhile. Use one of them for what depends on the other.
//   - All operations on a link take the stream of its shard, and wait for it when it is broken while another stream of
//     that gateway is up.
//   - A session that was patched is attached to every message that the gateway reads from the client after it has carried
//     out the patch. A client that answers to data sent after the patch therefore speaks with the new session; what it
//     had sent before may still come with the old one.
//
// # What may be lost
//
// With receipts (the default) both sides keep what they sent until the other has said that it got it, and repeat it when a
// stream broke: each event is handled once and each operation arrives once, as long as both processes live, or the
// gateway's links do. An event counts as got when its handler has returned. When the Manager's process ends, what it had
// not taken in goes to another Manager or to its successor, perhaps for the second time. Without receipts a broken stream
// loses what was on its way.
//
// A gateway that starts afresh has a new epoch: its links are gone without a Closed each. Handler.Lost tells it.
//
// # Sessions
//
// What a Manager needs to know of a link when it speaks next stands best in its session, which comes with every event: no
// Manager needs a memory of links, and any of several can go on. Key is a session key with a type.
//
// # Messages with tags
//
// Clients that use edged's SDKs send Messages: maps of numbers to values, with a tag and a request number. A Router, given
// as Handler.Data, calls a function for each tag and answers what no function takes. Manager and Event know nothing of
// it: any payload will do.
package manager
