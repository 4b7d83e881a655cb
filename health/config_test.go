package health_test

import (
	"strings"
	"testing"
	"time"

	"edged/health"
)

func TestDefaultIsValidAndFresh(t *testing.T) {
	c := health.Default()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	c.NICs[0] = "changed"
	if d := health.Default(); d.NICs[0] != "auto" {
		t.Errorf("defaults are shared: %q", d.NICs)
	}
	if want := (health.Terms{Links: true, Manager: true}); health.Default().Terms != want {
		t.Errorf("terms that are on by default: %+v", health.Default().Terms)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*health.Config)
		want   []string // one problem each; none: valid
	}{
		{"limits", func(c *health.Config) { c.PPSLimit, c.BytesLimit = 1, 1 }, nil},
		{"names", func(c *health.Config) { c.NICs = []string{"eth0", "bond0.17"} }, nil},
		{"interval short", func(c *health.Config) { c.Interval = 999 * time.Millisecond }, []string{"interval: 999ms is not between 1s and 1m"}},
		{"interval long", func(c *health.Config) { c.Interval = time.Hour }, []string{"interval: "}},
		{"negative pps", func(c *health.Config) { c.PPSLimit = -1 }, []string{"pps_limit: -1 is not between 0 and 10000000000"}},
		{"negative bytes", func(c *health.Config) { c.BytesLimit = -5 }, []string{"bytes_limit: -5 is not"}},
		{"bytes in bits of another kind", func(c *health.Config) { c.BytesLimit = 2e12 }, []string{"bytes_limit: 2000000000000 is not"}},
		{"negative directions", func(c *health.Config) {
			c.PPSLimitRx, c.PPSLimitTx, c.BytesLimitRx, c.BytesLimitTx = -1, -2, -3, -4
		}, []string{"pps_limit_rx: -1", "pps_limit_tx: -2", "bytes_limit_rx: -3", "bytes_limit_tx: -4"}},
		{"modes", func(c *health.Config) { c.LimitMode = health.LimitMode{PPS: "both"} },
			[]string{`limit_mode.pps: "both" is not "sum", "max", "rx" or "tx"`, `limit_mode.bytes: "" is not`}},
		{"no nics", func(c *health.Config) { c.NICs = nil }, []string{"nics: the list is empty"}},
		{"auto and names", func(c *health.Config) { c.NICs = []string{"auto", "eth0"} }, []string{`nics: "auto" cannot stand beside names`}},
		{"not a name", func(c *health.Config) { c.NICs = []string{"a/b", "", "sixteen-letters-", "a b"} },
			[]string{`nics: "a/b" is not the name`, `nics: "" is not`, `nics: "sixteen-letters-" is`, `nics: "a b" is`}},
		{"twice", func(c *health.Config) { c.NICs = []string{"eth0", "eth1", "eth0"} }, []string{`nics: "eth0" stands there twice`}},
		{"everything", func(c *health.Config) { *c = health.Config{PPSLimit: -1} },
			[]string{"interval: ", "pps_limit: ", "limit_mode.pps: ", "limit_mode.bytes: ", "nics: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := health.Default()
			c.change(&config)
			var got []string
			if err := config.Validate(); err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if len(got) != len(c.want) {
				t.Fatalf("problems %q, want %q", got, c.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], c.want[i]) {
					t.Errorf("problem %q, want %q", got[i], c.want[i])
				}
			}
		})
	}
}

func TestNewRefusesInvalid(t *testing.T) {
	c := health.Default()
	c.BytesLimit = -1
	if _, err := health.New(c, health.Options{}); err == nil || !strings.Contains(err.Error(), "bytes_limit") {
		t.Errorf("New gives %v", err)
	}
}
