package nic

import (
	"encoding/binary"
	"errors"
	"syscall"
)

// Counters are an interface's own, since it was made; they survive down and up. Some drivers count in 32 bits. With TSO or
// hardware GRO a packet here may be many on the wire.
type Counters struct {
	RxPackets, TxPackets uint64
	RxBytes, TxBytes     uint64 // with the Ethernet header, mostly without the FCS
	RxMissed             uint64 // the device had no room
	RxFifo               uint64
	TxDropped, RxDropped uint64 // RxDropped also counts packets that nobody wanted, which is no error
}

// Messages of rtnetlink (uapi/linux/netlink.h, rtnetlink.h, if_link.h). golang.org/x/sys/unix lacks some.
const (
	nlmsgError       = 2
	nlmsgHeader      = 16
	nlmRequest       = 1
	rtmNewLink       = 16
	rtmGetLink       = 18
	rtmNewStats      = 92
	rtmGetStats      = 94
	ifInfoSize       = 16 // struct ifinfomsg
	ifStatsSize      = 12 // struct if_stats_msg
	iflaStats64      = 23
	iflaStatsLink64  = 1
	statsLink64Bit   = 1 // the filter bit of iflaStatsLink64
	attrHeader       = 4
	attrTypeMask     = 1<<14 - 1
	stats64LeastSize = 16 * 8 // up to rx_missed_errors, the last field that is read here
)

// errNoCounters says that the kernel answered and told none.
var errNoCounters = errors.New("answer has no counters")

var native = binary.NativeEndian

// appendStatsRequest appends a request for rtnl_link_stats64 and nothing else (Linux 4.7 and later).
func appendStatsRequest(b []byte, index int, seq uint32) []byte {
	b = appendHeader(b, nlmsgHeader+ifStatsSize, rtmGetStats, seq)
	b = append(b, 0, 0, 0, 0) // family, padding
	b = native.AppendUint32(b, uint32(index))
	return native.AppendUint32(b, statsLink64Bit)
}

// appendLinkRequest appends a request for all of an interface's attributes but those of virtual functions.
func appendLinkRequest(b []byte, index int, seq uint32) []byte {
	b = appendHeader(b, nlmsgHeader+ifInfoSize, rtmGetLink, seq)
	b = append(b, 0, 0, 0, 0) // family, padding, type
	b = native.AppendUint32(b, uint32(index))
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0) // flags, change
}

func appendHeader(b []byte, size, kind int, seq uint32) []byte {
	b = native.AppendUint32(b, uint32(size))
	b = native.AppendUint16(b, uint16(kind))
	b = native.AppendUint16(b, nlmRequest)
	b = native.AppendUint32(b, seq)
	return native.AppendUint32(b, 0) // the port is the kernel's to fill in
}

// parseReply looks in one datagram for the answer to request seq of socket port about interface index. ours is false where
// the datagram holds answers to others only, as after a request whose wait was given up. It keeps nothing of b.
func parseReply(b []byte, seq, port uint32, index int) (c Counters, ours bool, err error) {
	for len(b) >= nlmsgHeader {
		size := int(native.Uint32(b))
		if size < nlmsgHeader {
			break
		}
		if native.Uint32(b[8:]) == seq && native.Uint32(b[12:]) == port {
			if size > len(b) { // it was longer than our buffer
				return Counters{}, true, errNoCounters
			}
			c, err = parseMessage(native.Uint16(b[4:]), b[nlmsgHeader:size], index)
			return c, true, err
		}
		b = b[min(align(size), len(b)):]
	}
	return Counters{}, false, nil
}

// parseMessage reads the body of an answer.
func parseMessage(kind uint16, body []byte, index int) (Counters, error) {
	var fixed, indexAt int
	var attr uint16
	switch kind {
	case nlmsgError:
		if len(body) < 4 {
			return Counters{}, errNoCounters
		}
		if code := -int32(native.Uint32(body)); code > 0 {
			return Counters{}, syscall.Errno(code)
		}
		return Counters{}, errNoCounters
	case rtmNewStats:
		fixed, indexAt, attr = ifStatsSize, 4, iflaStatsLink64
	case rtmNewLink:
		fixed, indexAt, attr = ifInfoSize, 4, iflaStats64
	default:
		return Counters{}, errNoCounters
	}
	if len(body) < fixed || int(native.Uint32(body[indexAt:])) != index {
		return Counters{}, errNoCounters
	}
	stats := findAttr(body[fixed:], attr)
	if len(stats) < stats64LeastSize {
		return Counters{}, errNoCounters
	}
	return parseStats64(stats), nil
}

// findAttr returns the value of the first attribute of that type, nil where there is none.
func findAttr(b []byte, want uint16) []byte {
	for len(b) >= attrHeader {
		size := int(native.Uint16(b))
		if size < attrHeader || size > len(b) {
			return nil
		}
		if native.Uint16(b[2:])&attrTypeMask == want {
			return b[attrHeader:size]
		}
		b = b[min(align(size), len(b)):]
	}
	return nil
}

// parseStats64 reads struct rtnl_link_stats64 by offset: later kernels append fields. b holds stats64LeastSize at least.
func parseStats64(b []byte) Counters {
	field := func(i int) uint64 { return native.Uint64(b[8*i:]) }
	return Counters{
		RxPackets: field(0), TxPackets: field(1), RxBytes: field(2), TxBytes: field(3),
		RxDropped: field(6), TxDropped: field(7), RxFifo: field(14), RxMissed: field(15),
	}
}

// align rounds up to the 4 bytes of NLMSG_ALIGNTO and RTA_ALIGNTO.
func align(n int) int { return (n + 3) &^ 3 }
