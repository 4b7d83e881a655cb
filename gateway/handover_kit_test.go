package gateway_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"edged/gateway"
	"edged/handover"
)

// succeed hands a gateway over to another one in this process, as the Upgrader does it between two. The old one stands still
// for ever.
func (r *rig) succeed(o gateway.Options) *rig {
	r.t.Helper()
	next, err := r.trySucceed(o, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return next
}

// trySucceed does the same, and thaws the old gateway where the new one refuses. change, unless nil, may spoil the state.
func (r *rig) trySucceed(o gateway.Options, change func([]handover.Section)) (*rig, error) {
	r.t.Helper()
	if r.way.crash {
		return r.crash(o)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p := r.Product()
	parts := p.Parts()
	if r.way.kept {
		o.Keep = &gateway.Keep{}
	}
	if err := p.Pause(ctx); err != nil {
		r.t.Fatal(err)
	}
	if err := p.Freeze(ctx); err != nil {
		r.t.Fatal(err)
	}
	next, err := inherit(r.t, o, parts, change)
	if err != nil {
		p.Thaw(false)
		return nil, err
	}
	r.gone = true
	r.Abandon()
	next.way = r.way
	next.Start()
	return next, nil
}

// inherit makes a gateway of what the parts of another one write. It is not started.
func inherit(t *testing.T, o gateway.Options, parts []handover.Part, change func([]handover.Section)) (*rig, error) {
	t.Helper()
	file, err := handover.Collect(parts, gateway.Formats())
	if err != nil {
		t.Fatal(err)
	}
	sections, err := handover.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(sections)
	}
	claimed := map[int]bool{}
	o.Inherit = &gateway.Inheritance{Sections: sections, Claim: func(fd int) error {
		if claimed[fd] {
			return fmt.Errorf("descriptor %d is claimed twice", fd)
		}
		claimed[fd] = true
		return nil
	}}
	if o.Keep != nil {
		o = kept(t, o)
	}
	g, err := gateway.New(o)
	if err != nil {
		return nil, err
	}
	r := &rig{Gateway: g, t: t}
	t.Cleanup(r.stop)
	return r, nil
}

// again waits until a Manager has a stream more than so many.
func (m *plain) again(hellos int) {
	m.t.Helper()
	eventually(m.t, "the successor speaks with the Manager", func() bool { return m.streamsSeen() > hellos })
}

func (m *plain) streamsSeen() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.hellos)
}

// sleepy is so long that what waited for it must have been due.
const sleepy = 50 * time.Millisecond
