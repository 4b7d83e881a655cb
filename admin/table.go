package admin

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// WriteStatus prints s for a person: what `edged ctl status` shows.
func WriteStatus(w io.Writer, s Status) error {
	var b bytes.Buffer // a bytes.Buffer takes everything: errors come at the end
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range statusRows(s) {
		if r[1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", r[0], plain(r[1]))
		}
	}
	_ = t.Flush()
	if len(s.Managers) > 0 {
		fmt.Fprintf(t, "\nMANAGER\tID\tSTATE\tSTREAMS\n")
		for _, m := range s.Managers {
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\n", plain(m.Address), plain(orDash(m.ID)), plain(orDash(m.State)), m.Streams)
		}
		_ = t.Flush()
	}
	_, err := w.Write(b.Bytes())
	return err
}

// statusRows are the upper table. A row without value is not printed.
func statusRows(s Status) [][2]string {
	return [][2]string{
		{"gateway", orDash(s.ID)},
		{"state", state(s)},
		{"version", s.Version},
		{"process", process(s)},
		{"reload", reload(s)},
		{"keeper", keeper(s.Keeper)},
		{"epoch", s.Epoch},
		{"advertise", s.Advertise},
		{"listeners", orDash(strings.Join(s.Listeners, ", "))},
		{"reactors", strconv.Itoa(s.Reactors)},
		{"links", links(s)},
		{"drain", drain(s)},
		{"messages", grouped(s.MessagesIn) + " in, " + grouped(s.MessagesOut) + " out"},
		{"managers", managers(s)},
		{"room", room(s.Room)},
		{"traffic", traffic(s.Room)},
		{"reports", reports(s)},
		{"people", present(s.People)},
		{"routes", routes(s.People)},
	}
}

func drain(s Status) string {
	if s.Drain == nil {
		return ""
	}
	return s.Drain.String()
}

// String says it to an operator.
func (d DrainStatus) String() string {
	what := "links"
	if d.Share {
		what = "links of a share"
	}
	return fmt.Sprintf("%s of %s %s are left, the last one goes at %s", grouped(uint64(max(d.Left, 0))), grouped(uint64(max(d.Total, 0))), what,
		d.Until.UTC().Format("15:04:05 UTC"))
}

func reload(s Status) string {
	if s.Reload == nil {
		return ""
	}
	return fmt.Sprintf("%d since the start; %s", s.Reloads, *s.Reload)
}

func keeper(k *KeeperStatus) string {
	if k == nil {
		return ""
	}
	text := k.State + ", " + count(k.Links, "link")
	switch k.Crashes {
	case 0:
	case 1:
		text += "; one crash since the start"
	default:
		text += fmt.Sprintf("; %s crashes since the start", grouped(k.Crashes))
	}
	if r := k.Recovered; r != nil {
		text += fmt.Sprintf("; %s taken back at %s", count(r.Links, "link"), r.At.UTC().Format("15:04:05 UTC"))
		if r.Torn > 0 {
			text += fmt.Sprintf(", %s torn", grouped(uint64(r.Torn)))
		}
	}
	return text
}

func present(p *PeopleStatus) string {
	if p == nil {
		return ""
	}
	return count(p.Users, "user") + " on " + count(p.Devices, "device")
}

func routes(p *PeopleStatus) string {
	switch {
	case p == nil:
		return ""
	case p.Routes == p.Bus:
		return p.Routes
	}
	return p.Routes + "; bus: " + p.Bus
}

func room(r *RoomStatus) string {
	if r == nil {
		return ""
	}
	return fmt.Sprintf("%.0f %% (%s)", 100*r.Availability, orDash(r.Reason))
}

func traffic(r *RoomStatus) string {
	if r == nil {
		return ""
	}
	of := func(rate, limit float64, unit string) string {
		text := grouped(uint64(max(rate, 0))) + " " + unit
		if limit > 0 {
			text += fmt.Sprintf(" of %s (%.0f %%)", grouped(uint64(limit)), 100*rate/limit)
		}
		return text
	}
	return of(r.PPS, r.PPSLimit, "packets/s") + ", " + of(r.Bytes, r.BytesLimit, "bytes/s") + " on " + orDash(strings.Join(r.NICs, ", "))
}

func reports(s Status) string {
	if s.Room == nil {
		return ""
	}
	text := s.Room.Reports
	if s.Room.SLB != "" {
		text += ", behind " + s.Room.SLB
	}
	if at := s.Room.Reported; !at.IsZero() && s.At.After(at) {
		text += ", last " + s.At.Sub(at).Round(100*time.Millisecond).String() + " ago"
	}
	return text
}

func state(s Status) string {
	if s.Reason != "" {
		return orDash(s.State) + ": " + s.Reason
	}
	return orDash(s.State)
}

func process(s Status) string {
	p := strconv.Itoa(s.PID)
	if s.Started.IsZero() {
		return p
	}
	p += ", since " + s.Started.UTC().Format("2006-01-02 15:04:05 UTC")
	if s.At.After(s.Started) {
		p += " (" + s.At.Sub(s.Started).Round(time.Second).String() + ")"
	}
	return p
}

func links(s Status) string {
	l := grouped(uint64(max(s.Links, 0)))
	if s.Capacity <= 0 {
		return l
	}
	return fmt.Sprintf("%s of %s (%.1f %%)", l, grouped(uint64(s.Capacity)), 100*float64(s.Links)/float64(s.Capacity))
}

// managers says that there are none; else the lower table tells.
func managers(s Status) string {
	if len(s.Managers) == 0 {
		return "none configured"
	}
	return ""
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// grouped writes 1234567 as 1,234,567.
func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plain keeps what a Manager named itself from moving the cursor of the
// operator's terminal, or the columns of the table.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
