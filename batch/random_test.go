package batch_test

import (
	"math/rand/v2"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"edged/api/edgedpb"
	"edged/batch"
)

// chance makes random messages of the protocol, and random encodings of them that no known encoder writes.
type chance struct {
	*rand.Rand
}

// number is often zero, and of any length as a varint otherwise.
func (c chance) number() uint64 {
	if c.IntN(4) == 0 {
		return 0
	}
	return c.Uint64() >> c.IntN(64)
}

func (c chance) number32() uint32 { return uint32(c.number()) }

func (c chance) flag() bool { return c.IntN(2) == 0 }

func (c chance) text() string {
	const letters = "abcdefghij.0123456789ßé世界🙂"
	runes := []rune(letters)
	s := make([]rune, c.IntN(3)*c.IntN(60))
	for i := range s {
		s[i] = runes[c.IntN(len(runes))]
	}
	return string(s)
}

func (c chance) bytes() []byte {
	b := make([]byte, c.IntN(3)*c.IntN(200))
	for i := range b {
		b[i] = byte(c.Uint32())
	}
	return b
}

func (c chance) link() *edgedpb.LinkRef {
	return &edgedpb.LinkRef{Index: c.number32(), Uniq: c.number32()}
}

func (c chance) values(n int) map[string]string {
	m := map[string]string{}
	for range c.IntN(n + 1) {
		m[c.text()] = c.text()
	}
	return m
}

func (c chance) upItem() *edgedpb.UpItem {
	it := &edgedpb.UpItem{Link: c.link()}
	if c.flag() {
		it.Session = &edgedpb.Session{Values: c.values(6)}
	}
	switch c.IntN(6) {
	case 0:
		it.What = &edgedpb.UpItem_Opened{Opened: &edgedpb.Opened{}}
	case 1:
		kind := edgedpb.ClientMessage_Kind(batch.KindData)
		if c.flag() {
			kind = edgedpb.ClientMessage_HELLO
		}
		it.What = &edgedpb.UpItem_Message{Message: &edgedpb.ClientMessage{Kind: kind, Payload: c.bytes()}}
	case 2:
		acked := &edgedpb.Acked{}
		for range c.IntN(4) {
			acked.Receipts = append(acked.Receipts, &edgedpb.Receipt{
				Tid: c.number32(), MsgId: c.text(), Sampled: c.flag(), Tries: c.number32()})
		}
		it.What = &edgedpb.UpItem_Acked{Acked: acked}
	case 3:
		lost := &edgedpb.Undelivered{}
		for range c.IntN(4) {
			lost.Losses = append(lost.Losses, &edgedpb.Loss{MsgId: c.text(), Reason: edgedpb.Loss_Reason(c.number32())})
		}
		it.What = &edgedpb.UpItem_Undelivered{Undelivered: lost}
		c.maybeNoLink(it)
	case 4:
		it.What = &edgedpb.UpItem_Closed{Closed: &edgedpb.Closed{
			Reason: c.number32(), Side: edgedpb.Closed_Side(c.number32()), Evidence: c.text()}}
	case 5:
		it.What = &edgedpb.UpItem_Refused{Refused: &edgedpb.Refused{
			Ref: c.number(), Reason: c.text(), Code: edgedpb.Refused_Code(c.number32())}}
		c.maybeNoLink(it)
	}
	return it
}

// maybeNoLink makes the item one about a user, a room or everyone.
func (c chance) maybeNoLink(it *edgedpb.UpItem) {
	if c.flag() {
		it.Link, it.Session = nil, nil
	}
}

func (c chance) upstream() *edgedpb.Upstream {
	m := &edgedpb.Upstream{Seq: c.number(), Received: c.number()}
	if c.IntN(4) == 0 {
		m.Hello = &edgedpb.GatewayHello{GatewayId: c.text(), Address: c.text(), Protocol: c.number32(),
			Version: c.text(), Reactor: c.number32(), Resumed: c.flag(), Epoch: c.number()}
	}
	for range c.IntN(6) {
		m.Items = append(m.Items, c.upItem())
	}
	return m
}

