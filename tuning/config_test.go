package tuning_test

import (
	"strings"
	"testing"

	"edged/tuning"
)

func TestConfig(t *testing.T) {
	if err := tuning.Default().Validate(); err != nil {
		t.Error(err)
	}
	tests := []struct {
		change func(*tuning.Config)
		want   string
	}{
		{func(c *tuning.Config) { c.Links = -1 }, "links: -1 is not between 0 and 100000000"},
		{func(c *tuning.Config) { c.MessagesPerSecond = 1 << 40 }, "messages_per_second: 1099511627776 is not between"},
		{func(c *tuning.Config) { c.Interfaces = nil }, "interfaces: names none"},
		{func(c *tuning.Config) { c.Interfaces = []string{"eth0/../x"} }, `interfaces: "eth0/../x" is no name`},
		{func(c *tuning.Config) { c.Interfaces = []string{"auto", "eth0"} }, `interfaces: "auto" stands for all`},
		{func(c *tuning.Config) { c.Congestion = "bbr fq" }, `congestion: "bbr fq" is no name`},
	}
	for _, test := range tests {
		c := tuning.Default()
		test.change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, want %s", err, test.want)
		}
	}
}
