// Package queue is the queue layer: it takes messages from a broker, stores those that are to be stored, finds where their users
// are, and publishes them to the gateways there.
//
//	XADD, Writer, Handler ─> edged:in ─> Stream ─> Service: store ──> deliver ──> finish ─> Stream: acknowledged
//	                                                  │         │          └─> edged:dead: what can never be handled
//	                                               offline   registry, bus ─> gateways
package queue
