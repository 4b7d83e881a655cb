package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The keeper's protocol, version 1. It is frozen: a keeper outlives many releases of the gateway, because its end is what costs
// the links. What is added has to be a new kind of message, which this version passes over.
//
// Gateway and keeper are one user's; they speak over a unix SEQPACKET socket. A message is, little-endian,
//
//	0 1  kind
//	1 1  version: 1
//	2 2  n, number of keys
//	4 4  arg
//	8    n keys of 8 bytes
//
// and descriptors come along by SCM_RIGHTS. A key is the gateway's name for a descriptor; to the keeper it means nothing.
//
//	     gateway > keeper                          keeper > gateway
//	 1   hello
//	 2                                             welcome: keys are the number of descriptors kept, crashes in the last
//	                                               minute, descriptors dropped since the last welcome, and why (0 nothing
//	                                               was, 1 crash loop, 2 nobody came, 3 a gateway began anew); the shared
//	                                               memory, if there is one, comes along
//	 3   memory: a descriptor to keep for the
//	     next gateway; arg 0: what was kept
//	     before is dropped, 1: it stays
//	 4   add: n keys, n descriptors (to 253);
//	     one that is kept already is replaced
//	 5   release: n keys (to 8,000)
//	 6   take
//	 7                                             links: n keys, n descriptors, as often as needed; they stay kept
//	 8                                             taken: arg is how many there were
//	 9   leave: what comes is no crash; arg 0:
//	     everything is dropped, 1: it is kept
//	10                                             full: n keys of an add for which there was no room
//	11                                             busy: there is a gateway already; the connection is closed
const (
	keepHello byte = iota + 1
	keepWelcome
	keepMemory
	keepAdd
	keepRelease
	keepTake
	keepLinks
	keepTaken
	keepLeave
	keepFull
	keepBusy
)

const (
	keeperVersion = 1
	keeperHead    = 8
	mostFiles     = 253  // of one message (SCM_MAX_FD, unix(7))
	mostKeys      = 8000 // of one message: under the 64 KiB of either side's buffer
	keeperMessage = 64 << 10
)

// Dropped says why the keeper let go of what it had.
type Dropped int

const (
	DroppedNothing   Dropped = iota
	DroppedCrashLoop         // so many gateways died within a minute: one of the links may be what kills them
	DroppedNobody            // no gateway came in time
	DroppedAnew              // a gateway did not want them
	droppedEnd               // the keeper itself ends: nobody is told
)

func (d Dropped) String() string {
	switch d {
	case DroppedNothing:
		return "nothing"
	case DroppedCrashLoop:
		return "too many crashes within a minute"
	case DroppedNobody:
		return "no gateway came in time"
	case DroppedAnew:
		return "the gateway began anew"
	case droppedEnd:
		return "the keeper ends"
	}
	return fmt.Sprintf("reason %d", int(d))
}

// keeperHeadOf appends the head of a message.
func appendKeeperHead(b []byte, kind byte, n int, arg uint32) []byte {
	b = append(b, kind, keeperVersion)
	b = binary.LittleEndian.AppendUint16(b, uint16(n))
	return binary.LittleEndian.AppendUint32(b, arg)
}

func appendKeeperMessage(b []byte, kind byte, arg uint32, keys ...uint64) []byte {
	b = appendKeeperHead(b, kind, len(keys), arg)
	for _, k := range keys {
		b = binary.LittleEndian.AppendUint64(b, k)
	}
	return b
}

// keeperMsg is a message as it came; its keys lie in the buffer that was read into.
type keeperMsg struct {
	kind byte
	arg  uint32
	keys []byte
	fds  []int
}

func (m keeperMsg) len() int         { return len(m.keys) / 8 }
func (m keeperMsg) key(i int) uint64 { return binary.LittleEndian.Uint64(m.keys[8*i:]) }

func parseKeeperMessage(b []byte) (keeperMsg, error) {
	if len(b) < keeperHead {
		return keeperMsg{}, errors.New("a message without a head")
	}
	if b[1] != keeperVersion {
		return keeperMsg{}, fmt.Errorf("version %d of the protocol, not %d", b[1], keeperVersion)
	}
	n := int(binary.LittleEndian.Uint16(b[2:]))
	if len(b) < keeperHead+8*n {
		return keeperMsg{}, fmt.Errorf("%d keys in %d bytes", n, len(b))
	}
	return keeperMsg{kind: b[0], arg: binary.LittleEndian.Uint32(b[4:]), keys: b[keeperHead : keeperHead+8*n]}, nil
}
