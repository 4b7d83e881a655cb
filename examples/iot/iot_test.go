package main

import (
	"context"
	"io"
	"strings"
	"testing"

	"edged/examples/exampletest"
)

func role(ctx context.Context, args []string, _ io.Reader, out io.Writer) error {
	return run(ctx, args, out)
}

func TestPlant(t *testing.T) {
	exampletest.IoT(t, exampletest.Here(role), exampletest.GatewayHere)
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"shout"}, {"manager", "-low", "80"}, {"manager", "-ttl", "0s"}, {"manager", "-tries", "0"},
		{"manager", "-listen", "nowhere"}, {"device", "-x"}} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}

func TestNobody(t *testing.T) {
	_, backend := exampletest.Served(t, exampletest.Here(role))
	address := exampletest.GatewayHere(t, backend, nil)
	err := run(t.Context(), []string{"device", "-gateway", address}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "which boiler?") {
		t.Errorf("%v", err)
	}
}

func TestValve(t *testing.T) {
	p := plant{low: 60, high: 80}
	for _, c := range []struct {
		temperature float64
		open, want  bool
	}{{59, true, false}, {60, true, false}, {61, true, true}, {61, false, false}, {79, false, false}, {80, false, true}, {99, true, true}} {
		if got := p.valve(c.temperature, c.open); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
