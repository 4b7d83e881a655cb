//go:build e2e

package tests

import (
	"fmt"
	"math"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"edged/sdk/manager"
	"edged/wire"
)

// exchangeOf is a known exchange of ten links: it returns what it wrote and read.
func exchangeOf(t *testing.T, g *gateway, k *kit, links <-chan manager.Link) (wrote, read int) {
	t.Helper()
	var clients []*client
	for i := range 10 {
		c := dialIn(t, g.address(), fmt.Sprintf("user-%d/x", i))
		for n := range 7 {
			check(t, c.exchange(make([]byte, 10*n)))
		}
		for range 3 {
			check(t, c.write(wire.AppendHeartbeat(nil)))
			c.want(0)
		}
		check(t, c.write(wire.AppendPing(nil, 1)))
		c.want(wire.KindPong)
		check(t, c.write(wire.AppendAck(nil, 1, 2, 3)))
		l := <-links
		check(t, k.m.Push(l, manager.Push{Payload: []byte("one")}))
		check(t, k.m.Push(l, manager.Push{Payload: []byte("two")}))
		c.want(wire.KindPush)
		c.want(wire.KindPush)
		clients = append(clients, c)
	}
	for i, c := range clients[:5] {
		if i < 3 {
			check(t, c.leave())
		} else {
			c.close()
		}
	}
	check(t, k.m.Data(<-links, nil)) // to the last link, which is still here
	clients[9].want(wire.KindData)
	for _, c := range clients {
		wrote += int(c.wrote.Load())
		read += c.read
	}
	return wrote, read
}

// TestMetrics compares every number with an exchange that is known. It is long because it is a flat table.
func TestMetrics(t *testing.T) {
	t.Parallel()
	links := make(chan manager.Link, 20)
	h := echoHandler()
	hello := h.Hello
	h.Hello = func(e *manager.Event) {
		links <- e.Link
		if strings.HasPrefix(string(e.Payload), "user-9") {
			links <- e.Link
		}
		hello(e)
	}
	k := newKit(t, h)
	g := start(t, setup{gateway: "reactors = 2", managers: []string{k.address}})
	wrote, read := exchangeOf(t, g, k, links)
	g.waitMetric("edged_links_closed_total", 5)
	g.waitMetric("edged_manager_lane_batches", 0) // every receipt has come
	s := g.scrape()
	for _, w := range []struct {
		name   string
		want   float64
		labels []string
	}{
		{"edged_links", 5, nil},
		{"edged_links_opened_total", 10, nil},
		{"edged_accepts_total", 10, nil},
		{"edged_links_welcomed_total", 10, nil},
		{"edged_binds_total", 10, nil},
		{"edged_links_closed_total", 3, []string{"reason", "client_bye"}},
		{"edged_links_closed_total", 2, []string{"reason", "peer_closed"}},
		{"edged_frames_received_total", 10, []string{"kind", "hello"}},
		{"edged_frames_received_total", 70, []string{"kind", "data"}},
		{"edged_frames_received_total", 10, []string{"kind", "ping"}},
		{"edged_frames_received_total", 10, []string{"kind", "ack"}},
		{"edged_frames_received_total", 3, []string{"kind", "bye"}},
		{"edged_frames_received_total", 103, nil},
		{"edged_frames_sent_total", 10, []string{"kind", "welcome"}},
		{"edged_frames_sent_total", 71, []string{"kind", "data"}},
		{"edged_frames_sent_total", 20, []string{"kind", "push"}},
		{"edged_frames_sent_total", 10, []string{"kind", "pong"}},
		{"edged_frames_sent_total", 111, nil},
		{"edged_heartbeats_total", 30, nil},
		{"edged_unknown_acks_total", 30, nil},
		{"edged_received_bytes_total", float64(wrote), nil},
		{"edged_sent_bytes_total", float64(read), nil},
		{"edged_items_sent_total", 10 + 10 + 70 + 5, nil},     // opened, HELLO, DATA, closed
		{"edged_items_received_total", 10 + 70 + 20 + 1, nil}, // bind, DATA, PUSH, and the last one
		{"edged_manager_stream_up", 2, nil},
		{"edged_manager_streams_total", 2, nil},
		{"edged_manager_gone_total", 0, nil},
		{"edged_manager_resent_batches_total", 0, nil},
		{"edged_operations_refused_total", 0, nil},
		{"edged_healthy", 1, nil},
		{"edged_draining", 0, nil},
	} {
		if got := s.sum(w.name, w.labels...); got != w.want {
			t.Errorf("%s%v = %v, want %v", w.name, w.labels, got, w.want)
		}
	}
	streamMetrics(t, s, k)
	g.balanced()
}

