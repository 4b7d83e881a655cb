package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// The kernel takes a request as four bytes in the machine's order, and drops it when the file is closed.
func TestKeepAwake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "latency")
	if _, err := keepAwake(path); err == nil {
		t.Error("no error without the file")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	release, err := keepAwake(path)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, []byte{0, 0, 0, 0}) {
		t.Errorf("%v was written (%v), want four zero bytes", got, err)
	}
}

// wakeupLatency returns the time that the kernel was asked to keep to, in microseconds.
func wakeupLatency(t *testing.T) int32 {
	b, err := os.ReadFile(wakeupLatencyFile)
	if err != nil || len(b) < 4 {
		t.Skipf("%s can not be read: %v", wakeupLatencyFile, err)
	}
	return int32(binary.NativeEndian.Uint32(b))
}

// The kernel's own file says what all who hold it ask for.
func TestKeepAwakeHere(t *testing.T) {
	before := wakeupLatency(t)
	release, err := keepAwake(wakeupLatencyFile)
	if err != nil {
		t.Skip(err)
	}
	if got := wakeupLatency(t); got != 0 {
		t.Errorf("held: %d µs, want 0", got)
	}
	release()
	if got := wakeupLatency(t); got != before {
		t.Errorf("released: %d µs, want %d", got, before)
	}
}
