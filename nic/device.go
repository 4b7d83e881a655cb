package nic

import (
	"strconv"
	"strings"
	"syscall"
)

// Ways in which a queue's CPU was found, best first.
const (
	ByNetdev = "netdev"   // the kernel's own word: queue, NAPI, interrupt
	ByName   = "sysfs"    // by the name of an interrupt vector of the device
	ByGuess  = "guess"    // there is no interrupt, as with a veth: queue i is taken for the CPU i mod C
	Unmapped = "unmapped" // there are interrupts, and which of them is the queue's is not known; nothing is claimed
)

// Device is the map of one leaf: which CPU works on which of its queues, and what can be set on it. It is a picture of one
// moment: numbers of interrupts change with the number of channels, and whoever may can move an interrupt.
type Device struct {
	Name      string
	Index     int
	Driver    string // name of the kernel's driver; empty: not told
	Bus       string // address of the device: "0000:3b:00.0"; it stays where names and indexes change; empty: no device
	SpeedMbit int    // 0: unknown, or not a limit that means anything
	Node      int    // NUMA node; -1: unknown, or the box has but one
	LocalCPUs []int  // CPUs near the device; nil: unknown
	RX, TX    []Queue
	Vectors   []Vector // all interrupts of the device, those of no queue too, ordered by number
	Channels  Channels
	Rings     Rings
	Coalesce  Coalesce
	Features  []Feature // of Offloads, those that the driver has
	RSSTable  []uint32  // RX queue of each hash bucket; nil: there is none, or it was not told

	// Mapped says that the interrupt and the CPU of every RX queue are known; queues may share them. Where it is false, Why says
	// in one sentence what is not known; the CPUs of queues found ByGuess are still there.
	Mapped bool
	Why    string

	// Refused has the kernel's answer to each question that it did not answer: see the constants named Ask.
	Refused map[string]syscall.Errno
}

// Queue is an RX or a TX queue.
type Queue struct {
	Index  int    // among those of its direction
	NAPI   uint32 // what SO_INCOMING_NAPI_ID says of links whose packets come through it; 0: not told
	IRQ    int    // 0: none, or unknown
	Vector string // name of that interrupt: "mlx5_comp3@pci:0000:3b:00.0"
	Node   int    // NUMA node of the first of CPUs; -1: unknown
	How    string // ByNetdev, ByName, ByGuess or Unmapped

	// CPUs is where the interrupt is handled: mostly one; those that it may go to, where it has been moved and has not come
	// since; nil: unknown.
	CPUs []int

	// Mask has the CPUs of RPS for an RX queue, of XPS for a TX queue: empty where it is off, nil where the file is not there
	// or may not be read, as XPS of a device with one TX queue.
	Mask  []int
	Flows int // rps_flow_cnt of an RX queue: entries of its RFS table
}

// Vector is an interrupt of a device.
type Vector struct {
	IRQ     int
	Name    string // empty: nobody handles it at present
	CPUs    []int  // effective affinity; Allowed where that is not told, or is of before a move
	Allowed []int  // CPUs of which the kernel chose the effective ones: what SetAffinity changes
}

// Counts are numbers of channels. A combined channel is an RX and a TX queue with one interrupt.
type Counts struct {
	RX, TX, Other, Combined int
}

// String returns the kinds that are not 0, as "combined 8 other 1".
func (c Counts) String() string {
	var b strings.Builder
	for _, kind := range []struct {
		name string
		n    int
	}{{"combined", c.Combined}, {"rx", c.RX}, {"tx", c.TX}, {"other", c.Other}} {
		if kind.n != 0 {
			b.WriteString(" " + kind.name + " " + strconv.Itoa(kind.n))
		}
	}
	return strings.TrimPrefix(b.String(), " ")
}

// Channels are a device's numbers of channels; Max is zero where the driver cannot tell.
type Channels struct {
	Now, Max Counts
}

// Rings are the descriptors of each RX and of each TX queue; the maxima are 0 where the driver cannot tell.
type Rings struct {
	RX, TX       int
	RXMax, TXMax int
}

// CoalesceField is a set of fields of Coalesce.
type CoalesceField uint8

// Fields of Coalesce.
const (
	RXUsecs CoalesceField = 1 << iota
	RXFrames
	TXUsecs
	TXFrames
	AdaptiveRX
	AdaptiveTX
)

// Coalesce is how long a device may hold its interrupt back to serve more packets with one. A field counts where Has contains
// it: read, the driver supports it; written, it is to change.
type Coalesce struct {
	Has                    CoalesceField
	RXUsecs, RXFrames      int // microseconds, packets
	TXUsecs, TXFrames      int
	AdaptiveRX, AdaptiveTX bool
}

// String returns the fields that Has contains, as "rx-usecs 40 adaptive-rx on".
func (c Coalesce) String() string {
	var b strings.Builder
	put := func(field CoalesceField, name, value string) {
		if c.Has&field != 0 {
			b.WriteString(" " + name + " " + value)
		}
	}
	put(AdaptiveRX, "adaptive-rx", onOff(c.AdaptiveRX))
	put(AdaptiveTX, "adaptive-tx", onOff(c.AdaptiveTX))
	put(RXUsecs, "rx-usecs", strconv.Itoa(c.RXUsecs))
	put(RXFrames, "rx-frames", strconv.Itoa(c.RXFrames))
	put(TXUsecs, "tx-usecs", strconv.Itoa(c.TXUsecs))
	put(TXFrames, "tx-frames", strconv.Itoa(c.TXFrames))
	return strings.TrimPrefix(b.String(), " ")
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// Offloads are the names of the Features that a Device tells, as the kernel spells them.
const (
	GRO = "rx-gro"
	LRO = "rx-lro"
	TSO = "tx-tcp-segmentation"
	GSO = "tx-generic-segmentation"
)

// Feature is an offload.
type Feature struct {
	Name  string
	On    bool
	Fixed bool // the driver does not let it change
}

// String returns "rx-gro on".
func (f Feature) String() string { return f.Name + " " + onOff(f.On) }

// QueueStats are the counters of one queue. They begin anew when the device is set up, as by a change of its channels.
type QueueStats struct {
	TX        bool
	Index     int
	Packets   uint64
	Bytes     uint64
	AllocFail uint64 // RX: a buffer could not be had; 0 where the driver does not count it
	Drops     uint64 // RX: packets that the device had no room for; 0 where the driver does not count it
}
