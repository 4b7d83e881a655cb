package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// fanPayload is how many bytes a message to a room carries, the kind of a DATA frame not counted.
const fanPayload = 100

// fanWindow is how much longer deliveries are counted than other messages: one to 10,000 links takes a good part of a second.
const fanWindow = 2

// fanRoom is the room that every link joins.
const fanRoom = "all"

// fanRows returns the rows of messages to a room.
func fanRows(set settings) []row {
	edged := subject{who: "edged", program: gateway, loops: 2, session: relaySession, manager: inC}
	subjects := []subject{{who: floorFree.who, program: roomFloor, loops: 2}, edged}
	if set.peers {
		subjects = append(subjects,
			subject{who: "NATS", program: nats, loops: 2, peer: true},
			subject{who: "mosquitto", program: mosquitto, loops: 2, peer: true})
	}
	var rows []row
	for _, links := range []int{1000, 10000} {
		for _, depth := range []int{1, 16} {
			rows = append(rows, row{name: fmt.Sprintf("fanout/%d:%d", links, depth), mode: fanout, links: links, depth: depth, subjects: subjects})
		}
	}
	return rows
}

// dialect returns what cfan is to speak to a program.
func (s subject) dialect() string {
	return map[program]string{roomFloor: "plain", gateway: "edged", nats: "nats", mosquitto: "mqtt"}[s.program]
}

// fan measures what it costs to bring a message to a link of a room.
func (b *bench) fan(r row, s subject, t target) (sample, error) {
	set := b.set
	set.window *= fanWindow
	rep, err := b.talk(set, r, s, t)
	if err != nil {
		return sample{}, err
	}
	found := newSample(rep, rep)
	found.put(deliveryCPU, rep.perFrame(0, t.own))
	return found, nil
}

// mosquittoReady is in the line in which mosquitto says that it serves.
const mosquittoReady = "running"

// mosquittoConfig returns a configuration in which nothing is kept and nothing happens by itself.
func mosquittoConfig(port int) string {
	return fmt.Sprintf(`listener %d 127.0.0.1
allow_anonymous true
max_connections -1
set_tcp_nodelay true
persistence false
sys_interval 0
log_dest stderr
log_type information
log_type error
connection_messages false
`, port)
}

// serveMosquitto starts mosquitto, which has one thread and takes the limit of files as it is.
func (b *bench) serveMosquitto() (target, error) {
	port, err := freePort()
	if err != nil {
		return target{}, err
	}
	file := filepath.Join(b.dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte(mosquittoConfig(port)), 0o644); err != nil {
		return target{}, err
	}
	c := command("/bin/sh", "-c", `ulimit -S -n "$(ulimit -H -n)" && exec "$0" -c "$1"`, b.now.mosquitto, file)
	c.name = filepath.Base(b.now.mosquitto)
	if b.now.libraries != "" {
		c.cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+b.now.libraries)
	}
	p, err := b.start(c, mosquittoReady, nil)
	if err != nil {
		return target{}, err
	}
	t := target{address: "127.0.0.1:" + strconv.Itoa(port), servers: []*process{p}, pids: []int{p.cmd.Process.Pid}, own: 1}
	return t, p.await(b.ctx, readyLimit)
}
