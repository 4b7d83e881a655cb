package tuning

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Fate says what became of a setting.
type Fate string

// The fates of a setting in Apply, Revert and a rollback.
const (
	Changed  Fate = "changed"  // it has the wanted value now
	Clamped  Fate = "clamped"  // the kernel made another value of it
	Refused  Fate = "refused"  // the kernel did not take it; it is as it was
	Skipped  Fate = "skipped"  // it was left alone, for the reason in Note
	Restored Fate = "restored" // it has its old value again
	Drifted  Fate = "drifted"  // somebody else has changed it since; it is left as it is
	Gone     Fate = "gone"     // it is not there any more
)

// Outcome is what became of one setting.
type Outcome struct {
	Kind Kind   `json:"kind"`
	Key  string `json:"key"`
	Old  string `json:"old"`
	New  string `json:"new"` // as it reads now
	Fate Fate   `json:"fate"`
	Note string `json:"note,omitempty"`
}

// String returns one line for a log or a terminal.
func (o Outcome) String() string {
	s := fmt.Sprintf("%s %s", o.Fate, o.Key)
	if o.Old != o.New {
		s += fmt.Sprintf(": %s → %s", show(o.Old), show(o.New))
	}
	if o.Note != "" {
		s += " (" + o.Note + ")"
	}
	return s
}

// Result is what became of all settings that were touched or deliberately left, in that order.
type Result struct {
	Outcomes   []Outcome `json:"outcomes"`
	RolledBack bool      `json:"rolled_back,omitempty"` // all of an Apply was put back: not confirmed, cut short, or left by one that died
	Discarded  bool      `json:"discarded,omitempty"`   // the state file was of another boot: the values went with it
}

// Count returns how many settings had that fate.
func (r Result) Count(f Fate) int {
	n := 0
	for _, o := range r.Outcomes {
		if o.Fate == f {
			n++
		}
	}
	return n
}

// Summary counts the fates: "31 changed, 1 clamped, 2 refused".
func (r Result) Summary() string {
	var parts []string
	for _, f := range []Fate{Changed, Restored, Clamped, Refused, Drifted, Gone, Skipped} {
		if n := r.Count(f); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, f))
		}
	}
	if len(parts) == 0 {
		return "nothing to do"
	}
	return strings.Join(parts, ", ")
}

// WriteTable writes the outcomes as a table for people.
func (r Result) WriteTable(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(r.Outcomes) > 0 {
		fmt.Fprintln(t, "FATE\tSETTING\tOLD\tNEW\tNOTE")
	}
	for _, o := range r.Outcomes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", o.Fate, o.Key, show(o.Old), show(o.New), o.Note)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, unpadded(b.String()+r.Summary()+"\n"))
	return err
}

// refusal makes a sentence of an error of reading or writing a setting.
func refusal(k Kind, value string, err error) string {
	var open *openError
	errno := errnoOf(err)
	if errors.As(err, &open) || value == "" {
		return errno.atOpen(k)
	}
	return errno.atWrite(k, value)
}