// streamMetrics compares both ends of the streams.
func streamMetrics(t *testing.T, s scrape, k *kit) {
	t.Helper()
	batches := s.sum("edged_manager_sent_batches_total")
	if n := s.sum("edged_manager_batch_items"); n != batches || n == 0 {
		t.Errorf("%v batches in the histogram, %v sent", n, batches)
	}
	if n := s.sum("edged_manager_round_trip_seconds"); n == 0 || n > batches { // a receipt may be for several
		t.Errorf("%v round trips of %v batches", n, batches)
	}
	items := 0.0
	for _, m := range s["edged_manager_batch_items"].GetMetric() {
		items += m.GetHistogram().GetSampleSum()
	}
	if want := s.sum("edged_items_sent_total"); items != want {
		t.Errorf("%v items in the histogram, %v sent", items, want)
	}
	kit := k.m.Stats()
	if float64(kit.ItemsIn) != items {
		t.Errorf("the Manager got %d items of %v", kit.ItemsIn, items)
	}
	if got := s.sum("edged_items_received_total"); float64(kit.ItemsOut) != got {
		t.Errorf("the Manager sent %d items, %v were received", kit.ItemsOut, got)
	}
}

// TestMetricsForm is what a collector of metrics expects: help, type, names, labels, and the process's own numbers.
func TestMetricsForm(t *testing.T) {
	t.Parallel()
	k := newKit(t, echoHandler())
	g := start(t, setup{gateway: "reactors = 2", managers: []string{k.address}})
	check(t, dialIn(t, g.address(), "ann/phone").exchange([]byte("hi")))
	s := g.scrape()
	ours := 0
	for name, f := range s {
		if f.GetHelp() == "" || f.GetType() == dto.MetricType_UNTYPED {
			t.Errorf("%s: help %q, type %v", name, f.GetHelp(), f.GetType())
		}
		if !strings.HasPrefix(name, "edged_") {
			continue
		}
		ours++
		if counter := f.GetType() == dto.MetricType_COUNTER; counter != strings.HasSuffix(name, "_total") {
			t.Errorf("%s is a %v", name, f.GetType())
		}
		perReactor(t, name, f)
	}
	if ours < 30 {
		t.Errorf("only %d metrics of edged", ours)
	}
	for _, name := range []string{"go_goroutines", "go_memstats_heap_alloc_bytes", "process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"} {
		if v := s.sum(name); math.IsNaN(v) || v <= 0 && name != "process_cpu_seconds_total" {
			t.Errorf("%s = %v", name, v)
		}
	}
	if files := g.files(); math.Abs(s.sum("process_open_fds")-float64(files)) > 4 {
		t.Errorf("process_open_fds = %v, /proc says %d", s.sum("process_open_fds"), files)
	}
}

// perReactor looks that a metric with a reactor label has the same series for each of the two.
func perReactor(t *testing.T, name string, f *dto.MetricFamily) {
	t.Helper()
	n := map[string]int{}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "reactor" {
				n[l.GetValue()]++
			}
		}
	}
	if len(n) != 0 && (len(n) != 2 || n["0"] != n["1"]) {
		t.Errorf("%s has these series by reactor: %v", name, n)
	}
}
