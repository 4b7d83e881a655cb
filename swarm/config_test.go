package swarm_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"edged/swarm"
)

func TestConfig(t *testing.T) {
	good := func() swarm.Config {
		c := swarm.Default()
		c.Target = []string{"gate.example:7000", "[2001:db8::7]:7000"}
		return c
	}
	if err := good().Validate(); err != nil {
		t.Error(err)
	}
	for want, set := range map[string]func(*swarm.Config){
		"target: none":     func(c *swarm.Config) { c.Target = nil },
		"target: \"gate\"": func(c *swarm.Config) { c.Target[0] = "gate" },
		"target: \"unix:/": func(c *swarm.Config) { c.Target[0] = "unix:/run/x.sock" },
		"target: \"a:0\"":  func(c *swarm.Config) { c.Target[0] = "a:0" },
		"dispatch: goes":   func(c *swarm.Config) { c.Dispatch = "http://dispatch.example" },
		"dispatch URL \"d": func(c *swarm.Config) { c.Target, c.Dispatch = nil, "dispatch.example" },
		"links: 0":         func(c *swarm.Config) { c.Links = 0 },
		"links: 99999999":  func(c *swarm.Config) { c.Links = 99999999 },
		"duration: 0s":     func(c *swarm.Config) { c.Duration = 0 },
		"rate: -1":         func(c *swarm.Config) { c.Rate = -1 },
		"rate: NaN":        func(c *swarm.Config) { c.Rate = math.NaN() },
		"ramp: +Inf":       func(c *swarm.Config) { c.Ramp = math.Inf(1) },
		"size: 20":         func(c *swarm.Config) { c.Size = 20 },
		"size: 65535":      func(c *swarm.Config) { c.Size = 65535 },
		"depth: 0":         func(c *swarm.Config) { c.Depth = 0 },
		"depth: 9999":      func(c *swarm.Config) { c.Depth = 9999 },
		"think: -1s":       func(c *swarm.Config) { c.Think = -time.Second },
		"think: goes":      func(c *swarm.Config) { c.Think, c.Rate = time.Second, 5 },
		"silent: goes":     func(c *swarm.Config) { c.Silent, c.Checker = true, true },
		"heartbeat: -1s":   func(c *swarm.Config) { c.Heartbeat = -time.Second },
		"login: \"no\"":    func(c *swarm.Config) { c.Login = "no" },
		"prefix, device":   func(c *swarm.Config) { c.UserPrefix = "\xff" },
		"loops: -1":        func(c *swarm.Config) { c.Loops = -1 },
		"patience: 0s":     func(c *swarm.Config) { c.Patience = 0 },
	} {
		c := good()
		set(&c)
		err := c.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %s…", err, want)
		}
		if _, run := swarm.Run(context.Background(), c, nil); run == nil || !strings.Contains(run.Error(), want) {
			t.Errorf("Run: error %v, want %s…", run, want)
		}
	}
	c := good()
	c.Links, c.Size = 0, 0
	if err := c.Validate(); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("two mistakes: %v", err)
	}
}
