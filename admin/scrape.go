package admin

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// maxProblems is how many bad metrics one error names.
const maxProblems = 8

// runtimeRegistry holds what the Go runtime and the kernel tell of the process.
func runtimeRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// snapshot is one answer of Source.Metrics as a Prometheus collector. It
// describes nothing ahead, so the registry takes whatever names come; check
// makes up for that.
type snapshot []Metric

// Describe sends nothing: the registry then calls the collector unchecked.
func (snapshot) Describe(chan<- *prometheus.Desc) {}

// Collect sends each number as a constant metric.
func (s snapshot) Collect(ch chan<- prometheus.Metric) {
	for i := range s {
		ch <- s[i].constant()
	}
}

func (m *Metric) constant() prometheus.Metric {
	names := make([]string, len(m.Labels))
	values := make([]string, len(m.Labels))
	for i, l := range m.Labels {
		names[i], values[i] = l.Name, l.Value
	}
	d := prometheus.NewDesc(m.Name, m.Help, names, nil)
	c, err := m.value(d, values)
	if err != nil {
		return prometheus.NewInvalidMetric(d, fmt.Errorf("metric %s: %w", m.Name, err))
	}
	return c
}

func (m *Metric) value(d *prometheus.Desc, labels []string) (prometheus.Metric, error) {
	switch m.Type {
	case Counter:
		return prometheus.NewConstMetric(d, prometheus.CounterValue, m.Value, labels...)
	case Gauge:
		return prometheus.NewConstMetric(d, prometheus.GaugeValue, m.Value, labels...)
	}
	count, buckets := m.cumulative()
	return prometheus.NewConstHistogram(d, count, m.Sum, buckets, labels...)
}

// cumulative adds the buckets up as Prometheus wants them. A bucket without
// bound is left out: the total is that bucket.
func (m *Metric) cumulative() (count uint64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(m.Buckets))
	sum := uint64(0)
	for _, b := range m.Buckets {
		sum += b.Count
		if !math.IsInf(b.UpTo, 1) {
			buckets[b.UpTo] = sum
		}
	}
	return max(sum, m.Count), buckets
}

// check names the metrics that break the rules told at Metric.
func (s snapshot) check() error {
	var errs []error
	first := make(map[string]*Metric)
	for i := range s {
		m := &s[i]
		f, known := first[m.Name]
		if !known {
			f, first[m.Name] = m, m
		}
		if err := errors.Join(m.check(), m.fits(f)); err != nil {
			errs = append(errs, fmt.Errorf("metric %s: %w", m.Name, err))
		}
		if len(errs) == maxProblems {
			break
		}
	}
	return errors.Join(errs...)
}

// check looks at one metric alone.
func (m *Metric) check() error {
	if !model.LegacyValidation.IsValidMetricName(m.Name) {
		return fmt.Errorf("%q is no metric name", m.Name)
	}
	for i, l := range m.Labels {
		if !model.LegacyValidation.IsValidLabelName(l.Name) {
			return fmt.Errorf("%q is no label name", l.Name)
		}
		if l.Name == model.BucketLabel && m.Type == Histogram {
			return fmt.Errorf("label %s names a histogram's buckets", l.Name)
		}
		if slices.ContainsFunc(m.Labels[:i], func(o Label) bool { return o.Name == l.Name }) {
			return fmt.Errorf("label %s stands there twice", l.Name)
		}
	}
	switch m.Type {
	case Counter:
		if !(m.Value >= 0) {
			return fmt.Errorf("a counter of %v", m.Value)
		}
	case Gauge:
	case Histogram:
		return m.checkBuckets()
	default:
		return fmt.Errorf("unknown type %d", m.Type)
	}
	return nil
}

func (m *Metric) checkBuckets() error {
	for i, b := range m.Buckets {
		if math.IsNaN(b.UpTo) || i > 0 && b.UpTo <= m.Buckets[i-1].UpTo {
			return fmt.Errorf("bucket %d: bound %v does not ascend", i, b.UpTo)
		}
	}
	return nil
}

// fits holds m against f, the first metric of the same name.
func (m *Metric) fits(f *Metric) error {
	switch {
	case m.Type != f.Type:
		return errors.New("two types under one name")
	case m.Help != f.Help:
		return fmt.Errorf("two help texts under one name: %q and %q", f.Help, m.Help)
	case !slices.EqualFunc(m.Labels, f.Labels, func(a, b Label) bool { return a.Name == b.Name }):
		return errors.New("different label names under one name")
	}
	return nil
}

// gather is the whole scrape: what the Source told, and the process. Doubles
// are found by the registry, which names them.
func gather(runtime prometheus.Gatherer, metrics []Metric) ([]*dto.MetricFamily, error) {
	s := snapshot(metrics)
	if err := s.check(); err != nil {
		return nil, err
	}
	product := prometheus.NewRegistry()
	if err := product.Register(s); err != nil {
		return nil, err
	}
	return prometheus.Gatherers{product, runtime}.Gather()
}

// encode writes families in one of the text or binary forms of Prometheus.
func encode(families []*dto.MetricFamily, form expfmt.Format) ([]byte, error) {
	var b bytes.Buffer
	e := expfmt.NewEncoder(&b, form)
	for _, f := range families {
		if err := e.Encode(f); err != nil {
			return nil, fmt.Errorf("metric %s: %w", f.GetName(), err)
		}
	}
	if c, ok := e.(expfmt.Closer); ok {
		if err := c.Close(); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}
