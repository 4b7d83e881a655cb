package nic

import (
	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
)

// The netlink family netdev (Documentation/netlink/specs/netdev.yaml of Linux, uapi/linux/netdev.h), of which
// golang.org/x/sys/unix has nothing.
const (
	netdevFamily = "netdev"

	netdevQueueGet  = 10
	netdevNAPIGet   = 11
	netdevQStatsGet = 12

	queueID      = 1
	queueIfindex = 2
	queueType    = 3 // 0: RX, 1: TX
	queueNAPI    = 4

	napiIfindex = 1
	napiID      = 2
	napiIRQ     = 3

	qstatsIfindex   = 1
	qstatsType      = 2
	qstatsID        = 3
	qstatsScope     = 4
	qstatsRXPackets = 8
	qstatsRXBytes   = 9
	qstatsTXPackets = 10
	qstatsTXBytes   = 11
	qstatsRXNoAlloc = 12
	qstatsRXDrops   = 13

	scopeQueue = 1
)

// uintOf reads an attribute of type uint, which the kernel sends in 4 bytes where the value fits, else in 8; 0 where it has
// another size.
func uintOf(ad *netlink.AttributeDecoder) uint64 {
	switch b := ad.Bytes(); len(b) {
	case 4:
		return uint64(native.Uint32(b))
	case 8:
		return native.Uint64(b)
	}
	return 0
}

// decode gives each attribute of each message to field; next is called before each message.
func decode(messages []genetlink.Message, next func(), field func(ad *netlink.AttributeDecoder)) error {
	for _, m := range messages {
		ad, err := netlink.NewAttributeDecoder(m.Data)
		if err != nil {
			return err
		}
		next()
		for ad.Next() {
			field(ad)
		}
		if err := ad.Err(); err != nil {
			return err
		}
	}
	return nil
}

// parseQueues reads the answer to netdevQueueGet.
func parseQueues(messages []genetlink.Message) (queues []AnsweredQueue, err error) {
	var q *AnsweredQueue
	err = decode(messages, func() {
		queues = append(queues, AnsweredQueue{})
		q = &queues[len(queues)-1]
	}, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case queueID:
			q.Index = int(ad.Uint32())
		case queueType:
			q.TX = ad.Uint32() == 1
		case queueNAPI:
			q.NAPI = ad.Uint32()
		}
	})
	return queues, err
}

// parseNAPIs reads the answer to netdevNAPIGet.
func parseNAPIs(messages []genetlink.Message) (napis []AnsweredNAPI, err error) {
	var n *AnsweredNAPI
	err = decode(messages, func() {
		napis = append(napis, AnsweredNAPI{})
		n = &napis[len(napis)-1]
	}, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case napiID:
			n.ID = ad.Uint32()
		case napiIRQ:
			n.IRQ = int(ad.Uint32())
		}
	})
	return napis, err
}

// parseQStats reads the answer to netdevQStatsGet.
func parseQStats(messages []genetlink.Message) (stats []QueueStats, err error) {
	var s *QueueStats
	err = decode(messages, func() {
		stats = append(stats, QueueStats{})
		s = &stats[len(stats)-1]
	}, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case qstatsType:
			s.TX = ad.Uint32() == 1
		case qstatsID:
			s.Index = int(ad.Uint32())
		case qstatsRXPackets, qstatsTXPackets:
			s.Packets = uintOf(ad)
		case qstatsRXBytes, qstatsTXBytes:
			s.Bytes = uintOf(ad)
		case qstatsRXNoAlloc:
			s.AllocFail = uintOf(ad)
		case qstatsRXDrops:
			s.Drops = uintOf(ad)
		}
	})
	return stats, err
}

// encode returns the attributes that fill puts; of fixed size, they cannot fail.
func encode(fill func(ae *netlink.AttributeEncoder)) []byte {
	ae := netlink.NewAttributeEncoder()
	fill(ae)
	b, err := ae.Encode()
	if err != nil {
		panic("netlink attributes: " + err.Error())
	}
	return b
}
