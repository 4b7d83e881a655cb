//go:build e2e

package tests

import (
	"bytes"
	"context"
	"io"
	"math"
	"net"
	"net/http"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// ask makes one HTTP request over the admin socket.
func (g *gateway) ask(method, path string) (status int, body []byte, header http.Header) {
	g.t.Helper()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", g.admin)
		},
	}
	client := http.Client{Transport: transport, Timeout: patience}
	r := must(http.NewRequest(method, "http://edged"+path, nil))(g.t)
	w := must(client.Do(r))(g.t)
	defer w.Body.Close()
	return w.StatusCode, must(io.ReadAll(w.Body))(g.t), w.Header
}

// probe is the status and text of /healthz or /readyz.
func (g *gateway) probe(path string) (int, string) {
	g.t.Helper()
	status, body, _ := g.ask(http.MethodGet, path)
	return status, string(body)
}

// scrape is one answer of /metrics.
type scrape map[string]*dto.MetricFamily

func (g *gateway) scrape() scrape {
	g.t.Helper()
	status, body, _ := g.ask(http.MethodGet, "/metrics")
	if status != http.StatusOK {
		g.t.Fatalf("/metrics: %d %s", status, body)
	}
	return parseMetrics(g.t, body)
}

func parseMetrics(t *testing.T, body []byte) scrape {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	return must(parser.TextToMetricFamilies(bytes.NewReader(body)))(t)
}

// sum adds up the numbers of a name whose labels are as given, name and value in turn; of a histogram its count. A name
// that does not exist is NaN, so that a misspelt one equals nothing.
func (s scrape) sum(name string, labels ...string) float64 {
	f := s[name]
	if f == nil {
		return math.NaN()
	}
	total := 0.0
	for _, m := range f.GetMetric() {
		if !carries(m, labels) {
			continue
		}
		switch {
		case m.Counter != nil:
			total += m.Counter.GetValue()
		case m.Gauge != nil:
			total += m.Gauge.GetValue()
		case m.Histogram != nil:
			total += float64(m.Histogram.GetSampleCount())
		}
	}
	return total
}

func carries(m *dto.Metric, labels []string) bool {
	for i := 0; i < len(labels); i += 2 {
		found := false
		for _, l := range m.GetLabel() {
			found = found || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}

// metric is one number now, added up over what the labels leave open.
func (g *gateway) metric(name string, labels ...string) float64 {
	g.t.Helper()
	return g.scrape().sum(name, labels...)
}

// waitMetric waits until a number is as wanted.
func (g *gateway) waitMetric(name string, want float64, labels ...string) {
	g.t.Helper()
	var got float64
	defer func() {
		if got != want {
			g.t.Logf("%s%v = %v, want %v", name, labels, got, want)
		}
	}()
	waitFor(g.t, name, func() bool {
		got = g.metric(name, labels...)
		return got == want
	})
}

// balanced checks what must hold at any moment: every link that was opened, or left by a process that died, is here or was closed.
func (g *gateway) balanced() {
	g.t.Helper()
	s := g.scrape()
	opened, closed, here := s.sum("edged_links_opened_total"), s.sum("edged_links_closed_total"), s.sum("edged_links")
	restored := 0.0
	if n := s.sum("edged_links_restored_total"); n > 0 { // there is none without a keeper
		restored = n
	}
	if opened+restored != closed+here {
		g.t.Errorf("%v links opened and %v restored, %v closed, %v here", opened, restored, closed, here)
	}
}
