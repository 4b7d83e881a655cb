package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edged/handover"
)

// TestKeeperStatus: what cannot be run ends with a status and a sentence.
func TestKeeperStatus(t *testing.T) {
	dir, err := os.MkdirTemp("", "keeper") // t.TempDir may be longer than a socket's address
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "k.sock")
	cfg := handover.DefaultKeeper()
	cfg.Socket = socket
	k, err := handover.NewKeeper(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- k.Serve(ctx) }()
	busy := write(t, fmt.Sprintf("[keeper]\nsocket = %q\n", socket))
	nowhere := write(t, fmt.Sprintf("[keeper]\nsocket = %q\n", filepath.Join(dir, "none", "k.sock")))
	bad := write(t, "[keeper]\nhold = \"0s\"\n")
	for _, tt := range []struct {
		args   []string
		status int
		said   string
	}{
		{[]string{"keeper", "--config", busy}, exitNot, "another one listens on " + socket},
		{[]string{"keeper", "--config", nowhere}, exitNot, "none/k.sock: bind: no such file"},
		{[]string{"keeper", "--config", bad}, exitNot, bad + ":2: keeper.hold: 0s is not between"},
		{[]string{"keeper", "--config", filepath.Join(dir, "none.toml")}, exitNot, "none.toml: no such file"},
		{[]string{"keeper", busy}, exitUsage, "unknown command"},
	} {
		var out bytes.Buffer
		if status := run(tt.args, &out, &out); status != tt.status || !strings.Contains(out.String(), tt.said) {
			t.Errorf("%q: status %d, want %d with %q:\n%s", tt.args, status, tt.status, tt.said, &out)
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestKeeperTells(t *testing.T) {
	for want, st := range map[string]handover.KeeperStats{
		"0 links kept; so far 0 gateways, 0 crashes": {},
		"5 links kept; so far 2 gateways, 1 crashes, 3 links dropped, 4 not kept for lack of descriptors, 6 connections refused": {
			Links: 5, Gateways: 2, Crashes: 1, Added: 9, Released: 4, Dropped: 3, Full: 4, Refused: 6,
		},
	} {
		if got := keeperStatus(st); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
