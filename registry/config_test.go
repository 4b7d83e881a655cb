package registry_test

import (
	"strings"
	"testing"
	"time"

	"edged/registry"
)

func TestConfig(t *testing.T) {
	if err := registry.Default().Validate(); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		key    string
		change func(*registry.Config)
	}{
		{"lease", func(c *registry.Config) { c.Lease = time.Second }},
		{"lease", func(c *registry.Config) { c.Lease = time.Hour }},
		{"resync", func(c *registry.Config) { c.Resync = 0 }},
		{"resync", func(c *registry.Config) { c.Resync = 24 * time.Hour }},
		{"resync_rate", func(c *registry.Config) { c.ResyncRate = 0 }},
		{"resync_rate", func(c *registry.Config) { c.ResyncRate = 2_000_000 }},
		{"events", func(c *registry.Config) { c.Events = -1 }},
		{"events", func(c *registry.Config) { c.Events = 1_000_000_000 }},
	} {
		config := registry.Default()
		c.change(&config)
		if err := config.Validate(); err == nil || !strings.HasPrefix(err.Error(), c.key+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", c.key, err)
		}
	}
}
