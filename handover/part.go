package handover

import (
	"fmt"
)

// Part is one section that is still to be written.
type Part struct {
	// Name is the kind of the section, then, where there are several of that kind, a slash and which one: "netpoll/0".
	Name string
	// Oldest and Version are the formats that Append can write; the newest is taken that the successor can read. A release
	// that writes its own version and the one before can be taken back.
	Oldest, Version uint16
	// Optional is for a part that a successor which does not know its kind may go without.
	Optional bool
	// Expect says how many bytes Append will add, about. So much memory, and a quarter more, is made ready before anything
	// stands still; beyond that it still works, but costs time in which the links stand still.
	Expect int
	// Append adds the part's bytes to b. It is called when everything stands still, beside the Append of other parts: it
	// reads what is its own, allocates nothing and waits for nobody. An error calls the hand-over off.
	Append func(b []byte, version uint16) ([]byte, error)
}

func (p Part) check() error {
	if err := checkName(p.Name); err != nil {
		return fmt.Errorf("handover: part %w", err)
	}
	if p.Oldest == 0 || p.Oldest > p.Version || p.Append == nil {
		return fmt.Errorf("handover: part %s writes version %d to %d", p.Name, p.Oldest, p.Version)
	}
	return nil
}

func checkParts(parts []Part) error {
	names := make(map[string]bool, len(parts))
	for _, p := range parts {
		if err := p.check(); err != nil {
			return err
		}
		if names[p.Name] {
			return fmt.Errorf("handover: two parts %s", p.Name)
		}
		names[p.Name] = true
	}
	if len(parts) > maxSections {
		return fmt.Errorf("handover: %d parts", len(parts))
	}
	return nil
}

// choose returns the version in which each part is to be written for who reads, 0 for one that is left out.
func choose(parts []Part, reads Formats) ([]uint16, error) {
	versions := make([]uint16, len(parts))
	for i, p := range parts {
		r, ok := reads.find(kindOf(p.Name))
		if !ok && p.Optional {
			continue
		}
		if !ok {
			return nil, fmt.Errorf("the new binary does not know the state's part %q", kindOf(p.Name))
		}
		v, err := common(Format{kindOf(p.Name), p.Oldest, p.Version}, r)
		if err != nil && !p.Optional {
			return nil, err
		}
		if err == nil {
			versions[i] = v
		}
	}
	return versions, nil
}

// Collect writes the parts, as reads can read them, into plain memory: what Upgrade does without another process, for tests
// of what writes and loads a state.
func Collect(parts []Part, reads Formats) ([]byte, error) {
	if err := checkParts(parts); err != nil {
		return nil, err
	}
	versions, err := choose(parts, reads)
	if err != nil {
		return nil, err
	}
	var sections []Section
	for i, p := range parts {
		if versions[i] == 0 {
			continue
		}
		b, err := p.Append(nil, versions[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		sections = append(sections, Section{p.Name, versions[i], b})
	}
	return Encode(sections), nil
}
