package offline_test

import (
	"strings"
	"testing"
	"time"

	"edged/offline"
)

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*offline.Config)
		key    string // the error names it; empty: none
	}{
		{"default", func(*offline.Config) {}, ""},
		{"least", func(c *offline.Config) {
			*c = offline.Config{Count: 1, Age: time.Second, Seen: time.Second, SeenCount: 1}
		}, ""},
		{"no count", func(c *offline.Config) { c.Count = 0 }, "count: "},
		{"large count", func(c *offline.Config) { c.Count = 1_000_001 }, "count: "},
		{"no age", func(c *offline.Config) { c.Age = 0 }, "age: "},
		{"negative age", func(c *offline.Config) { c.Age = -time.Hour }, "age: "},
		{"age of an era", func(c *offline.Config) { c.Age = 1 << 62 }, "age: "},
		{"no seen", func(c *offline.Config) { c.Seen = 0 }, "seen: "},
		{"no seen_count", func(c *offline.Config) { c.SeenCount = 0 }, "seen_count: "},
		{"large seen_count", func(c *offline.Config) { c.SeenCount = 1 << 21 }, "seen_count: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := offline.Default()
			c.change(&config)
			err := config.Validate()
			if c.key == "" && err != nil || c.key != "" && (err == nil || !strings.HasPrefix(err.Error(), c.key)) {
				t.Errorf("error %v, want one of %q", err, c.key)
			}
		})
	}
}
