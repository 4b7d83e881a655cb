package batch

import "unicode/utf8"

// DownHead is what batches are sorted by before anybody carries them out: whom an item is for, and the name of what is to
// be done. Only the fields that belong to Target count; the others hold anything. Slices alias the item.
type DownHead struct {
	Target TargetKind
	Op     Op
	Link   Link   // TargetLink
	User   []byte // TargetUser, TargetDevice
	Device []byte // TargetDevice, where it is never nil; TargetUser, where it always is
	Room   []byte // TargetRoom
}

// ParseDownHead reads the head of an item into out, whatever out held before. It returns ErrMalformed if the item's fields
// or its target are not as they should be; out is then not to be used. Into the operation it does not look: what it reads
// of an item that ParseDownItem reads is the same, but an item with a bad operation has a head as well.
func ParseDownHead(item []byte, out *DownHead) error {
	if out.plain(item) {
		return nil
	}
	*out = DownHead{}
	var target DownItem
	ok := true
	c := cursor{rest: item}
	for ok && c.next() {
		switch c.tag {
		case downItemLink, downItemUser, downItemDevice, downItemRoom, downItemEveryone:
			ok = target.mergeTarget(TargetKind(c.tag>>3), c.data)
		case downItemData, downItemPush, downItemSession, downItemBind, downItemJoin, downItemLeave, downItemClose:
			out.Op = Op(c.tag >> 3)
		}
	}
	if !ok || c.bad {
		return ErrMalformed
	}
	out.Target, out.Link, out.User, out.Device, out.Room = target.Target, target.Link, target.User, target.Device, target.Room
	if out.Target == TargetDevice && out.Device == nil {
		out.Device = []byte{} // a device without a name is another thing than none
	}
	return nil
}

// plain reads an item in the form in which everybody writes it: a target, perhaps a ref, an operation, perhaps a ref. What
// it says no to is for the general way.
func (out *DownHead) plain(item []byte) bool {
	if len(item) < 2 || item[0]&7 != byte(bytesType) || item[1] >= 0x80 || int(item[1]) > len(item)-2 {
		return false
	}
	end := 2 + int(item[1])
	target, rest := item[2:end:end], item[end:]
	if len(rest) > 0 && rest[0] == byte(downItemRef) {
		rest = skipRef(rest)
	}
	if len(rest) < 2 {
		return false
	}
	op := rest[0]
	if op < byte(downItemData) || op > byte(downItemClose) || op&7 != byte(bytesType) {
		return false
	}
	size, n := varint(rest[1:])
	if n == 0 || size > uint64(len(rest)-1-n) {
		return false
	}
	if rest = rest[1+n+int(size):]; len(rest) > 0 && len(skipRef(rest)) > 0 {
		return false
	}
	out.Target, out.Op = TargetKind(item[0]>>3), Op(op>>3)
	return out.plainTarget(target)
}

func (out *DownHead) plainTarget(b []byte) bool {
	switch out.Target {
	case TargetLink:
		out.Link = Link{}
		return out.Link.plain(b)
	case TargetUser:
		out.User, out.Device = b, nil
		return utf8.Valid(b)
	case TargetDevice:
		return out.plainDevice(b)
	case TargetRoom:
		out.Room = b
		return utf8.Valid(b)
	case TargetEveryone:
		return len(b) == 0
	}
	return false
}

// plainDevice reads a Device with both fields in their order, each shorter than 128 bytes.
func (out *DownHead) plainDevice(b []byte) bool {
	for i, to := range [...]*[]byte{&out.User, &out.Device} {
		if len(b) < 2 || b[0] != byte(deviceUser)+byte(8*i) || b[1] >= 0x80 || int(b[1]) > len(b)-2 {
			return false
		}
		end := 2 + int(b[1])
		*to, b = b[2:end:end], b[end:]
	}
	return len(b) == 0 && utf8.Valid(out.User) && utf8.Valid(out.Device)
}

// skipRef passes over a ref at the head of b, if there is a whole one.
func skipRef(b []byte) []byte {
	if len(b) > 1 && b[0] == byte(downItemRef) {
		if _, n := varint(b[1:]); n > 0 {
			return b[1+n:]
		}
	}
	return b
}
