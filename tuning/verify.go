package tuning

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Drift is a setting that is not as it should be.
type Drift struct {
	Kind    Kind   `json:"kind"`
	Key     string `json:"key"`
	Wanted  string `json:"wanted"` // what edged wrote, or would
	Current string `json:"current"`
	Applied bool   `json:"applied"` // edged wrote it, and somebody has changed it since; else it was never applied here
	By      string `json:"by"`      // who else sets it, as far as that can be known
}

// Verify compares the box with what edged wrote and with plan, which was made for m: nil where all is as it should be. What
// somebody else owns, and what may not be changed, is no drift. Nothing is changed: it is for people to decide who is right.
func (b *Box) Verify(ctx context.Context, m *Machine, plan Plan) ([]Drift, error) {
	s, err := b.load()
	if err != nil {
		return nil, err
	}
	if s == nil {
		s = &state{}
	}
	if err := b.sameSpace(s); err != nil {
		return nil, err
	}
	w := b.work(ctx)
	var all []Drift
	for _, r := range s.Records {
		if d, drifted := w.drift(m, r); drifted {
			all = append(all, d)
		}
	}
	for _, e := range plan.Changes() {
		if s.record(e.Kind, e.Key) == nil {
			all = append(all, Drift{Kind: e.Kind, Key: e.Key, Wanted: e.Wanted, Current: e.Current, By: "edged tune apply has not set it since the box was started"})
		}
	}
	return all, ctx.Err()
}

// drift looks at one setting that edged changed.
func (w *work) drift(m *Machine, r *record) (Drift, bool) {
	d := Drift{Kind: r.Kind, Key: r.Key, Wanted: r.After, Applied: true}
	if r.State == pending {
		d.Wanted = r.Wanted
	}
	key := w.key(r)
	if key == "" {
		d.By = "the device is gone"
		return d, true
	}
	d.Key = key
	t, err := w.target(r.Kind, key)
	if err == nil {
		d.Current, err = t.read()
	}
	if err != nil {
		d.By = refusal(r.Kind, "", err)
		return d, true
	}
	if same(r.Kind, d.Current, d.Wanted) {
		return d, false
	}
	d.By = m.blame(d)
	return d, true
}

// blame names who may have given a setting its value.
func (m *Machine) blame(d Drift) string {
	for _, o := range m.Owners[d.Key] {
		if same(d.Kind, strings.TrimLeft(o.Value, ">"), d.Current) { // tuned's raise only: "=>8192"
			return o.String()
		}
	}
	switch {
	case d.Kind == KindIRQ && m.Daemons.Irqbalance:
		return "irqbalance runs and moves interrupts"
	case m.Daemons.Tuned != "" && (d.Kind == KindSysctl || d.Kind == KindSysfs):
		return fmt.Sprintf("no file sets this value; tuned runs, with profile %s", m.Daemons.Tuned)
	}
	return "no file sets this value: a person or a program did"
}

// WriteDrift writes what is not as it should be as a table for people.
func WriteDrift(w io.Writer, all []Drift) error {
	if len(all) == 0 {
		_, err := io.WriteString(w, "all is as planned\n")
		return err
	}
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SETTING\tNOW\tWANTED\tWHO")
	for _, d := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", d.Key, show(d.Current), show(d.Wanted), d.By)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, unpadded(b.String()))
	return err
}
