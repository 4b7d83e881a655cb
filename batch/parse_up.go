package batch

// ParseUpItem reads one item of an Upstream into out, whatever out held before. It returns ErrMalformed if any part of it
// but the session is not as it should be; out is then not to be used.
func ParseUpItem(item []byte, out *UpItem) error {
	*out = UpItem{}
	var session, list joint
	ok := true
	c := cursor{rest: item}
	for ok && c.next() {
		switch c.tag {
		case upItemLink:
			out.HasLink = true
			ok = out.Link.merge(c.data)
		case upItemSession:
			session.add(c.data)
		case upItemOpened, upItemMessage, upItemAcked, upItemUndelivered, upItemClosed, upItemRefused:
			if what := UpWhat(c.tag >> 3); what != out.What {
				*out = UpItem{Link: out.Link, HasLink: out.HasLink, What: what}
				list = joint{}
			}
			ok = out.mergeWhat(c.data, &list)
		}
	}
	if !ok || c.bad {
		return ErrMalformed
	}
	out.Session = session.b
	switch out.What {
	case UpAcked:
		out.Receipts.c.rest = list.b
	case UpUndelivered:
		out.Losses.c.rest = list.b
	}
	return nil
}

// mergeWhat reads b, the message of the oneof that out.What names, over what out holds of it. Lists are only checked here;
// they go to list.
func (out *UpItem) mergeWhat(b []byte, list *joint) bool {
	switch out.What {
	case UpMessage:
		return out.mergeMessage(b)
	case UpAcked:
		list.add(b)
		return validReceipts(b)
	case UpUndelivered:
		list.add(b)
		return validLosses(b)
	case UpClosed:
		return out.mergeClosed(b)
	case UpRefused:
		return out.mergeRefused(b)
	}
	return wellFormed(b)
}

func (out *UpItem) mergeMessage(b []byte) bool {
	c := cursor{rest: b}
	for c.next() {
		switch c.tag {
		case clientMessageKind:
			out.Kind = KindOther
			if kind := uint32(c.num); kind < uint32(KindOther) {
				out.Kind = byte(kind)
			}
		case clientMessagePayload:
			out.Payload = c.data
		}
	}
	return !c.bad
}

func (out *UpItem) mergeClosed(b []byte) bool {
	c := cursor{rest: b}
	for c.next() {
		switch c.tag {
		case closedReason:
			out.Reason = uint32(c.num)
		case closedSide:
			out.Side = Side(c.num)
		case closedEvidence:
			if !c.text(&out.Evidence) {
				return false
			}
		}
	}
	return !c.bad
}

func (out *UpItem) mergeRefused(b []byte) bool {
	c := cursor{rest: b}
	for c.next() {
		switch c.tag {
		case refusedRef:
			out.Ref = c.num
		case refusedReason:
			if !c.text(&out.Text) {
				return false
			}
		case refusedCode:
			out.Code = Code(c.num)
		}
	}
	return !c.bad
}

func validReceipts(b []byte) bool {
	c := cursor{rest: b}
	for c.next() {
		if c.tag != ackedReceipts {
			continue
		}
		if _, ok := parseReceipt(c.data); !ok {
			return false
		}
	}
	return !c.bad
}

func validLosses(b []byte) bool {
	c := cursor{rest: b}
	for c.next() {
		if c.tag != undeliveredLosses {
			continue
		}
		if _, ok := parseLoss(c.data); !ok {
			return false
		}
	}
	return !c.bad
}

func parseReceipt(b []byte) (r Receipt, ok bool) {
	c := cursor{rest: b}
	for c.next() {
		switch c.tag {
		case receiptTID:
			r.TID = uint32(c.num)
		case receiptMsgID:
			if !c.text(&r.MsgID) {
				return r, false
			}
		case receiptSampled:
			r.Sampled = c.num != 0
		case receiptTries:
			r.Tries = uint32(c.num)
		}
	}
	return r, !c.bad
}

func parseLoss(b []byte) (l Loss, ok bool) {
	c := cursor{rest: b}
	for c.next() {
		switch c.tag {
		case lossMsgID:
			if !c.text(&l.MsgID) {
				return l, false
			}
		case lossReason:
			l.Reason = LossReason(c.num)
		}
	}
	return l, !c.bad
}
