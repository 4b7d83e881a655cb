package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// TestCompletion: every shell gets its script, and every flag and word is completed with what it takes.
func TestCompletion(t *testing.T) {
	for _, shell := range shells {
		var out bytes.Buffer
		if status := run([]string{"completion", shell}, &out, &out); status != exitDone || !strings.Contains(out.String(), "edged") {
			t.Errorf("%s: status %d", shell, status)
		}
	}
	m := newMachine(t, "virtio4", "")
	for _, c := range []struct {
		words     string
		want, not []string
		directive string
	}{
		{"init --config ", []string{"toml"}, nil, ":8"},
		{"check ", []string{"toml"}, nil, ":8"},
		{"check x.toml ", nil, []string{"toml"}, ":4"},
		{"tune explain ", []string{"net.core.somaxconn", "net.ipv4.tcp_mem"}, nil, ":4"},
		{"tune explain somaxconn ", nil, []string{"net.core.somaxconn"}, ":4"},
		{"ctl push --ack ", []string{"none", "required", "sampled"}, nil, ":4"},
		{"ctl push --file ", nil, nil, ":0"},
		{"ctl push --user ", nil, nil, ":4"},
		{"ctl --socket ", []string{"sock"}, nil, ":8"},
		{"keeper --config ", []string{"toml"}, nil, ":8"},
		{"swarm --login ", []string{"sdk", "text", "none"}, nil, ":4"},
		{"completion ", shells, nil, ":4"},
		{"serve --co", []string{"--config"}, nil, ":4"},
		{"", []string{"init", "serve", "ctl", "doctor"}, nil, ":4"},
		{"version ", nil, nil, ":4"},
	} {
		var out, errs bytes.Buffer
		words := strings.Split(c.words, " ")
		status := runOn(m.box, append([]string{"__complete"}, words...), &out, &errs)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		offered := lines[:len(lines)-1]
		for i := range offered {
			offered[i], _, _ = strings.Cut(offered[i], "\t")
		}
		if status != exitDone || lines[len(lines)-1] != c.directive {
			t.Errorf("edged %s: status %d, %q, want %s", c.words, status, lines, c.directive)
		}
		for _, w := range c.want {
			if !slices.Contains(offered, w) {
				t.Errorf("edged %s: no %s among %q", c.words, w, offered)
			}
		}
		for _, w := range c.not {
			if slices.Contains(offered, w) {
				t.Errorf("edged %s: %s is offered", c.words, w)
			}
		}
	}
}
