package batch

import "unicode/utf8"

// ParseDownItem reads one item of a Downstream into out, whatever out held before. It returns ErrMalformed if any part of
// it is not as it should be; out is then not to be used.
func ParseDownItem(item []byte, out *DownItem) error {
	*out = DownItem{}
	if l, data, ref, ok := plainData(item); ok {
		out.Target, out.Link, out.Op, out.Data, out.Ref = TargetLink, l, OpData, data, ref
		return nil
	}
	var patch joint
	ok := true
	c := cursor{rest: item}
	for ok && c.next() {
		switch c.tag {
		case downItemLink, downItemUser, downItemDevice, downItemRoom, downItemEveryone:
			ok = out.mergeTarget(TargetKind(c.tag>>3), c.data)
		case downItemData, downItemPush, downItemSession, downItemBind, downItemJoin, downItemLeave, downItemClose:
			if op := Op(c.tag >> 3); op != out.Op {
				out.clearOp(op)
				patch = joint{}
			}
			ok = out.mergeOp(c.data, &patch)
		case downItemRef:
			out.Ref = c.num
		}
	}
	if !ok || c.bad {
		return ErrMalformed
	}
	if out.Op == OpSession {
		out.Patch = patch.b
	}
	return nil
}

// plainData reads the commonest item in its commonest form: a link, data, and perhaps a ref, once each and in the order of
// their numbers, as everybody writes it. Anything else, ok false, is for the general way. With it a message costs a quarter
// fewer instructions in user space.
func plainData(item []byte) (l Link, data []byte, ref uint64, ok bool) {
	if len(item) < 4 || item[0] != byte(downItemLink) || item[1] >= 0x80 || int(item[1]) > len(item)-4 {
		return l, nil, 0, false
	}
	rest := item[2+item[1]:]
	if !l.plain(item[2:2+item[1]]) || rest[0] != byte(downItemData) {
		return l, nil, 0, false
	}
	size, n := varint(rest[1:])
	if n == 0 || size > uint64(len(rest)-1-n) {
		return l, nil, 0, false
	}
	end := 1 + n + int(size)
	data, rest = rest[1+n:end:end], rest[end:]
	if len(rest) > 0 {
		if rest[0] != byte(downItemRef) {
			return l, nil, 0, false
		}
		if ref, n = varint(rest[1:]); n == 0 || 1+n != len(rest) {
			return l, nil, 0, false
		}
	}
	return l, data, ref, true
}

// mergeTarget reads one member of the oneof `target`. The last one wins; the same message twice is merged.
func (out *DownItem) mergeTarget(kind TargetKind, b []byte) bool {
	if kind != out.Target {
		out.Target, out.Link, out.User, out.Device, out.Room = kind, Link{}, nil, nil, nil
	}
	switch kind {
	case TargetLink:
		return out.Link.merge(b)
	case TargetUser:
		out.User = b
		return utf8.Valid(b)
	case TargetDevice:
		return out.mergeDevice(b)
	case TargetRoom:
		out.Room = b
		return utf8.Valid(b)
	}
	return wellFormed(b)
}

func (out *DownItem) mergeDevice(b []byte) bool {
	c := cursor{rest: b}
	for c.next() {
		switch c.tag {
		case deviceUser:
			if !c.text(&out.User) {
				return false
			}
		case deviceDevice:
			if !c.text(&out.Device) {
				return false
			}
		}
	}
	return !c.bad
}

// clearOp forgets the operation that stood before op in the same item: the last one wins.
func (out *DownItem) clearOp(op Op) {
	if out.Op != OpNone {
		out.Data, out.OpRoom = nil, nil
		out.Push, out.Bind, out.Close = Push{}, Bind{}, Close{}
	}
	out.Op = op
}

// mergeOp reads b, the member of the oneof `what` that out.Op names, over what out holds of it. A patch is only checked
// here; it goes to patch.
func (out *DownItem) mergeOp(b []byte, patch *joint) bool {
	switch out.Op {
	case OpData:
		out.Data = b
		return true
	case OpPush:
		return out.Push.merge(b)
	case OpSession:
		patch.add(b)
		return validPatch(b)
	case OpBind:
		return out.Bind.merge(b)
	case OpClose:
		return out.Close.merge(b)
	}
	out.OpRoom = b
	return utf8.Valid(b)
}

func (p *Push) merge(b []byte) bool {
	c := cursor{rest: b}
	for c.next() {
		switch c.tag {
		case pushPayload:
			p.Payload = c.data
		case pushMsgID:
			if !c.text(&p.MsgID) {
				return false
			}
		case pushAck:
			p.Ack = Ack(c.num)
		case pushAllowGzip:
			p.AllowGzip = c.num != 0
		case pushTTL:
			p.TTLMs = uint32(c.num)
		case pushPackageID:
			p.PackageID = uint32(c.num)
		case pushSeqID:
			p.SeqID = uint32(c.num)
		case pushCount:
			p.Count = uint32(c.num)
		case pushVersion:
			p.Version = c.num
		}
	}
	return !c.bad
}

func (bind *Bind) merge(b []byte) bool {
	c := cursor{rest: b}
	for c.next() {
		switch c.tag {
		case bindUser:
			if !c.text(&bind.User) {
				return false
			}
		case bindDevice:
			if !c.text(&bind.Device) {
				return false
			}
		case bindSynced:
			bind.Synced = c.num
		}
	}
	return !c.bad
}

func (cl *Close) merge(b []byte) bool {
	c := cursor{rest: b}
	for c.next() {
		switch c.tag {
		case closeReason:
			cl.Reason = uint32(c.num)
		case closeRetryAfter:
			cl.RetryAfterMs = uint32(c.num)
		case closeText:
			if !c.text(&cl.Text) {
				return false
			}
		}
	}
	return !c.bad
}
