package main

import "strconv"

// manager is what a gateway has behind it.
type manager int

const (
	onSDK  manager = iota // bench/manager
	inC                   // bench/cmanager.c
	ofDemo                // that of edged demo
)

// managerCommand returns the program of a subject's Manager and its arguments.
func (b *bench) managerCommand(s subject) (path string, args []string) {
	switch session := strconv.Itoa(s.session); s.manager {
	case inC:
		return b.now.cmanager, []string{"-s", session, "127.0.0.1:0"}
	case ofDemo:
		return b.now.edged, []string{"demo", "--manager", "127.0.0.1:0"}
	default:
		return b.now.manager, []string{"-session", session}
	}
}

// serveManager starts what a gateway relays to.
func (b *bench) serveManager(s subject) (target, error) {
	path, args := b.managerCommand(s)
	p, err := b.ready(s, path, args...)
	if err != nil {
		return target{}, err
	}
	return served(target{}, p)
}
