package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// recovered is what the log says when a gateway starts on the machine.
func (m *machine) recovered() string {
	m.t.Helper()
	var said bytes.Buffer
	cfg, err := load(m.config, &said)
	if err != nil {
		m.t.Fatal(err)
	}
	recoverTuning(m.box, cfg, false, slog.New(slog.NewTextHandler(&said, nil)))
	return said.String()
}

const stateFile = "run/edged-tune/tuning.json"

// TestServeRecovers: a gateway that starts puts back what an apply left that was killed, and says in the log what it cannot do.
func TestServeRecovers(t *testing.T) {
	m := newMachine(t, "virtio4", "links = 1000000\n")
	before := m.everything()
	if said := m.recovered(); said != "" {
		t.Error("of nothing it says", said)
	}
	m.wants(exitDone, "tune apply")
	if said := m.recovered(); said != "" || m.read(somaxconn) != "65535" {
		t.Error("of what is in order it says", said)
	}
	m.write(stateFile, strings.Replace(m.read(stateFile), `"phase": "applied"`, `"phase": "applying"`, 1))
	if said := m.recovered(); !strings.Contains(said, "is put back") || !strings.Contains(said, "restored") {
		t.Error(said)
	}
	sameFiles(t, before, m.everything())
	m.write(stateFile, "nothing that can be read")
	if said := m.recovered(); !strings.Contains(said, "level=WARN") {
		t.Error(said)
	}
}

// TestServeLeavesOthersWork: an apply that waits to be confirmed is somebody's, who decides about it.
func TestServeLeavesOthersWork(t *testing.T) {
	m := newMachine(t, "virtio4", "links = 1000000\n")
	ended := make(chan int)
	go func() {
		var out bytes.Buffer
		ended <- runOn(m.box, []string{"tune", "apply", "--confirm", "30s", "--config", m.config}, &out, &out)
	}()
	for left := false; !left; {
		var err error
		if left, err = m.box.Unfinished(); err != nil {
			t.Fatal(err)
		}
	}
	if said := m.recovered(); !strings.Contains(said, "has not come to its end") {
		t.Error(said)
	}
	for status := exitNot; status != exitDone; status, _ = m.run("tune", "confirm") {
	}
	if status := <-ended; status != exitDone || m.read(somaxconn) != "65535" {
		t.Error(status, m.read(somaxconn))
	}
}
