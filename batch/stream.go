package batch

// What a batch holds besides its items: the hello of either side, and the numbers of PROTOCOL.md 2.1, Receipts.

// GatewayHello is a gateway's word of greeting, alone in the first Upstream of a stream.
type GatewayHello struct {
	ID       string // stable over restarts and upgrades
	Address  string // advertised IP:port, the first two parts of every link ID
	Protocol uint32 // 1
	Version  string // of the edged binary
	Reactor  uint32 // the shard that the stream serves
	Resumed  bool   // the links are those of the process before this one
	Epoch    uint64 // changes at every cold start; equal while links and their IDs live on
}

// ManagerHello is a Manager's word of greeting, optional in the first Downstream of a stream.
type ManagerHello struct {
	ID       string // stable over restarts if the Manager's receipts are
	Protocol uint32 // 1
	Receipts bool   // it will set seq and received
}

// Upstream is a batch from a gateway. Numbers that are 0 are not there: Seq 0 means a hello or a bare receipt.
type Upstream struct {
	Hello    GatewayHello
	HasHello bool
	Items    Items
	Seq      uint64 // of the batches of (epoch, reactor, Manager), from 1
	Received uint64 // highest Downstream.Seq taken in without a hole
}

// Downstream is a batch from a Manager, or from a channel in Redis.
type Downstream struct {
	Hello    ManagerHello
	HasHello bool
	Items    Items
	Seq      uint64 // 0: this Manager repeats nothing
	Received uint64 // highest Upstream.Seq taken in without a hole; 0 for ever: it gives no receipts
}

// AppendUpstreamHello appends the hello of an Upstream.
func AppendUpstreamHello(dst []byte, h GatewayHello) []byte {
	n := sizeBytes(len(h.ID)) + sizeBytes(len(h.Address)) + sizeUint(uint64(h.Protocol)) + sizeBytes(len(h.Version)) +
		sizeUint(uint64(h.Reactor)) + sizeUint(flag(h.Resumed)) + sizeUint(h.Epoch)
	dst = appendHead(dst, upstreamHello, n)
	dst = appendBytes(dst, gatewayHelloID, h.ID)
	dst = appendBytes(dst, gatewayHelloAddress, h.Address)
	dst = appendUint(dst, gatewayHelloProtocol, uint64(h.Protocol))
	dst = appendBytes(dst, gatewayHelloVersion, h.Version)
	dst = appendUint(dst, gatewayHelloReactor, uint64(h.Reactor))
	dst = appendUint(dst, gatewayHelloResumed, flag(h.Resumed))
	return appendUint(dst, gatewayHelloEpoch, h.Epoch)
}

// AppendUpstreamSeq appends the numbers of an Upstream; those that are 0 are left out.
func AppendUpstreamSeq(dst []byte, seq, received uint64) []byte {
	dst = appendUint(dst, upstreamSeq, seq)
	return appendUint(dst, upstreamReceived, received)
}

// AppendDownstreamHello appends the hello of a Downstream.
func AppendDownstreamHello(dst []byte, h ManagerHello) []byte {
	n := sizeBytes(len(h.ID)) + sizeUint(uint64(h.Protocol)) + sizeUint(flag(h.Receipts))
	dst = appendHead(dst, downstreamHello, n)
	dst = appendBytes(dst, managerHelloID, h.ID)
	dst = appendUint(dst, managerHelloProtocol, uint64(h.Protocol))
	return appendUint(dst, managerHelloReceipts, flag(h.Receipts))
}

// AppendDownstreamSeq appends the numbers of a Downstream; those that are 0 are left out.
func AppendDownstreamSeq(dst []byte, seq, received uint64) []byte {
	dst = appendUint(dst, downstreamSeq, seq)
	return appendUint(dst, downstreamReceived, received)
}

// ParseUpstream reads the outer level of an Upstream; Items then walks over bytes that are known to be fields. It returns
// ErrMalformed if b is no message or the hello is not as it should be.
func ParseUpstream(b []byte) (Upstream, error) {
	u := Upstream{Items: UpItems(b)}
	c := cursor{rest: b}
	for c.next() {
		switch c.tag {
		case upstreamHello:
			u.HasHello = true
			if !u.Hello.merge(c.data) {
				return Upstream{}, ErrMalformed
			}
		case upstreamSeq:
			u.Seq = c.num
		case upstreamReceived:
			u.Received = c.num
		}
	}
	if c.bad {
		return Upstream{}, ErrMalformed
	}
	return u, nil
}

// ParseDownstream reads the outer level of a Downstream; Items then walks over bytes that are known to be fields. It
// returns ErrMalformed if b is no message or the hello is not as it should be.
func ParseDownstream(b []byte) (Downstream, error) {
	d := Downstream{Items: DownItems(b)}
	c := cursor{rest: b}
	for c.next() {
		switch c.tag {
		case downstreamHello:
			d.HasHello = true
			if !d.Hello.merge(c.data) {
				return Downstream{}, ErrMalformed
			}
		case downstreamSeq:
			d.Seq = c.num
		case downstreamReceived:
			d.Received = c.num
		}
	}
	if c.bad {
		return Downstream{}, ErrMalformed
	}
	return d, nil
}

func (h *GatewayHello) merge(b []byte) bool {
	c := cursor{rest: b}
	for c.next() {
		ok := true
		switch c.tag {
		case gatewayHelloID:
			ok = c.str(&h.ID)
		case gatewayHelloAddress:
			ok = c.str(&h.Address)
		case gatewayHelloProtocol:
			h.Protocol = uint32(c.num)
		case gatewayHelloVersion:
			ok = c.str(&h.Version)
		case gatewayHelloReactor:
			h.Reactor = uint32(c.num)
		case gatewayHelloResumed:
			h.Resumed = c.num != 0
		case gatewayHelloEpoch:
			h.Epoch = c.num
		}
		if !ok {
			return false
		}
	}
	return !c.bad
}

func (h *ManagerHello) merge(b []byte) bool {
	c := cursor{rest: b}
	for c.next() {
		switch c.tag {
		case managerHelloID:
			if !c.str(&h.ID) {
				return false
			}
		case managerHelloProtocol:
			h.Protocol = uint32(c.num)
		case managerHelloReceipts:
			h.Receipts = c.num != 0
		}
	}
	return !c.bad
}
