package batch

import "slices"

// Every function below appends one `items` field of an Upstream. session is the encoded `session` field of UpItem, tag and
// length included (session.Store.Field), or empty; it is copied as it is. Strings must be UTF-8: generated code refuses
// the whole batch otherwise.

// AppendOpened tells of a new link. All that is to be known about it stands in the session.
func AppendOpened(dst []byte, l Link, session []byte) []byte {
	return appendUpHead(dst, &l, session, upItemOpened, 0)
}

// AppendMessage carries what a client sent: kind is KindHello or KindData, payload the bytes after the kind.
func AppendMessage(dst []byte, l Link, session []byte, kind byte, payload []byte) []byte {
	dst = appendUpHead(dst, &l, session, upItemMessage, sizeUint(uint64(kind))+sizeBytes(len(payload)))
	dst = appendUint(dst, clientMessageKind, uint64(kind))
	return appendBytes(dst, clientMessagePayload, payload)
}

// MessageLen is the number of bytes that AppendMessage adds for a session field and a payload of these lengths, so that a
// caller can close a batch before it outgrows one HTTP/2 frame (PROTOCOL.md 2.1).
func MessageLen(l Link, sessionLen, payloadLen int) int {
	const kind = 2
	return sizePresent(upItemLen(&l, sessionLen, kind+sizeBytes(payloadLen)))
}

// AppendClosed tells of a link's end: reason is that of BYE or 0, side who ended it, evidence a word for people.
func AppendClosed(dst []byte, l Link, session []byte, reason uint32, side Side, evidence string) []byte {
	n := sizeUint(uint64(reason)) + sizeUint(enum(side)) + sizeBytes(len(evidence))
	dst = appendUpHead(dst, &l, session, upItemClosed, n)
	dst = appendUint(dst, closedReason, uint64(reason))
	dst = appendUint(dst, closedSide, enum(side))
	return appendBytes(dst, closedEvidence, evidence)
}

// AppendRefused answers an operation that was not carried out. ref is the operation's; l is nil where it was about a user,
// a room or everyone.
func AppendRefused(dst []byte, l *Link, session []byte, ref uint64, code Code, reason string) []byte {
	n := sizeUint(ref) + sizeBytes(len(reason)) + sizeUint(enum(code))
	dst = appendUpHead(dst, l, session, upItemRefused, n)
	dst = appendUint(dst, refusedRef, ref)
	dst = appendBytes(dst, refusedReason, reason)
	return appendUint(dst, refusedCode, enum(code))
}

// AppendUndelivered gives pushes back that did not reach their link for sure. l is nil where they were for a user, a room
// or everyone.
func AppendUndelivered(dst []byte, l *Link, session []byte, losses ...Loss) []byte {
	n := 0
	for i := range losses {
		n += sizePresent(losses[i].size())
	}
	dst = appendUpHead(dst, l, session, upItemUndelivered, n)
	for i := range losses {
		loss := &losses[i]
		dst = appendHead(dst, undeliveredLosses, loss.size())
		dst = appendBytes(dst, lossMsgID, loss.MsgID)
		dst = appendUint(dst, lossReason, enum(loss.Reason))
	}
	return dst
}

// AppendAcked tells which pushes the client acknowledged.
func AppendAcked(dst []byte, l Link, session []byte, receipts ...Receipt) []byte {
	n := 0
	for i := range receipts {
		n += sizePresent(receipts[i].size())
	}
	dst = appendUpHead(dst, &l, session, upItemAcked, n)
	for i := range receipts {
		r := &receipts[i]
		dst = appendHead(dst, ackedReceipts, r.size())
		dst = appendUint(dst, receiptTID, uint64(r.TID))
		dst = appendBytes(dst, receiptMsgID, r.MsgID)
		dst = appendUint(dst, receiptSampled, flag(r.Sampled))
		dst = appendUint(dst, receiptTries, uint64(r.Tries))
	}
	return dst
}

func (r *Receipt) size() int {
	return sizeUint(uint64(r.TID)) + sizeBytes(len(r.MsgID)) + sizeUint(flag(r.Sampled)) + sizeUint(uint64(r.Tries))
}

func (l *Loss) size() int {
	return sizeBytes(len(l.MsgID)) + sizeUint(enum(l.Reason))
}

// upItemLen is the length of an UpItem whose member of the oneof has whatLen bytes.
func upItemLen(l *Link, sessionLen, whatLen int) int {
	n := sessionLen + sizePresent(whatLen)
	if l != nil {
		n += sizePresent(l.size())
	}
	return n
}

// appendUpHead writes an item up to the whatLen bytes of its member of the oneof, and makes room for those too.
func appendUpHead(dst []byte, l *Link, session []byte, what uint32, whatLen int) []byte {
	n := upItemLen(l, len(session), whatLen)
	dst = slices.Grow(dst, sizePresent(n))
	dst = appendHead(dst, upstreamItems, n)
	if l != nil {
		dst = l.append(dst, upItemLink)
	}
	dst = append(dst, session...)
	return appendHead(dst, what, whatLen)
}
