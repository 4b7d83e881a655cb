package bus

// Everyone's channel: PROTOCOL.md section 3.
const channelAll = "edged:down"

// MaxBatch is the largest batch in bytes, as on the Manager's stream. A Publisher refuses a larger one, a Subscriber counts it as
// garbage.
const MaxBatch = 4 << 20

// Channel returns the channel of one gateway. Its hash tag puts it where the gateway's report is.
func Channel(gateway string) string { return "edged:down:{" + gateway + "}" }

// Source is the channel that a batch came by.
type Source byte

// The sources. Only in a batch of FromOwn do links mean this gateway's.
const (
	FromOwn Source = iota // the channel of this gateway
	FromAll               // the channel of every gateway

	sources = iota
)

// String returns the source as a label of metrics.
func (s Source) String() string {
	if s == FromOwn {
		return "own"
	}
	return "all"
}
