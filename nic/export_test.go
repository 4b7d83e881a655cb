package nic

import (
	"context"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
)

// Ways of a Reader, for tests that run over all of them.
const (
	ViaStats = viaStats
	ViaLink  = viaLink
	ViaFiles = viaFiles
)

// Socket is the netlink socket that a test plays.
type Socket = socket

// Subscription is a stream of changes that a test plays.
type Subscription = subscription

// NewReaderOf returns a Reader over sock that begins with the way via.
func NewReaderOf(sys string, sock Socket, via int) *Reader {
	return &Reader{via: via, sock: sock, reply: make([]byte, replySize), files: newFiles(sysfs(sys))}
}

// Begin makes r go the way via.
func (r *Reader) Begin(via int) { r.via = via }

// OpenFiles returns for how many interfaces r has files open.
func (r *Reader) OpenFiles() int { return len(r.files.open) }

// WatchOf is Watch with a subscription that a test plays.
func WatchOf(ctx context.Context, changed func(), subscribe func(done <-chan struct{}) (Subscription, error)) error {
	return watch(ctx, changed, subscribe)
}

// ParseReply gives a datagram to the parser.
func ParseReply(b []byte, seq, port uint32, index int) (c Counters, ours bool, err error) {
	return parseReply(b, seq, port, index)
}

// Parsers of what the families netdev and ethtool answer.
func ParseQueues(m []genetlink.Message) ([]AnsweredQueue, error) { return parseQueues(m) }
func ParseNAPIs(m []genetlink.Message) ([]AnsweredNAPI, error)   { return parseNAPIs(m) }
func ParseQStats(m []genetlink.Message) ([]QueueStats, error)    { return parseQStats(m) }
func ParseChannels(m []genetlink.Message) (Channels, error)      { return parseChannels(m) }
func ParseRings(m []genetlink.Message) (Rings, error)            { return parseRings(m) }
func ParseCoalesce(m []genetlink.Message) (Coalesce, error)      { return parseCoalesce(m) }
func ParseFeatures(m []genetlink.Message) ([]Feature, error)     { return parseFeatures(m) }
func ParseSpeed(m []genetlink.Message) (uint32, error)           { return parseSpeed(m) }

// ParseDriverStats finds queues among a driver's own counters.
func ParseDriverStats(names []string, values []uint64) []QueueStats {
	return parseDriverStats(names, values)
}

// CoalesceRequest returns what a request to change c carries.
func CoalesceRequest(c Coalesce) []byte {
	return encode(func(ae *netlink.AttributeEncoder) { putCoalesce(ae, c) })
}

// Constants of the messages that a test makes.
const (
	MaxOpen     = maxOpen
	RTMGetLink  = rtmGetLink
	RTMGetStats = rtmGetStats
	RTMNewLink  = rtmNewLink
	RTMNewStats = rtmNewStats
)
