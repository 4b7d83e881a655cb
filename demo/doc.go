// Package demo shows the whole chain in one process: a gateway, the reference Manager, a swarm of clients that check every
// answer, and a few people who chat with each other through it.
//
// With a fleet it is three gateways behind two load balancers, with a Redis in this process and the dispatch service, which
// tells the clients of the swarm where to go. One gateway is drained meanwhile:
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
package demo
