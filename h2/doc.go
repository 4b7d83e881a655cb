// Package h2 is one gRPC call, a stream of messages both ways, on a connection of its own: HTTP/2 (RFC 9113) without TLS, by prior
// knowledge, over TCP or a unix socket. Dial is the client's side and Accept the server's, where a client has told by a setting that it is
// alone on its connection (Sniff). It exists for the few steps that a message takes:
//
//	Send   the caller's goroutine ──one write──> socket
//	Recv   the caller's goroutine <──one read─── socket
//
// No goroutine stands between the caller and the socket, where a library for many calls on one connection has one that
// reads, one that writes, and queues between them and the calls. Each of these hops waits for a CPU.
//
// Where an epoll tells when there is something to read (Options.Polled), Poll and TrySend are the same without ever waiting, for a
// thread that has more to do.
//
// # Who owns what
//
// One goroutine sends (Send, TrySend, CloseSend), one receives (Recv, Poll); anybody may Close. What was read belongs to the receiver:
// the buffer, the half-read frame, the half-read message, the table of the compressed heads. What both of them need lies
// under Call.mu: the peer's windows, the answers that wait to be written, how the call ended. The mutex is never held
// during a system call. The socket's writing side belongs to whoever set Call.writing.
//
// At the server's end who reads holds stead.mu, because the receiver is not always there: a handler may be busy, or wait for the window
// for what it answers. Then a sender that needs the window reads, or Attend, and what comes meanwhile waits in a queue.
//
// # What holds
//
// The receiver never waits for room in the socket, because a peer that waits for us to read might never make any: what it
// has to answer (PING, SETTINGS, credit) is left to a sender that is just writing, or tried once without waiting; what
// that leaves is written by a goroutine that lives as long as it takes. Answers are bounded: a peer that asks and does not
// read is let go.
//
// A window update and an answer to a PING are seen only while somebody is in Recv. So a Send may wait for a window as long
// as nobody receives, and silence of the peer counts only while it is listened to; at the server's end such a Send reads itself.
//
// Everything that a peer can send is bounded: a frame, a message, a head, the frames in a second that bring nothing while nothing
// is sent.
//
// The package must never know what a message means, nor TLS, retries or names of services.
package h2
