package main

import (
	"context"
	"io"
	"strings"
	"testing"

	"edged/examples/exampletest"
)

func TestChat(t *testing.T) {
	start := exampletest.Here(run)
	exampletest.Chat(t, start, start, exampletest.GatewayHere)
}

// Who has no name is not let in.
func TestNobody(t *testing.T) {
	_, backend := exampletest.Served(t, exampletest.Here(run))
	address := exampletest.GatewayHere(t, backend, nil)
	for _, name := range []string{"", "a/b"} {
		err := run(t.Context(), []string{"talk", "-gateway", address, "-user", name}, strings.NewReader(""), io.Discard)
		if err == nil || !strings.Contains(err.Error(), "a name without a slash") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"shout"}, {"manager", "-queue", "nowhere"}, {"manager", "-listen", "nowhere"}, {"talk", "-x"}} {
		if err := run(context.Background(), args, strings.NewReader(""), io.Discard); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}
