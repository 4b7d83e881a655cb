package main

import "strconv"

// manager is what a gateway has behind it.
type manager int

const (
	onSDK  manager = iota // bench/manager
	inC                   // bench/cmanager.c
	ofDemo                // that of edged demo
)

// managerCommand returns the program of a subject's Manager and its arguments in a row.
func (b *bench) managerCommand(r row, s subject) (path string, args []string) {
	switch session := strconv.Itoa(s.session); s.manager {
	case inC:
		args = []string{"-s", session}
		if r.mode == fanout {
			args = append(args, "-r", fanRoom)
		}
		if s.push != "" {
			args = append(args, "-a", s.push)
		}
		return b.now.cmanager, append(args, "127.0.0.1:0")
	case ofDemo:
		return b.now.edged, []string{"demo", "--manager", "127.0.0.1:0"}
	default:
		return b.now.manager, []string{"-session", session}
	}
}

// serveManager starts what a gateway relays to.
func (b *bench) serveManager(r row, s subject) (target, error) {
	path, args := b.managerCommand(r, s)
	p, err := b.ready(s, path, args...)
	if err != nil {
		return target{}, err
	}
	return served(target{}, p)
}
