package tuning

import (
	"fmt"
	"slices"
	"strings"

	"edged/nic"
)

// scope says what a setting belongs to. Of the machine's network keys another namespace has no file, or one that nobody may
// write.
type scope string

const (
	machine      scope = "of the whole machine"
	perNamespace scope = "of each network namespace"
	global       scope = "of the whole machine; not there in a container's network namespace"
	globalShown  scope = "of the whole machine; shown, but not to be changed in a container's network namespace"
)

// knob is one setting that edged has an opinion of, as a row of a table.
type knob struct {
	key    string // dotted sysctl, or a path below /sys
	scope  scope
	unit   string
	rule   string // how the wanted value comes about
	why    string // one sentence: why the wanted value; formulas are the functions that want calls
	risk   string
	source string
	// want returns the value that the box should have, given the present one, and replaces why where the case is special.
	// An empty value leaves the setting alone. Only where the knob is nil it is never changed.
	want func(s *sizing, present string) (value, why string)
}

func (k *knob) kind() Kind {
	if strings.HasPrefix(k.key, "/sys/") {
		return KindSysfs
	}
	return KindSysctl
}

func (k *knob) path() string {
	if k.kind() == KindSysfs {
		return strings.TrimPrefix(k.key, "/")
	}
	return sysctlPath(k.key)
}

// sysctlPath returns where a dotted key lies below the root.
func sysctlPath(key string) string { return "proc/sys/" + strings.ReplaceAll(key, ".", "/") }

// knobs is the whole table, grouped as the kernel's own documentation is.
var knobs = func() []knob {
	var all []knob
	for _, group := range [][]knob{fileKnobs, memoryKnobs, coreKnobs, tcpKnobs, trackKnobs} {
		all = append(all, group...)
	}
	return all
}()

// knobOf returns the knob of key; nil where there is none.
func knobOf(key string) *knob {
	for i := range knobs {
		if knobs[i].key == key {
			return &knobs[i]
		}
	}
	return nil
}

// entry judges one knob on this machine.
func (s *sizing) entry(k *knob) Entry {
	now := s.m.setting(k.path())
	e := Entry{Kind: k.kind(), Key: k.key, Current: now.Value, Why: k.why, Source: k.source, Risk: k.risk}
	if now.Errno != "" {
		e.Status = Absent
		if now.Errno != ENOENT {
			e.Status = NoPermission
		}
		e.Note = now.Errno.atOpen(e.Kind)
		return e
	}
	if k.want != nil {
		var why string
		if e.Wanted, why = k.want(s, now.Value); why != "" {
			e.Why = why
		}
	}
	s.judge(&e, now)
	return e
}

// judge sets the status of an entry whose present and wanted values are known.
func (s *sizing) judge(e *Entry, now Setting) {
	owners := s.m.Owners[e.Key]
	switch {
	case e.Wanted == "":
		e.Status, e.Risk = Kept, ""
	case same(e.Kind, e.Current, e.Wanted):
		e.Status = OK
	case now.Denied != "":
		e.Status, e.Note = NoPermission, now.Denied.atOpen(e.Kind)
	case e.Kind == KindSysctl && len(owners) > 0:
		o := owners[len(owners)-1]
		e.Status, e.Note = AdminOwned, o.String()
	default:
		e.Status = Change
	}
}

// String says who sets which value.
func (o Owner) String() string {
	if o.By == "tuned" {
		return fmt.Sprintf("tuned sets %s by %s:%d", o.Value, o.File, o.Line)
	}
	return fmt.Sprintf("%s:%d sets %s", o.File, o.Line, o.Value)
}

// same compares two values of one setting as its kind is to be read.
func same(k Kind, a, b string) bool {
	switch k {
	case KindSysfs:
		a, b = chosen(a), chosen(b)
	case KindCoalesce: // while the device adapts, the time it tells is what it chose last
		if strings.HasPrefix(a, "adaptive-rx on") && strings.HasPrefix(b, "adaptive-rx on") {
			return true
		}
	case KindQueue:
		x, errX := nic.ParseMask(a)
		y, errY := nic.ParseMask(b)
		if errX == nil && errY == nil {
			return slices.Equal(x, y)
		}
	}
	return collapse(a) == collapse(b)
}
