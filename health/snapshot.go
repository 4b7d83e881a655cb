package health

import "time"

// The states of a box, as they are reported.
const (
	Up       = "up"
	Warming  = "warming"  // not measured for a whole interval yet: an empty box would draw every client
	Draining = "draining" // the operator wants no more links on it
	Down     = "down"     // none of its interfaces can carry traffic
)

// Reasons that do not name a term.
const (
	NoLimit    = "nolimit"
	NICDown    = "nic_down"
	NICUnknown = "nic_unknown" // traffic is limited, but could not be measured for more than three ticks
)

// Snapshot is what a tick found. It is not changed after it was published, nor are the slices in it.
type Snapshot struct {
	Availability float64 // in [0,1], in steps of 0.01, rounded down; 0 in every state but Up
	Raw          float64 // the same without smoothing and rounding: from the last interval alone
	Reason       string  // what made Availability so low: a term's name, or another word of the package's description
	State        string  // Up, Warming, Draining or Down

	// The tightest pair of a limit on packets and what is held against it, and of a limit on bytes, of the last interval and
	// per second. Where there is no limit it is 0, and the rate counts as limit_mode says.
	PPS, PPSLimit     float64
	Bytes, BytesLimit float64

	RxPPS, TxPPS     float64 // of the last interval, per second, all leaves together; packets as estimated on the wire
	RxBytes, TxBytes float64

	Links, Capacity int       // as Inputs said at the last tick
	Terms           []Term    // every term that was judged, smoothed, in the order of the package's description
	At              time.Time // of the tick or of the change of state, with its monotonic reading
	Tick            uint64    // ticks since the start; a change of state between two ticks has the earlier one's number
	NICs            []string  // names of the leaves
	NICSource       string    // nic.Physical, nic.Configured or nic.Virtual; empty: the kernel could not be asked
}

// Term is one term's part in a score.
type Term struct {
	Name  string
	Value float64 // availability as this term alone sees it, in [0,1]
}

// Inputs is what the gateway alone knows.
type Inputs struct {
	Links, Capacity    int // Capacity 0: no such term
	Files, FilesLimit  int // open files and their limit (RLIMIT_NOFILE); 0: no such term
	ManagersConfigured bool
	ManagerUp          bool          // one at least can be talked to
	ManagerGrace       time.Duration // how long none may be there before links here are of no use
	ReactorThreads     []int         // thread IDs
}