func (c chance) downItem() *edgedpb.DownItem {
	it := &edgedpb.DownItem{Ref: c.number()}
	switch c.IntN(5) {
	case 0:
		it.Target = &edgedpb.DownItem_Link{Link: c.link()}
	case 1:
		it.Target = &edgedpb.DownItem_User{User: c.text()}
	case 2:
		it.Target = &edgedpb.DownItem_Device{Device: &edgedpb.Device{User: c.text(), Device: c.text()}}
	case 3:
		it.Target = &edgedpb.DownItem_Room{Room: c.text()}
	case 4:
		it.Target = &edgedpb.DownItem_Everyone{Everyone: &edgedpb.Everyone{}}
	}
	switch c.IntN(7) {
	case 0:
		it.What = &edgedpb.DownItem_Data{Data: c.bytes()}
	case 1:
		it.What = &edgedpb.DownItem_Push{Push: &edgedpb.Push{Payload: c.bytes(), MsgId: c.text(),
			Ack: edgedpb.Push_Ack(c.number32()), AllowGzip: c.flag(), TtlMs: c.number32(), PackageId: c.number32(),
			SeqId: c.number32(), Count: c.number32(), Version: c.number()}}
	case 2:
		patch := &edgedpb.SessionPatch{Set: c.values(4)}
		for range c.IntN(3) {
			patch.Delete = append(patch.Delete, c.text())
		}
		it.What = &edgedpb.DownItem_Session{Session: patch}
	case 3:
		it.Target = &edgedpb.DownItem_Link{Link: c.link()}
		it.What = &edgedpb.DownItem_Bind{Bind: &edgedpb.Bind{
			User: c.text(), Device: c.text(), SyncedVersion: c.number()}}
	case 4:
		it.What = &edgedpb.DownItem_Join{Join: c.text()}
	case 5:
		it.What = &edgedpb.DownItem_Leave{Leave: c.text()}
	case 6:
		it.What = &edgedpb.DownItem_Close{Close: &edgedpb.Close{
			Reason: c.number32(), RetryAfterMs: c.number32(), Text: c.text()}}
	}
	return it
}

func (c chance) downstream() *edgedpb.Downstream {
	m := &edgedpb.Downstream{Seq: c.number(), Received: c.number()}
	if c.IntN(4) == 0 {
		m.Hello = &edgedpb.ManagerHello{ManagerId: c.text(), Protocol: c.number32(), Receipts: c.flag()}
	}
	for range c.IntN(6) {
		m.Items = append(m.Items, c.downItem())
	}
	return m
}

// scramble makes another encoding of what the message b holds: fields in any order, unknown ones among them, embedded
// messages in two parts, numbers and lengths in more bytes than needed. Of several encodings put one behind the other it
// makes one that repeats singular fields and members of a oneof.
func (c chance) scramble(b []byte, desc protoreflect.MessageDescriptor) []byte {
	var fields [][]byte
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		fields = append(fields, c.scrambleField(num, typ, b[n:n+m], desc)...)
		b = b[n+m:]
	}
	for c.IntN(3) == 0 {
		fields = append(fields, c.unknown())
	}
	if c.flag() {
		c.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	}
	var out []byte
	for _, f := range fields {
		out = append(out, f...)
	}
	return out
}

// scrambleField makes one or, of an embedded message, up to two fields of a value.
func (c chance) scrambleField(num protowire.Number, typ protowire.Type, value []byte, desc protoreflect.MessageDescriptor) [][]byte {
	tag := c.varint(nil, protowire.EncodeTag(num, typ))
	switch typ {
	case protowire.VarintType:
		v, _ := protowire.ConsumeVarint(value)
		return [][]byte{c.varint(tag, v)}
	case protowire.BytesType:
		v, _ := protowire.ConsumeBytes(value)
		parts := [][]byte{v}
		if f := desc.Fields().ByNumber(num); f != nil && f.Message() != nil {
			parts[0] = c.scramble(v, f.Message())
			if f.Cardinality() != protoreflect.Repeated && c.flag() {
				parts = append(parts, c.scramble(v, f.Message()))
			}
		}
		for i, p := range parts {
			parts[i] = append(c.varint(tag[:len(tag):len(tag)], uint64(len(p))), p...)
		}
		return parts
	}
	return [][]byte{append(tag, value...)}
}

// varint appends v, now and then in ten bytes.
func (c chance) varint(dst []byte, v uint64) []byte {
	if c.IntN(8) != 0 {
		return protowire.AppendVarint(dst, v)
	}
	for i := range 9 {
		dst = append(dst, byte(v>>(7*i))|0x80)
	}
	return append(dst, byte(v>>63))
}

// unknown is a field that the protocol does not have: another number, or another wire type than it should be.
func (c chance) unknown() []byte {
	num := protowire.Number(1 + c.IntN(20))
	switch c.IntN(6) {
	case 0:
		return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), c.number())
	case 1:
		return protowire.AppendFixed32(protowire.AppendTag(nil, num, protowire.Fixed32Type), c.Uint32())
	case 2:
		return protowire.AppendFixed64(protowire.AppendTag(nil, num, protowire.Fixed64Type), c.Uint64())
	case 3:
		b := protowire.AppendTag(nil, num, protowire.StartGroupType)
		for c.flag() {
			b = append(b, c.unknown()...)
		}
		return protowire.AppendTag(b, num, protowire.EndGroupType)
	case 4:
		return protowire.AppendBytes(protowire.AppendTag(nil, num+1000, protowire.BytesType), c.bytes())
	}
	return protowire.AppendVarint(protowire.AppendTag(nil, protowire.MaxValidNumber, protowire.VarintType), c.number())
}

// spoil breaks b in one place, or cuts it short.
func (c chance) spoil(b []byte) []byte {
	if len(b) == 0 {
		return b
	}
	at := c.IntN(len(b))
	if c.flag() {
		return b[:at]
	}
	b = append([]byte(nil), b...)
	b[at] = byte(c.Uint32())
	return b
}
