// Package demo shows the whole chain in one process: a gateway, the reference Manager, a swarm of clients that check every
// answer, and a few people who chat with each other through it.
//
// With Options.Deeds the gateway is a process of its own, which is replaced while everybody talks.
//
// With a fleet it is three gateways behind two load balancers, with a Redis in this process, the queue layer and the dispatch
// service. First two people on two gateways write letters to each other, which go through the queue layer; one of them leaves
// and comes back on the other gateway, where everything he missed waits for him:
//
//	alice ──> gw-1 ──> Manager ──> edged:in ──> queue layer ──> bob's log
//	                                                 `──────> bob's route: gw-2 ──> bob
//	                                     bob's log ──> gw-1 ──> bob, when he comes back there
//
// Then the dispatch service tells the clients of the swarm where to go, and one gateway is drained meanwhile:
//
//	clients ──GET /v1/addresses──> dispatch <──reports── Redis <── gw-1 gw-2 gw-3
//	   `──links──> sh-1 > gw-1, gw-2
//	               sh-2 > gw-3
//
// The reference Manager is also what the tests and `edged swarm` talk to, and an example of how to write one on sdk/manager:
//
//	HELLO  protobuf Hello (user, device), as the SDKs send it, or plain text "user device"
//	DATA   of who came with plain text: "@bob hi" goes to bob, anything else comes back as "alice: anything else"
//	       of a swarm: numbered messages, answered with numbered answers, and a report on what was missing
//	       of others: a Message with a tag
//
//	tag    name   body of the request      body of the answer
//	(1,0)  hello                           {0: "Hello world"}
//	(2,0)  echo   anything                 the same
//	(3,0)  chat   {0: to user, 1: text}    {0: links of that user that it was sent to}
//	(3,1)  chat, from the Manager to the user's links: {0: from user, 1: text}
//	(3,2)  letter {0: to user, 1: text, 2: id}   {0: its ID in edged:in}; a push with (3,1) takes it to the user's links
package demo
