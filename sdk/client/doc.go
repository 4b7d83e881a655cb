// Package client connects an application to an edged gateway and keeps it connected.
//
//	c, err := client.Dial(ctx, client.Options{
//		Addresses: []string{"gate.example:7000"},
//		User: "42", Device: "phone", Token: token,
//		OnData: func(payload []byte) { ... },
//		OnPush: func(p client.Push) { ... },
//	})
//
// Instead of Addresses it can be told where a dispatch service is: Dispatch: "https://dispatch.example".
//
// # A Client and its links
//
// A Client lives from New to Close; a link is one connection of it. When a link breaks, the Client opens the next one
// after a wait that grows from try to try and is drawn at random, so that many clients do not come back together. It does
// not come back when the gateway says that the login failed (BYE 4) or that a newer link of the same user and device has
// taken its place (BYE 6); and never before the time that a BYE asks for.
//
//	Connecting > Up > Waiting > Connecting > ...
//	     |        |      `---------------> Closed
//	     `--------`----------------------> Closed
//
// Up means that the gateway has sent WELCOME, that is, that the Manager has accepted the login.
//
// # Where a Client goes
//
// With Addresses it goes from one to the next, with a wait before each try.
//
// With Dispatch it asks the service for a list and walks it from the front, one open attempt at a time: the next address is
// tried at once when one refuses, and after Options.LoginTimeout, 3 s, when one says nothing. When a whole round has failed,
// or a link was up and ended, it waits, by the back-off that came with the list, all of it left to chance. Before a round the
// service is asked again if none of the list worked or the list is older than the TTL that came with it; never while a link
// is being opened or up, and never twice at a time. While the service is away, hangs for more than 3 s or answers anything
// but a list, the last list is used; without one the service is asked again after each wait, and Err says what is wrong.
//
// A gateway that ends a link with BYE 8 (draining), 9 (overloaded) or 12 (no Manager) names a time before which nobody is
// called; then the next address of the list is, and in a new list the one that ended the link is tried last.
//
// Directory is the same question for those who keep their own links.
//
// # What is sent
//
// Send and Request put a message into a queue and return. The queue holds Options.QueueBytes and fills up while there is
// no link or the gateway does not read; then Send refuses with ErrFull and the message is not sent: it neither waits nor
// drops an older one. What is queued while no link is up goes out on the next one. A message is given to one link and
// never repeated: if that link breaks, nobody here knows whether it arrived. Who needs to know sends a Request and looks
// at the answer.
//
// A heartbeat is sent when nothing else was for an interval, which the gateway sets in WELCOME. When nothing is heard for
// an interval in which messages were sent, the gateway is asked with a PING; and when that or a heartbeat stays without
// any answer until the idle timeout is over, the link counts as broken, because a network that has vanished says nothing.
//
// # What is received
//
// The callbacks are called from one goroutine at a time, in the order of the frames. What they are given is lent: payloads
// are overwritten after the call. While a callback runs nothing is read, so that a slow one slows the gateway down, which
// ends the link in the end (BYE 10). Callbacks may call Send; they must not call Request or Close, which wait for
// the goroutine that they run on.
//
// A push that asks for it is acknowledged after OnPush has returned, whether the gateway will repeat it otherwise or only
// counts (sampled). One that came before is dropped and acknowledged again: it has a tid that came on this link, or a msg_id
// that is among the last 4,096, or a version that came, over whatever link.
//
// # Stored messages
//
// Messages that were stored for the user have versions without a gap. A gateway sends them in their order; one that is
// missing it waits for, looks for in the log, and gives up after 2 s. So a Client knows what it does not have:
//
//	version  1 2 3 4 . . 7 8          OnPush 1, 2, 3, 4
//	                                  Hole(5, 6)             their turn was given up
//	                                  OnPush 7, 8            Synced is 4, Complete(4), Missing 5 to 6
//	         later, 5                 OnPush 5, Late         Synced is 5
//	         on the next link, 8 9    OnPush 9               asked for all behind 5, it has no 6: Synced is 9
//
// Synced is what the Hello of the next link asks to go on behind. It stays before a hole until one more link has shown that
// it cannot fill it; what that link sends again is dropped. Complete stays false beyond the hole, unless it is filled after
// all.
//
// Options.Memory keeps this across restarts. A Client without it asks for what the gateway knows this device to have
// acknowledged, and the first version that comes is the beginning of all it knows.
//
// When Redis loses versions that it gave out, they are given out again, for other messages. A version that comes again with
// another msg_id is taken for that: from it on the Client begins anew (Stats.Rewinds). One whose msg_id is not remembered any
// more is dropped as a double.
package client
