package delivery_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"edged/delivery"
)

func TestDefaultsAreValid(t *testing.T) {
	c := delivery.Default()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	want := delivery.Limits{Retry: 5 * time.Second, Tries: 5, Window: 256, Bytes: delivery.DefaultBytes}
	if got := c.Limits(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := c.OrderLimits(); got != orderLimits() {
		t.Errorf("%+v, want %+v", got, orderLimits())
	}
}

func TestValidateNamesTheKey(t *testing.T) {
	for _, tt := range []struct {
		want string
		set  func(*delivery.Config)
	}{
		{"retry: 99ms is not between 100ms and 10m", func(c *delivery.Config) { c.Retry = 99 * time.Millisecond }},
		{"retry: 10m1s is not", func(c *delivery.Config) { c.Retry = 10*time.Minute + time.Second }},
		{"tries: 0 is not between 1 and 100", func(c *delivery.Config) { c.Tries = 0 }},
		{"tries: 101 is not", func(c *delivery.Config) { c.Tries = 101 }},
		{"window: 0 is not between 1 and 65535", func(c *delivery.Config) { c.Window = 0 }},
		{"window: 65536 is not", func(c *delivery.Config) { c.Window = 65536 }},
		{"gzip_min: 0 is not between 1 and 65535", func(c *delivery.Config) { c.GzipMin = 0 }},
		{"package_gap: 9ms is not between 10ms and 10m", func(c *delivery.Config) { c.PackageGap = 9 * time.Millisecond }},
		{"sample: 1.5 is not between 0 and 1", func(c *delivery.Config) { c.Sample = 1.5 }},
		{"sample: -0.1 is not", func(c *delivery.Config) { c.Sample = -0.1 }},
		{"sample: NaN is not", func(c *delivery.Config) { c.Sample = math.NaN() }},
	} {
		c := delivery.Default()
		tt.set(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
	if errs := strings.Split(delivery.Config{Sample: 2}.Validate().Error(), "\n"); len(errs) != 6 {
		t.Errorf("%q, want all six keys", errs)
	}
}
