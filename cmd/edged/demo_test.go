package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestDemoFleet shows whole gateways, as serve starts them, in one fleet.
func TestDemoFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	t.Parallel()
	var out, trouble bytes.Buffer
	if status := run([]string{"demo", "--fleet", "--links", "30", "--duration", "3s"}, &out, &trouble); status != exitDone {
		t.Fatalf("status %d\n%s%s", status, out.String(), trouble.String())
	}
	for _, want := range []string{"bob comes back on gw-1 and hears: 4 \"one\"", "exactly those 10, in their order", "no link was lost: each one"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output does not say %q:\n%s", want, out.String())
		}
	}
	if s := trouble.String(); strings.Contains(s, "traffic is not measured") {
		t.Errorf("a gateway of the fleet looks at the interfaces of this box:\n%s", s)
	}
}
