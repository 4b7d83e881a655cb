package admin_test

import (
	"bytes"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"edged/admin"
)

func label(kv ...string) []admin.Label {
	var l []admin.Label
	for i := 0; i < len(kv); i += 2 {
		l = append(l, admin.Label{Name: kv[i], Value: kv[i+1]})
	}
	return l
}

func counter(name string, v float64, kv ...string) admin.Metric {
	return admin.Metric{Name: name, Help: "Help of " + name + ".", Type: admin.Counter, Value: v, Labels: label(kv...)}
}

func histogram(name string, count uint64, buckets ...admin.Bucket) admin.Metric {
	return admin.Metric{Name: name, Help: "Help of " + name + ".", Type: admin.Histogram, Buckets: buckets, Count: count, Sum: 1.5}
}

// parse reads an answer of /metrics as Prometheus would.
func parse(t *testing.T, a answer) map[string]*dto.MetricFamily {
	t.Helper()
	p := expfmt.NewTextParser(model.LegacyValidation)
	f, err := p.TextToMetricFamilies(strings.NewReader(a.body))
	if err != nil {
		t.Fatalf("%d: %v\n%s", a.code, err, a.body)
	}
	return f
}

func scrape(t *testing.T, metrics ...admin.Metric) (answer, *box) {
	t.Helper()
	b := startBoth(t, &source{metrics: func() []admin.Metric { return metrics }}, admin.Limits{})
	return b.ask(0, "GET", "/metrics", ""), b
}

func TestScrape(t *testing.T) {
	a, _ := scrape(t,
		counter("edged_links_closed_total", 3, "reason", "idle_timeout"),
		counter("edged_links_closed_total", 4, "reason", "a \"quoted\"\nline \\ ü"),
		admin.Metric{Name: "edged_links", Help: "Links now.", Type: admin.Gauge, Value: -2},
		histogram("edged_batch_items", 10, admin.Bucket{UpTo: 1, Count: 4}, admin.Bucket{UpTo: 2, Count: 3}, admin.Bucket{UpTo: 4, Count: 2}),
	)
	a.want(t, 200, "# TYPE edged_links_closed_total counter\n")
	if ct := a.header.Get("Content-Type"); !strings.HasPrefix(ct, "text/plain; version=0.0.4") {
		t.Error(ct)
	}
	f := parse(t, a)
	closed := f["edged_links_closed_total"].GetMetric()
	if len(closed) != 2 || f["edged_links_closed_total"].GetHelp() != "Help of edged_links_closed_total." {
		t.Errorf("closed: %v", f["edged_links_closed_total"])
	}
	for _, m := range closed {
		if v := m.GetLabel()[0].GetValue(); v != "idle_timeout" && v != "a \"quoted\"\nline \\ ü" {
			t.Errorf("label %q", v)
		}
	}
	if v := f["edged_links"].GetMetric()[0].GetGauge().GetValue(); v != -2 {
		t.Errorf("links %v", v)
	}
	h := f["edged_batch_items"].GetMetric()[0].GetHistogram()
	if h.GetSampleCount() != 10 || h.GetSampleSum() != 1.5 {
		t.Errorf("histogram %v", h)
	}
	want := map[float64]uint64{1: 4, 2: 7, 4: 9, math.Inf(1): 10}
	for _, b := range h.GetBucket() {
		if want[b.GetUpperBound()] != b.GetCumulativeCount() {
			t.Errorf("le %v: %d, want %d", b.GetUpperBound(), b.GetCumulativeCount(), want[b.GetUpperBound()])
		}
	}
	for _, name := range []string{"go_goroutines", "process_open_fds", "process_resident_memory_bytes"} {
		if f[name] == nil {
			t.Errorf("no %s", name)
		}
	}
}

func TestScrapeOfNothing(t *testing.T) {
	a, b := scrape(t)
	if f := parse(t, a); f["go_goroutines"] == nil {
		t.Error("no runtime metrics")
	}
	for range 3 { // the registry of the process is the same each time, the product's a new one
		b.ask(0, "GET", "/metrics", "").want(t, 200, "go_goroutines")
	}
}

