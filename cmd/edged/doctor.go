package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edged/tuning"
)

func doctorCommand(box tuning.Box) *cobra.Command {
	t := &tune{box: box}
	var asJSON bool
	over := time.Second
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Say on one page how this box is, and what to do next",
		Long: `Say on one page how this box is, and what to do next.

Limits, values that drifted, packets and connections that are dropped, how evenly queues and CPUs are used, the clock, what the
kernel can do; at the end what helps, what helps most first. It changes nothing.`,
		Args: func(c *cobra.Command, args []string) error {
			if over < 100*time.Millisecond {
				return fmt.Errorf("--over: %v is shorter than 100ms", over)
			}
			return cobra.NoArgs(c, args)
		},
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := t.examine(c, over)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), d)
			}
			return d.write(c.OutOrStdout())
		},
	}
	t.flags(c)
	c.Flags().DurationVar(&over, "over", over, "`time` over which the load is watched")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// diagnosis is what the doctor found.
type diagnosis struct {
	Version  string          `json:"version"`
	Kernel   tuning.Kernel   `json:"kernel"`
	RAM      uint64          `json:"ram"` // bytes
	CPUs     int             `json:"cpus"`
	Nodes    int             `json:"nodes"`
	Box      string          `json:"container,omitempty"`
	Gateway  *gatewayState   `json:"gateway,omitempty"` // that serves here; nil: none does
	Files    uint64          `json:"files"`             // RLIMIT_NOFILE of the gateway, or of this shell
	Plan     planned         `json:"plan"`
	Drift    []tuning.Drift  `json:"drift"`
	Unknown  string          `json:"unknown,omitempty"` // why it is not known whether values drifted
	Load     tuning.Effects  `json:"load"`
	Packets  float64         `json:"packets"` // a second that the CPUs processed
	Losses   []loss          `json:"losses"`
	Clock    clock           `json:"clock"`
	Unmapped []string        `json:"unmapped,omitempty"` // devices whose queues' CPUs are not known, and why
	Advice   []tuning.Advice `json:"-"`
	Next     []step          `json:"next"` // what helps most first
}

// gatewayState is the gateway that serves here.
type gatewayState struct {
	PID      int    `json:"pid"` // 0: not visible from here
	State    string `json:"state,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Links    int    `json:"links"`
	Capacity int    `json:"capacity"`
}

// planned is what of the plan is on the page.
type planned struct {
	Links    uint64         `json:"links"`
	Messages uint64         `json:"messages"`
	Reactors int            `json:"reactors"`
	Now      uint64         `json:"now"`
	Holds    uint64         `json:"holds"`
	Reach    uint64         `json:"reach"`
	Changes  int            `json:"changes"` // settings that apply would change
	Denied   int            `json:"denied"`  // that need privileges or somebody else
	Capacity []tuning.Bound `json:"capacity"`
}

// clock is how the box tells the time.
type clock struct {
	Source       string `json:"source,omitempty"` // clocksource; empty: not told
	Slow         bool   `json:"slow"`             // reading it costs a system call or worse
	Synchronized bool   `json:"synchronized"`
	Unknown      string `json:"unknown,omitempty"` // why it is not known whether it is
}

// fastClocks are those that are read without a system call (vDSO).
var fastClocks = []string{"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "riscv_clocksource", "timebase"}

// examine looks at everything. Only that the box cannot be read at all is an error: what is not known is on the page.
func (t *tune) examine(c *cobra.Command, over time.Duration) (*diagnosis, error) {
	m, p, err := t.plan(c)
	if err != nil {
		return nil, err
	}
	d := &diagnosis{
		Version: version, Kernel: m.Kernel, RAM: m.RAM, CPUs: len(m.CPU.Online), Nodes: len(m.CPU.Nodes), Box: m.Container,
		Files: m.Process.FilesHard, Advice: p.Advice, Drift: []tuning.Drift{},
		Plan: planned{
			Links: p.Links, Messages: p.Messages, Reactors: p.Reactors, Now: p.Now, Holds: p.Holds, Reach: p.Reach,
			Changes: len(p.Changes()), Capacity: p.Capacity,
		},
	}
	for _, e := range p.Entries {
		if e.Status == tuning.NoPermission {
			d.Plan.Denied++
		}
	}
	for _, n := range m.NICs {
		if n.Leaf.Physical && !n.Mapped {
			d.Unmapped = append(d.Unmapped, n.Name+": "+n.Why)
		}
	}
	d.gateway(t.serving)
	d.drift(c.Context(), &t.box, m, p)
	d.Clock = t.clock()
	var total tuning.Sample
	if total, d.Load, err = t.watch(c.Context(), over); err != nil {
		return nil, err
	}
	d.Packets = float64(total.Softnet.Processed-min(m.Softnet.Processed, total.Softnet.Processed)) / max(d.Load.Seconds, 1e-3)
	d.Losses = losses(total, d.Load)
	d.Next = d.next()
	return d, nil
}

func (d *diagnosis) gateway(s *serving) {
	if s == nil {
		return
	}
	d.Gateway = &gatewayState{PID: s.pid}
	if st := s.status; st != nil {
		d.Gateway.State, d.Gateway.Reason, d.Gateway.Links, d.Gateway.Capacity = st.State, st.Reason, st.Links, st.Capacity
	}
}

// drift keeps what somebody else has changed since edged did: what was never applied is counted in Plan.Changes.
func (d *diagnosis) drift(ctx context.Context, box *tuning.Box, m *tuning.Machine, p tuning.Plan) {
	all, err := box.Verify(ctx, m, p)
	switch {
	case errors.Is(err, os.ErrPermission):
		d.Unknown = "the state file can be read by root alone"
	case err != nil:
		d.Unknown = err.Error()
	}
	for _, one := range all {
		if one.Applied {
			d.Drift = append(d.Drift, one)
		}
	}
}

func (t *tune) clock() clock {
	text, _ := os.ReadFile(t.box.Root + "/sys/devices/system/clocksource/clocksource0/current_clocksource")
	c := clock{Source: strings.TrimSpace(string(text))}
	c.Slow = c.Source != "" && !slices.Contains(fastClocks, c.Source)
	if t.box.Root != "" {
		c.Unknown = "this is not the box that runs"
		return c
	}
	var err error
	if c.Synchronized, err = clockSynchronized(); err != nil {
		c.Unknown = err.Error()
	}
	return c
}
