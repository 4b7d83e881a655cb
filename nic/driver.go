package nic

import (
	"context"
	"syscall"
)

// Questions to a Driver: keys of Answers.Refused.
const (
	AskNetdev   = "netdev"   // the netlink family netdev as a whole: Linux 6.3 and later
	AskQueues   = "queues"   // its queues: Linux 6.8 and later
	AskNAPIs    = "napis"    // its NAPIs: Linux 6.8 and later
	AskEthtool  = "ethtool"  // the netlink family ethtool as a whole: Linux 5.6 and later
	AskChannels = "channels" // of ethtool, as are those that follow
	AskRings    = "rings"
	AskCoalesce = "coalesce"
	AskFeatures = "features"
	AskSpeed    = "speed"
	AskInfo     = "info" // ioctl
	AskRSSTable = "rss"  // ioctl
)

// Driver is what is told and set of one interface by the netlink families netdev and ethtool and by the ioctl of ethtool.
// An interface is named by index and by name; of the Leaf nothing else is read.
type Driver interface {
	// Ask puts all questions. What the kernel refuses is told in Refused; an error says that there is no such interface
	// (ErrGone) or that ctx ended.
	Ask(ctx context.Context, leaf Leaf) (Answers, error)
	// Stats returns the counters of the queues, in no order.
	Stats(ctx context.Context, leaf Leaf) ([]QueueStats, error)
	SetChannels(ctx context.Context, leaf Leaf, want Counts) error
	// SetRings changes the sizes that are not 0.
	SetRings(ctx context.Context, leaf Leaf, rx, tx int) error
	SetCoalesce(ctx context.Context, leaf Leaf, want Coalesce) error
	SetFeature(ctx context.Context, leaf Leaf, name string, on bool) error
}

// Answers are what a Driver tells of one interface. They can be recorded as JSON.
type Answers struct {
	Driver   string                   `json:"driver,omitempty"`
	Bus      string                   `json:"bus,omitempty"`
	Speed    uint32                   `json:"speed,omitempty"` // Mbit/s as the kernel says it; 0 or 4294967295: unknown
	Queues   []AnsweredQueue          `json:"queues,omitempty"`
	NAPIs    []AnsweredNAPI           `json:"napis,omitempty"`
	Channels Channels                 `json:"channels,omitzero"`
	Rings    Rings                    `json:"rings,omitzero"`
	Coalesce Coalesce                 `json:"coalesce,omitzero"`
	Features []Feature                `json:"features,omitempty"`
	RSSTable []uint32                 `json:"rss,omitempty"`
	Refused  map[string]syscall.Errno `json:"refused,omitempty"`
}

// AnsweredQueue is a queue as the family netdev tells it.
type AnsweredQueue struct {
	TX    bool   `json:"tx,omitempty"`
	Index int    `json:"index"`
	NAPI  uint32 `json:"napi,omitempty"` // 0: not told, as of the TX queues of virtio
}

// AnsweredNAPI is a NAPI instance as the family netdev tells it.
type AnsweredNAPI struct {
	ID  uint32 `json:"id"`
	IRQ int    `json:"irq,omitempty"` // 0: not told, as by virtio
}
