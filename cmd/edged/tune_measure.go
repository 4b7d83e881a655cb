package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"edged/tuning"
)

// watch samples what the kernel counts, twice.
func (t *tune) watch(ctx context.Context, length time.Duration) (tuning.Sample, tuning.Effects, error) {
	before := t.box.Sample(ctx, t.cfg.Tuning.Interfaces)
	select {
	case <-time.After(length):
	case <-ctx.Done():
		return tuning.Sample{}, tuning.Effects{}, ctx.Err()
	}
	after := t.box.Sample(ctx, t.cfg.Tuning.Interfaces)
	return after, after.Since(before), nil
}

// measure watches the load if that was asked for.
func (a *application) measure(ctx context.Context, when string) (*tuning.Effects, error) {
	if a.flags.measure == 0 {
		return nil, nil
	}
	fmt.Fprintf(a.out, "measuring the load %s, for %v\n", when, a.flags.measure)
	_, e, err := a.watch(ctx, a.flags.measure)
	if err != nil {
		return nil, fmt.Errorf("measure the load %s: %w", when, err)
	}
	return &e, nil
}

// loss is something that should not happen to those who connect.
type loss struct {
	Title string  `json:"title"`
	Total uint64  `json:"total"` // since the box, or this network namespace, was started
	Rate  float64 `json:"rate"`  // a second, now
	Hint  string  `json:"hint"`
}

// losses are all there are, in the order of what they do to a client.
func losses(s tuning.Sample, e tuning.Effects) []loss {
	return []loss{
		{"connections dropped: a listener's queue was full", s.Overflows, e.Overflows, "reactors do not accept as fast as clients come, or net.core.somaxconn is low"},
		{"connections dropped before they were accepted", s.Drops, e.Drops, "a listener's queue was full, or memory was short"},
		{"cuts for lack of TCP's memory", s.Memory, e.Memory, "net.ipv4.tcp_mem is low, or clients do not read"},
		{"packets dropped: a CPU's backlog was full", s.Softnet.Dropped, e.Backlog, "net.core.netdev_max_backlog is low, or one CPU gets all packets"},
		{"packets missed: a device had no room", s.Missed, e.Missed, "its rings are short, or its CPU does not keep up"},
	}
}

func rate(n float64) string {
	if n > 0 && n < 10 {
		return strconv.FormatFloat(n, 'f', 1, 64)
	}
	return thousands(uint64(n + 0.5))
}

func share(n float64) string { return strconv.FormatFloat(n, 'f', 1, 64) + " ×" }

// thousands writes a number with commas.
func thousands(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
