// Package swarm simulates very many clients of a gateway from one process: `edged swarm`.
//
// Links are held by netpoll reactors; one costs a record without pointers in an array, and no goroutine. What the package
// knows of a link is in link (record.go); who acts on it is the loop that owns it (loop.go). Run is the coordinator: it
// takes all loops from phase to phase and gathers their numbers.
//
//	ramp > run > settle > finish > leave
//
// In ramp all links are opened; in run messages flow for Config.Duration; in settle the answers that are out are awaited;
// in finish (with Checker) the Manager is asked what it got; in leave every link says BYE 1.
//
// # Where links go
//
// With Config.Target links take the targets in turn. With Config.Dispatch each link asks the dispatch service its own
// question, as its client would, and follows the rules of package client from then on (route.go): it walks the three
// addresses of its list, comes back by the list's back-off, is called away by BYE, and asks again when the list has worn out.
// However many links begin, mostQuestions are asked at a time (finder.go), over connections that are kept: the load is meant
// for the gateways. Report.Addresses has how many links went where.
//
// # The echo contract
//
// A message is a DATA frame whose payload begins with the 21 bytes of payload.go. The Manager sends each one back,
// numbered, and answers a finish with a report. With Config.Pushes some come back as pushes that want an ACK. Both sides keep a
// Ledger of the client's numbers: the Manager's tells what was lost, doubled or disordered on the way up, the client's what the
// way up and down did together. Another Ledger of the client's, of the Manager's numbers, is about the way down alone, whatever
// came by it. Answerer is the Manager's side, ready to use.
//
// # Latency
//
// With a Rate the messages have their times from the beginning, whether answers come or not, and latency is measured from
// that time: a target that stalls cannot hide it by slowing the load down (coordinated omission). A message that goes
// out no more than lagSlack behind its time, which is how exactly epoll lets a loop sleep, is measured from when it is
// sent; Report.Lag has how far behind its own times the swarm was. Without a Rate each link sends its next message when an
// answer has come: this finds what the target can do, and says little about how long its users wait.
package swarm
