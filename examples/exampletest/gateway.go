package exampletest

import (
	"context"
	"testing"
	"time"

	"edged/config"
	"edged/gateway"
)

// Gateway starts a gateway whose Manager is at that address and returns where clients go. It ends with the test. Change, if
// it is not nil, changes its configuration.
type Gateway func(t *testing.T, manager string, change func(*config.Config)) (address string)

// GatewayHere runs a gateway in this process, without Redis.
func GatewayHere(t *testing.T, manager string, change func(*config.Config)) (address string) {
	t.Helper()
	cfg := Configuration(manager, change)
	g, err := gateway.New(gateway.Options{
		Config: cfg.Gateway, Listeners: cfg.Listeners, Managers: cfg.Manager, Delivery: cfg.Delivery, Version: "test", Files: 4096,
	})
	if err != nil {
		t.Fatal(err)
	}
	g.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		if err := g.Stop(ctx); err != nil {
			t.Errorf("gateway: %v", err)
		}
	})
	return g.Addresses()[0]
}

// Configuration is that of a gateway of a test.
func Configuration(manager string, change func(*config.Config)) *config.Config {
	cfg := config.Default()
	cfg.Gateway.Reactors = 2
	cfg.Gateway.DrainTimeout, cfg.Gateway.RetryAfterMax = time.Second, time.Second
	cfg.Listeners[0].Address = "127.0.0.1:0"
	cfg.Manager.Addresses = []string{manager}
	if change != nil {
		change(cfg)
	}
	return cfg
}
