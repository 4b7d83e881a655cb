// Package batch writes and reads the bytes of the Manager protocol by hand: api/manager.proto, PROTOCOL.md section 2.
//
// A stream message of the Manager protocol is a batch: an Upstream from the gateway or a Downstream from a Manager, with
// many items in it. Generated code builds an object for each of them; at a gateway's rates that is most of the price of a
// message. Here an item is appended straight to the bytes that leave and read straight from the bytes that came, without an
// allocation. Both ends use it, the gateway and the Go kit for Managers; the bytes are those of generated code, so either
// end can be any language's.
//
// A batch is the concatenation of encoded fields, in any order. That is why every AppendX adds one whole field to whatever
// is in dst already, why items can be copied from one batch to another as they are (the raw of Items.Next), and why
// sequence numbers can be appended last.
//
// # What readers may rely on
//
// Reading has the meaning that protobuf gives to the bytes: unknown fields and fields of another wire type are skipped, the
// order does not matter, the last value of a field wins, and the parts of an embedded message that comes twice are merged.
// What generated code refuses is ErrMalformed here, never a panic and never another meaning. It is found level by level:
//
//   - ParseUpstream and ParseDownstream check the outer level, hello included, but do not look into items.
//   - ParseUpItem and ParseDownItem check all of one item, UTF-8 of its strings included, so what a parsed item holds can
//     be copied into another message. One part is left to its reader: UpItem.Session, which goes with every item and is
//     seldom looked at (SessionEach and SessionValue check what they pass over).
//
// Everything parsed aliases the input; its owner decides how long it lives. The only case that allocates, other than a
// hello, is a session, a patch, receipts or losses that came in several parts, which no known encoder writes.
//
// The package holds no state, knows no socket and does not interpret a payload.
package batch
