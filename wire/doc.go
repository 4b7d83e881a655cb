// Package wire reads and writes the frames that a client and a gateway exchange
// (docs/PROTOCOL.md, sections 1.1 to 1.3 and 4).
//
// A frame is a head of two bytes and a body; the body is a kind and its rest:
//
//	 0        1        2        3 ...            2+L
//	+--------+--------+--------+----------------+
//	|  length L (u16)  |  kind  |   rest (L-1)   |
//	+--------+--------+--------+----------------+
//	                  '--------- body ----------'
//
// L counts the body. A frame whose L is 0 has no kind: it is the heartbeat, two
// zero bytes that a client sends and the gateway answers with the same. All
// integers are big-endian. What stands in the rest, by kind:
//
//	HELLO    client  > Manager   opaque
//	WELCOME  gateway > client    protobuf Welcome of api/client.proto
//	DATA     both ways           opaque
//	PUSH     gateway > client    flags 1 | tid 4 | [version 8 | n 1 | msg_id n] | payload
//	ACK      client  > gateway   tid 4, once or more
//	BYE      both ways           reason 1 | retry-after 4 (ms) | text
//	PING     both ways           4 bytes that the sender chose
//	PONG     both ways           the 4 bytes of the PING
//
// On WebSocket a binary message is a body alone: whoever writes one leaves out
// the first HeadLen bytes of the frame, whoever reads one starts at CheckClient.
//
// The package holds no state. Its way in is Split, then CheckClient or
// CheckGateway, then the Parse function of the kind: what they return aliases
// the bytes that they were given and lives as long as these. Its way out is the
// Append functions, which only add to the caller's slice. Nothing here allocates
// but a slice that must grow. The package must never know sockets, clocks, or
// what an opaque payload means.
package wire
