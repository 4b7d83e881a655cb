package batch

import "slices"

// Every function below appends one `items` field of a Downstream. ref comes back in `refused` if the operation is not
// carried out; 0 asks for no answer. Strings must be UTF-8: ParseDownItem and generated code refuse the item otherwise.

// AppendData sends a link a DATA frame with payload after the kind.
func AppendData(dst []byte, l Link, ref uint64, payload []byte) []byte {
	return AppendDataTo(dst, ToLink(l), ref, payload)
}

// AppendDataTo is AppendData for any target.
func AppendDataTo(dst []byte, t Target, ref uint64, payload []byte) []byte {
	dst = appendDownHead(dst, &t, ref, downItemData, len(payload))
	return append(dst, payload...)
}

// AppendPush sends a PUSH.
func AppendPush(dst []byte, t Target, ref uint64, p Push) []byte {
	dst = appendDownHead(dst, &t, ref, downItemPush, p.size())
	dst = appendBytes(dst, pushPayload, p.Payload)
	dst = appendBytes(dst, pushMsgID, p.MsgID)
	dst = appendUint(dst, pushAck, enum(p.Ack))
	dst = appendUint(dst, pushAllowGzip, flag(p.AllowGzip))
	dst = appendUint(dst, pushTTL, uint64(p.TTLMs))
	dst = appendUint(dst, pushPackageID, uint64(p.PackageID))
	dst = appendUint(dst, pushSeqID, uint64(p.SeqID))
	dst = appendUint(dst, pushCount, uint64(p.Count))
	return appendUint(dst, pushVersion, p.Version)
}

func (p *Push) size() int {
	return sizeBytes(len(p.Payload)) + sizeBytes(len(p.MsgID)) + sizeUint(enum(p.Ack)) + sizeUint(flag(p.AllowGzip)) +
		sizeUint(uint64(p.TTLMs)) + sizeUint(uint64(p.PackageID)) + sizeUint(uint64(p.SeqID)) +
		sizeUint(uint64(p.Count)) + sizeUint(p.Version)
}

// AppendPatch changes the session of a link: as a whole, or not at all. A Manager's keys have a dot in them.
func AppendPatch(dst []byte, l Link, ref uint64, set []KV, del []string) []byte {
	return AppendPatchTo(dst, ToLink(l), ref, set, del)
}

// AppendPatchTo is AppendPatch for any target.
func AppendPatchTo(dst []byte, t Target, ref uint64, set []KV, del []string) []byte {
	n := 0
	for _, kv := range set {
		n += sizePresent(kv.size())
	}
	for _, key := range del {
		n += sizePresent(len(key))
	}
	dst = appendDownHead(dst, &t, ref, downItemSession, n)
	for _, kv := range set {
		dst = appendHead(dst, patchSet, kv.size())
		dst = appendPresent(dst, entryKey, kv.Key)
		dst = appendPresent(dst, entryValue, kv.Value)
	}
	for _, key := range del {
		dst = appendPresent(dst, patchDelete, key)
	}
	return dst
}

// size is the length of the pair as an entry of a map, where both are present even if empty.
func (kv KV) size() int {
	return sizePresent(len(kv.Key)) + sizePresent(len(kv.Value))
}

// AppendBind accepts the login of a link. The protocol knows no other target for it.
func AppendBind(dst []byte, l Link, ref uint64, b Bind) []byte {
	t := ToLink(l)
	n := sizeBytes(len(b.User)) + sizeBytes(len(b.Device)) + sizeUint(b.Synced)
	dst = appendDownHead(dst, &t, ref, downItemBind, n)
	dst = appendBytes(dst, bindUser, b.User)
	dst = appendBytes(dst, bindDevice, b.Device)
	return appendUint(dst, bindSynced, b.Synced)
}

// AppendJoin puts the target's links into room.
func AppendJoin(dst []byte, t Target, ref uint64, room string) []byte {
	return append(appendDownHead(dst, &t, ref, downItemJoin, len(room)), room...)
}

// AppendLeave takes the target's links out of room.
func AppendLeave(dst []byte, t Target, ref uint64, room string) []byte {
	return append(appendDownHead(dst, &t, ref, downItemLeave, len(room)), room...)
}

// AppendClose ends the target's links.
func AppendClose(dst []byte, t Target, ref uint64, c Close) []byte {
	n := sizeUint(uint64(c.Reason)) + sizeUint(uint64(c.RetryAfterMs)) + sizeBytes(len(c.Text))
	dst = appendDownHead(dst, &t, ref, downItemClose, n)
	dst = appendUint(dst, closeReason, uint64(c.Reason))
	dst = appendUint(dst, closeRetryAfter, uint64(c.RetryAfterMs))
	return appendBytes(dst, closeText, c.Text)
}

// appendDownHead writes an item up to the opLen bytes of its operation, and makes room for those too. ref goes before the
// operation, although its number is higher, so that the operation is the item's end.
func appendDownHead(dst []byte, t *Target, ref uint64, op uint32, opLen int) []byte {
	n := t.size() + sizeUint(ref) + sizePresent(opLen)
	dst = slices.Grow(dst, sizePresent(n))
	dst = appendHead(dst, downstreamItems, n)
	dst = t.append(dst)
	dst = appendUint(dst, downItemRef, ref)
	return appendHead(dst, op, opLen)
}

// size is the length of the target's field; the members of a oneof are present even if empty.
func (t *Target) size() int {
	switch t.Kind {
	case TargetLink:
		return sizePresent(t.Link.size())
	case TargetUser:
		return sizePresent(len(t.User))
	case TargetDevice:
		return sizePresent(sizeBytes(len(t.User)) + sizeBytes(len(t.Device)))
	case TargetRoom:
		return sizePresent(len(t.Room))
	case TargetEveryone:
		return sizePresent(0)
	}
	return 0
}

func (t *Target) append(dst []byte) []byte {
	switch t.Kind {
	case TargetLink:
		return t.Link.append(dst, downItemLink)
	case TargetUser:
		return appendPresent(dst, downItemUser, t.User)
	case TargetDevice:
		dst = appendHead(dst, downItemDevice, sizeBytes(len(t.User))+sizeBytes(len(t.Device)))
		dst = appendBytes(dst, deviceUser, t.User)
		return appendBytes(dst, deviceDevice, t.Device)
	case TargetRoom:
		return appendPresent(dst, downItemRoom, t.Room)
	case TargetEveryone:
		return appendHead(dst, downItemEveryone, 0)
	}
	return dst
}
