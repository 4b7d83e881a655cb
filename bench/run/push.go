package main

import "fmt"

// pushRows returns the rows of pushes. The first subject's answers are messages, so that both have a frame down and one up.
func pushRows() []row {
	plain := subject{who: "edged, plain push and a message", program: gateway, loops: 2, session: relaySession, manager: inC, push: "none"}
	required := plain
	required.who, required.push = "edged, required push and its ack", "required"
	var rows []row
	for _, depth := range []int{1, 8} {
		rows = append(rows, row{name: fmt.Sprintf("push/required:%d", depth), mode: pushed, links: talkers, depth: depth, below: plain.who,
			subjects: []subject{plain, required}})
	}
	return rows
}

// pushes measures what a push and its answer cost.
func (b *bench) pushes(r row, s subject, t target) (sample, error) {
	rep, err := b.talk(b.set, r, s, t)
	if err != nil {
		return sample{}, err
	}
	found := newSample(rep, rep)
	found.put(pushCPU, rep.perFrame(0, t.own))
	found.put(pushManager, rep.perFrame(t.own, len(t.pids)))
	return found, nil
}
