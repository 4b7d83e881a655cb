package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"edged/nic"
)

func (t *tune) nicCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "nic",
		Short: "Show the map of the network devices: queue, interrupt, CPU, NUMA node",
		Long: `Show the map of the network devices: queue, interrupt, CPU, NUMA node.

HOW says from where it is known: netdev (the kernel's own word), sysfs (by the name of an interrupt), guess (no interrupt, as
with a virtual device: queue i is taken for CPU i). Where it is not known the table says so.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := t.prepare(c); err != nil {
				return err
			}
			maps, set, err := t.nics(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), append([]mapped{}, maps...))
			}
			for _, name := range set.Missing {
				fmt.Fprintf(c.OutOrStdout(), "%s: there is no such device\n", name)
			}
			if len(maps) == 0 && len(set.Missing) == 0 {
				fmt.Fprintln(c.OutOrStdout(), "no network device carries links here")
			}
			for i, m := range maps {
				if i > 0 {
					fmt.Fprintln(c.OutOrStdout())
				}
				if err := m.write(c.OutOrStdout()); err != nil {
					return err
				}
			}
			if len(set.Missing) > 0 {
				return errQuiet
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// mapped is a device's map with what its queues have counted.
type mapped struct {
	nic.Device
	Physical bool
	Stats    []nic.QueueStats // none: the device does not count them
}

// host is the box's network devices.
func (t *tune) host() nic.Host {
	h := t.box.Net
	if t.box.Root != "" {
		h.Proc, h.Sys = t.box.Root+"/proc", t.box.Root+"/sys"
	}
	return h
}

func (t *tune) nics(ctx context.Context) ([]mapped, nic.Set, error) {
	host := t.host()
	set, err := host.Resolve(t.cfg.Tuning.Interfaces)
	if err != nil {
		return nil, set, err
	}
	var all []mapped
	for _, leaf := range set.Leaves {
		d, err := host.Map(ctx, leaf)
		if err != nil {
			return nil, set, err
		}
		stats, _ := host.QueueStats(ctx, leaf) // most virtual devices count none
		all = append(all, mapped{d, leaf.Physical, stats})
	}
	return all, set, nil
}

func (m mapped) write(w io.Writer) error {
	fmt.Fprintln(w, m.headline())
	if !m.Mapped && m.Why != "" {
		fmt.Fprintf(w, "  not known which CPU its queues interrupt: %s\n", m.Why)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  QUEUE\tCPU\tNODE\tIRQ\tVECTOR\tNAPI\tHOW\tSTEERING\tPACKETS")
	for _, way := range []struct {
		name, steering string
		queues         []nic.Queue
		tx             bool
	}{{"rx", "rps", m.RX, false}, {"tx", "xps", m.TX, true}} {
		for _, q := range way.queues {
			fmt.Fprintf(t, "  %s-%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", way.name, q.Index, orDash(nic.FormatCPUs(q.CPUs)), number(q.Node, -1),
				number(q.IRQ, 0), orDash(q.Vector), number(int(q.NAPI), 0), q.How, steering(way.steering, q), m.packets(way.tx, q.Index))
		}
	}
	return t.Flush()
}

// headline is what is known of the device as a whole.
func (m mapped) headline() string {
	parts := []string{m.Name + ": " + orDash(m.Driver)}
	add := func(ok bool, format string, args ...any) {
		if ok {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(!m.Physical, "virtual")
	add(m.Bus != "", "%s", m.Bus)
	add(m.SpeedMbit > 0, "%s Mbit/s", thousands(uint64(m.SpeedMbit)))
	add(m.SpeedMbit == 0 && m.Physical, "speed unknown")
	add(m.Node >= 0, "NUMA node %d", m.Node)
	if now, most := m.Channels.Now.String(), m.Channels.Max.String(); now != "" {
		add(true, "channels %s of %s", now, orDash(most))
	}
	add(m.Rings.RX > 0, "rings rx %d of %d, tx %d of %d", m.Rings.RX, m.Rings.RXMax, m.Rings.TX, m.Rings.TXMax)
	add(m.Coalesce.Has != 0, "%s", m.Coalesce)
	add(len(m.RSSTable) > 0, "hash over %d buckets", len(m.RSSTable))
	return strings.Join(parts, ", ")
}

// packets is what a queue has counted.
func (m mapped) packets(tx bool, index int) string {
	for _, s := range m.Stats {
		if s.TX == tx && s.Index == index {
			return thousands(s.Packets)
		}
	}
	return "-"
}

// steering is the state of RPS and RFS, or of XPS, of a queue.
func steering(name string, q nic.Queue) string {
	switch {
	case q.Mask == nil:
		return "-"
	case len(q.Mask) == 0:
		return name + " off"
	}
	text := name + " " + nic.FormatCPUs(q.Mask)
	if q.Flows > 0 {
		text += " rfs " + strconv.Itoa(q.Flows)
	}
	return text
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// number writes n, but one that means unknown as a dash.
func number(n, unknown int) string {
	if n == unknown {
		return "-"
	}
	return strconv.Itoa(n)
}
