package nic

import "context"

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

// Constants of the messages that a test makes.
const (
	MaxOpen     = maxOpen
	RTMGetLink  = rtmGetLink
	RTMGetStats = rtmGetStats
	RTMNewLink  = rtmNewLink
	RTMNewStats = rtmNewStats
)