func TestScrapeInOtherForms(t *testing.T) {
	b := startBoth(t, &source{metrics: func() []admin.Metric {
		return []admin.Metric{counter("edged_x_total", 7)}
	}}, admin.Limits{})
	a := b.ask(0, "GET", "/metrics", "", "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	d := expfmt.NewDecoder(bytes.NewReader([]byte(a.body)), expfmt.NewFormat(expfmt.TypeProtoDelim))
	seen := 0
	for {
		var f dto.MetricFamily
		if err := d.Decode(&f); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
	}
	if seen < 10 {
		t.Errorf("%d families", seen)
	}
	b.ask(0, "GET", "/metrics", "", "Accept: text/html;q=0.1, garbage;;;").want(t, 200, "edged_x_total 7\n")
}

func TestHistogramsAreCumulative(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var metrics []admin.Metric
	for i := range 40 {
		m := histogram("edged_random", r.Uint64N(50))
		m.Labels = label("i", string(rune('A'+i)))
		for bound := r.Float64() - 3; r.IntN(8) != 0; bound += r.Float64() + 0.01 {
			m.Buckets = append(m.Buckets, admin.Bucket{UpTo: bound, Count: r.Uint64N(10)})
		}
		if r.IntN(2) == 0 {
			m.Buckets = append(m.Buckets, admin.Bucket{UpTo: math.Inf(1), Count: r.Uint64N(10)})
		}
		metrics = append(metrics, m)
	}
	a, _ := scrape(t, metrics...)
	f := parse(t, a)["edged_random"]
	if len(f.GetMetric()) != len(metrics) {
		t.Fatalf("%d of %d", len(f.GetMetric()), len(metrics))
	}
	for _, m := range f.GetMetric() {
		last, bound := uint64(0), math.Inf(-1)
		for _, b := range m.GetHistogram().GetBucket() {
			if b.GetCumulativeCount() < last || b.GetUpperBound() <= bound {
				t.Errorf("not cumulative: %v", m)
			}
			last, bound = b.GetCumulativeCount(), b.GetUpperBound()
		}
		if !math.IsInf(bound, 1) || m.GetHistogram().GetSampleCount() != last {
			t.Errorf("the last bucket is not the total: %v", m)
		}
	}
}

// A count read before its buckets is smaller than their sum.
func TestTornHistogram(t *testing.T) {
	a, _ := scrape(t, histogram("edged_torn", 3, admin.Bucket{UpTo: 1, Count: 5}))
	if h := parse(t, a)["edged_torn"].GetMetric()[0].GetHistogram(); h.GetSampleCount() != 5 {
		t.Errorf("count %d", h.GetSampleCount())
	}
}

func TestBadMetricsAreAnErrorWithTheName(t *testing.T) {
	other := counter("edged_bad", 1)
	other.Help = "Something else."
	gauge := counter("edged_bad", 1)
	gauge.Type = admin.Gauge
	none := counter("edged_bad", 1)
	none.Type = 0
	for _, c := range []struct {
		name string
		m    []admin.Metric
		want string
	}{
		{"twice", []admin.Metric{counter("edged_bad", 1), counter("edged_bad", 2)}, "was collected before"},
		{"twice with labels", []admin.Metric{counter("edged_bad", 1, "a", "1"), counter("edged_bad", 2, "a", "1")}, "was collected before"},
		{"two types", []admin.Metric{counter("edged_bad", 1), gauge}, "two types"},
		{"two helps", []admin.Metric{counter("edged_bad", 1), other}, "two help texts"},
		{"label names", []admin.Metric{counter("edged_bad", 1, "a", "1"), counter("edged_bad", 1, "b", "1")}, "different label names"},
		{"label count", []admin.Metric{counter("edged_bad", 1, "a", "1"), counter("edged_bad", 1)}, "different label names"},
		{"label order", []admin.Metric{counter("edged_bad", 1, "a", "1", "b", "1"), counter("edged_bad", 1, "b", "2", "a", "1")}, "different label names"},
		{"label twice", []admin.Metric{counter("edged_bad", 1, "a", "1", "a", "2")}, "label a stands there twice"},
		{"label name", []admin.Metric{counter("edged_bad", 1, "a-b", "1")}, `"a-b" is no label name`},
		{"reserved label", []admin.Metric{counter("edged_bad", 1, "__name__", "1")}, "edged_bad"},
		{"label value", []admin.Metric{counter("edged_bad", 1, "a", "\xff")}, "edged_bad"},
		{"name", []admin.Metric{counter("edged_bad ", 1)}, "is no metric name"},
		{"empty name", []admin.Metric{counter("", 1)}, `"" is no metric name`},
		{"no type", []admin.Metric{none}, "unknown type 0"},
		{"negative counter", []admin.Metric{counter("edged_bad", -1)}, "a counter of -1"},
		{"counter of nothing", []admin.Metric{counter("edged_bad", math.NaN())}, "a counter of NaN"},
		{"bounds", []admin.Metric{histogram("edged_bad", 1, admin.Bucket{UpTo: 2}, admin.Bucket{UpTo: 2})}, "does not ascend"},
		{"bound", []admin.Metric{histogram("edged_bad", 1, admin.Bucket{UpTo: math.NaN()})}, "does not ascend"},
		{"reserved bucket label", []admin.Metric{{Name: "edged_bad", Type: admin.Histogram, Labels: label("le", "1")}}, "edged_bad"},
		{"the runtime's name", []admin.Metric{counter("go_goroutines", 1)}, "go_goroutines"},
		{"a histogram's shadow", []admin.Metric{histogram("edged_bad", 1), counter("edged_bad_count", 1)}, "edged_bad"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := scrape(t, append(c.m, counter("edged_good_total", 1))...)
			a.want(t, 500, `{"error":`)
			name := strings.TrimSpace(c.m[0].Name)
			if l := b.log.String(); !strings.Contains(l, "metrics refused") || !strings.Contains(l, name) {
				t.Errorf("log: %s", l)
			}
			if l := strings.ReplaceAll(b.log.String(), `\`, ""); !strings.Contains(l, c.want) {
				t.Errorf("log: %s, want %q", l, c.want)
			}
		})
	}
}

func TestManyBadMetricsAreToldBriefly(t *testing.T) {
	var metrics []admin.Metric
	for range 1000 {
		metrics = append(metrics, counter("edged_bad", -1))
	}
	a, _ := scrape(t, metrics...)
	a.want(t, 500, "edged_bad")
	if n := strings.Count(a.body, "edged_bad"); n > 10 {
		t.Errorf("named %d times", n)
	}
}

func BenchmarkScrape(b *testing.B) {
	metrics := make([]admin.Metric, 0, 1000)
	for i := range 1000 {
		metrics = append(metrics, counter("edged_some_total", float64(i), "shard", string(rune(0x4e00+i))))
	}
	for b.Loop() {
		if err := admin.Scrape(io.Discard, metrics); err != nil {
			b.Fatal(err)
		}
	}
}
