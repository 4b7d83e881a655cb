package handover

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// checkVariable is the environment variable by which the preflight child is told what will be written.
const checkVariable = "EDGED_HANDOVER_FORMATS"

// Format is a range of versions of one kind of section.
type Format struct {
	Kind           string
	Oldest, Newest uint16
}

// Formats are the kinds of sections that a binary reads.
type Formats []Format

func (f Formats) find(kind string) (Format, bool) {
	for _, x := range f {
		if x.Kind == kind {
			return x, true
		}
	}
	return Format{}, false
}

// String returns the formats as they are told to another process: "gateway=1-3 netpoll=1-2".
func (f Formats) String() string {
	var b strings.Builder
	for _, x := range f {
		fmt.Fprintf(&b, "%s=%d-%d ", x.Kind, x.Oldest, x.Newest)
	}
	return strings.TrimSuffix(b.String(), " ")
}

// parseFormats reads what String wrote; what comes behind a range, after a comma, is left to later versions.
func parseFormats(s string) (Formats, error) {
	var f Formats
	for word := range strings.FieldsSeq(s) {
		kind, span, _ := strings.Cut(word, "=")
		span, _, _ = strings.Cut(span, ",")
		from, to, _ := strings.Cut(span, "-")
		oldest, err1 := strconv.ParseUint(from, 10, 16)
		newest, err2 := strconv.ParseUint(to, 10, 16)
		if checkName(kind) != nil || err1 != nil || err2 != nil || oldest == 0 || oldest > newest {
			return nil, fmt.Errorf("handover: %q is no format", word)
		}
		f = append(f, Format{kind, uint16(oldest), uint16(newest)})
	}
	return f, nil
}

// writes returns the formats of parts, one for each kind that must be read.
func writes(parts []Part) Formats {
	var f Formats
	for _, p := range parts {
		if _, known := f.find(kindOf(p.Name)); !known && !p.Optional {
			f = append(f, Format{kindOf(p.Name), p.Oldest, p.Version})
		}
	}
	return f
}

// common returns the newest version that w can write and r can read.
func common(w, r Format) (uint16, error) {
	v := min(w.Newest, r.Newest)
	if v < w.Oldest || v < r.Oldest {
		return 0, fmt.Errorf("the new binary reads version %d to %d of the state's part %q, and this one writes %d to %d",
			r.Oldest, r.Newest, w.Kind, w.Oldest, w.Newest)
	}
	return v, nil
}

func compatible(written, read Formats) error {
	for _, w := range written {
		r, ok := read.find(w.Kind)
		if !ok {
			return fmt.Errorf("the new binary does not know the state's part %q", w.Kind)
		}
		if _, err := common(w, r); err != nil {
			return err
		}
	}
	return nil
}

// CheckFormats is called by a preflight child beside its other checks: the error says in one sentence that it could not read
// what the process which started it would hand over. Nobody having asked, there is none.
func CheckFormats(reads Formats) error {
	asked, ok := os.LookupEnv(checkVariable)
	if !ok {
		return nil
	}
	written, err := parseFormats(asked)
	if err != nil {
		return err
	}
	return compatible(written, append(Formats{{ownKind, ownVersion, ownVersion}}, reads...))
}
