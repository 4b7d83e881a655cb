package main

import (
	"errors"

	"edged/config"
)

// errNoManager is what a gateway lacks whose file is as it was installed: it serves, and nobody can log in.
var errNoManager = errors.New(`no Manager: none is configured, so nobody can log in; set addresses in [manager], or login = "none" in [gateway]`)

// lacksManager says whether links must be accepted by a Manager while none is configured.
func lacksManager(cfg *config.Config) bool {
	return len(cfg.Manager.Addresses) == 0 && cfg.Gateway.Login == "required"
}
