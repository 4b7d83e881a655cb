package admin

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteUsers prints u for a person: what `edged ctl users` shows.
func WriteUsers(w io.Writer, u Users) error {
	_, err := fmt.Fprintf(w, "users    %s\ndevices  %s\n", grouped(uint64(max(u.Users, 0))), grouped(uint64(max(u.Devices, 0))))
	return err
}

// WriteDevices prints the devices of a user for a person: what `edged ctl users USER` shows.
func WriteDevices(w io.Writer, user string, devices []Device) error {
	if len(devices) == 0 {
		_, err := fmt.Fprintf(w, "user %s is not online\n", plain(user))
		return err
	}
	devices = slices.Clone(devices)
	slices.SortFunc(devices, func(a, b Device) int { return strings.Compare(a.Device, b.Device) })
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "DEVICE\tGATEWAY\tLINK\tEPOCH\n")
	for _, d := range devices {
		at := plain(d.Gateway)
		if d.Here {
			at += " (here)"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", plain(orDash(d.Device)), at, plain(d.Link), plain(d.Epoch))
	}
	_ = t.Flush() // a bytes.Buffer takes everything
	_, err := w.Write(b.Bytes())
	return err
}

// WritePushed prints what became of a push for a person: what `edged ctl push` shows.
func WritePushed(w io.Writer, to Target, p Pushed) error {
	var b strings.Builder
	switch {
	case len(p.Gateways) == 0:
		fmt.Fprintf(&b, "pushed to %s on %s", plain(to.String()), count(int(p.Heard), "gateway"))
	case p.Devices == 0:
		fmt.Fprintf(&b, "pushed to %s on %s", plain(to.String()), plain(strings.Join(p.Gateways, ", ")))
	default:
		fmt.Fprintf(&b, "pushed to %s: %s on %s", plain(to.String()), count(p.Devices, "device"), plain(strings.Join(p.Gateways, ", ")))
	}
	if p.MsgID != "" {
		fmt.Fprintf(&b, ", msg_id %s", plain(p.MsgID))
	}
	b.WriteByte('\n')
	for _, g := range p.Unheard {
		fmt.Fprintf(&b, "gateway %s does not listen now: the push is lost there\n", plain(g))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteEvent prints a line of presence for a person.
func WriteEvent(w io.Writer, e PresenceEvent) error {
	if e.Error != "" {
		_, err := fmt.Fprintf(w, "no events for the time being: %s\n", plain(e.Error))
		return err
	}
	_, err := fmt.Fprintf(w, "%s  %-7s  %s/%s  on %s\n", e.At.UTC().Format(time.RFC3339), plain(e.Event), plain(e.User), plain(e.Device), plain(e.Gateway))
	return err
}

// count is "1 device", "2 devices".
func count(n int, of string) string {
	text := grouped(uint64(max(n, 0))) + " " + of
	if n != 1 {
		text += "s"
	}
	return text
}
