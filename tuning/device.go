package tuning

import (
	"fmt"
	"strings"
)

// Device is a network device with the map of its queues.
type Device struct {
	Name      string   `json:"name"`
	Index     int      `json:"index"`
	Driver    string   `json:"driver,omitempty"`
	Bus       string   `json:"bus,omitempty"`        // "0000:3b:00.0", "virtio2"; empty: virtual
	SpeedMbit int      `json:"speed_mbit,omitempty"` // 0: unknown
	Node      int      `json:"node"`                 // NUMA; -1: unknown
	RX        []Queue  `json:"rx"`
	TX        []Queue  `json:"tx,omitempty"`
	Channels  Channels `json:"channels"`
	Rings     Rings    `json:"rings"`
	Coalesce  Coalesce `json:"coalesce"`
	Mapped    bool     `json:"mapped"`        // the queues' interrupts are known for certain
	Why       string   `json:"why,omitempty"` // they are not
}

// Queue is one queue of a device.
type Queue struct {
	IRQ    int    `json:"irq,omitempty"` // 0: none, or not known
	Vector string `json:"vector,omitempty"`
	CPUs   []int  `json:"cpus,omitempty"` // where the interrupt goes
}

// Channels are how many queues a device has and may have. All zero: the driver does not tell.
type Channels struct {
	RX          int `json:"rx,omitempty"`
	TX          int `json:"tx,omitempty"`
	Combined    int `json:"combined,omitempty"`
	MaxRX       int `json:"max_rx,omitempty"`
	MaxTX       int `json:"max_tx,omitempty"`
	MaxCombined int `json:"max_combined,omitempty"`
}

// String returns the counts, as the value of a setting.
func (c Channels) String() string {
	var parts []string
	add := func(name string, n int) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", name, n))
		}
	}
	add("rx", c.RX)
	add("tx", c.TX)
	add("combined", c.Combined)
	return strings.Join(parts, " ")
}

// Rings are how many descriptors the queues have.
type Rings struct {
	RX    int `json:"rx,omitempty"`
	TX    int `json:"tx,omitempty"`
	MaxRX int `json:"max_rx,omitempty"`
	MaxTX int `json:"max_tx,omitempty"`
}

// Coalesce is how long a device waits before it interrupts.
type Coalesce struct {
	RXUsecs    int  `json:"rx_usecs,omitempty"`
	HasUsecs   bool `json:"has_usecs,omitempty"` // the driver tells RXUsecs
	AdaptiveRX bool `json:"adaptive_rx,omitempty"`
	Adapts     bool `json:"adapts,omitempty"` // the driver tells AdaptiveRX
}

// String returns the lengths, as the value of a setting.
func (r Rings) String() string { return fmt.Sprintf("rx %d tx %d", r.RX, r.TX) }

// String returns what is told of the waiting, as the value of a setting.
func (c Coalesce) String() string {
	var parts []string
	if c.Adapts {
		state := "off"
		if c.AdaptiveRX {
			state = "on"
		}
		parts = append(parts, "adaptive-rx "+state)
	}
	if c.HasUsecs {
		parts = append(parts, fmt.Sprintf("rx-usecs %d", c.RXUsecs))
	}
	return strings.Join(parts, " ")
}
