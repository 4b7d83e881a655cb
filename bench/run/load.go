package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// payload is how many bytes a message carries, the kind of a DATA frame not counted.
const payload = 64

// floodPayload is the same of a flood: small, because each costs the gateway something and few bytes fill no socket.
const floodPayload = 8

// floodDepth is how many messages of a flood are on their way at most. Where there is no such bound, all that the sockets and
// the Manager's stream hold comes back at once, and a gateway ends such a link as a slow consumer.
const floodDepth = 16384

// Frames and kinds of PROTOCOL.md as cload takes them, in hexadecimal.
const (
	hexHello     = "000101" // a whole HELLO that says nothing
	hexHeartbeat = "0000"
	hexWelcome   = "02"
	hexData      = "03"
)

// report is what a load prints.
type report struct {
	Links      int     `json:"links"`
	Seconds    float64 `json:"seconds"`
	Frames     int     `json:"frames"`
	Rate       float64 `json:"rate"`           // frames a second
	Connects   float64 `json:"connects_per_s"` // links that opened, a second of opening
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	Errors     int     `json:"errors"`
	Mismatches int     `json:"mismatches"`
	Silent     int     `json:"silent"` // links that never got an answer; of cnats, that lack one
	Servers    []struct {
		CPU        float64 `json:"cpu"` // of one core
		PerFrameUs float64 `json:"us_per_frame"`
	} `json:"servers"`
	ClientCPU float64    `json:"client_cpu"` // of one core
	OtherCPU  float64    `json:"other_cpu"`
	LineNs    [2]float64 `json:"line_ns"` // from CPU to CPU and back, before and after; 0: not asked for, or not to be had
}

func parseReport(b []byte) (report, error) {
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("the load said %q: %w", b, err)
	}
	return r, nil
}

// perFrame returns the CPU of some of the servers per message, in µs.
func (r report) perFrame(from, to int) float64 {
	total := 0.0
	for _, s := range r.Servers[from:to] {
		total += s.PerFrameUs
	}
	return total
}

// check says why a report is no measurement. A row without answers, or with wrong ones, is a failure and not a low figure.
func (r report) check(links, servers int, answers bool) error {
	switch {
	case r.Mismatches > 0:
		return fmt.Errorf("%d answers were not what was sent", r.Mismatches)
	case r.Errors > 0:
		return fmt.Errorf("%d links did not open or were closed", r.Errors)
	case r.Silent > 0:
		return fmt.Errorf("%d links never got an answer", r.Silent)
	case r.Links != links:
		return fmt.Errorf("%d of %d links were open", r.Links, links)
	case len(r.Servers) != servers:
		return fmt.Errorf("the CPU of %d processes was measured, not of %d", len(r.Servers), servers)
	case answers && r.Frames == 0:
		return fmt.Errorf("nothing was answered")
	}
	return nil
}

// loadArgs returns the arguments of the load for a subject of a row, without the address.
func loadArgs(set settings, r row, s subject, pids []int) []string {
	args := []string{"-c", strconv.Itoa(r.links), "-P", joinInts(pids)}
	if len(set.line) == 2 {
		args = append(args, "-L", joinInts(set.line))
	}
	switch r.mode {
	case flow:
		args = append(args, "-m", s.exchange())
		if r.rate > 0 {
			args = append(args, "-r", strconv.FormatFloat(r.rate, 'f', 0, 64))
		} else {
			args = append(args, "-p", strconv.Itoa(r.depth))
		}
		args = append(args, "-t", strconv.Itoa(s.clients()), "-d", seconds(set.window), "-w", seconds(set.warm))
		if r.data && s.program != nats {
			args = append(args, "-s", strconv.Itoa(payload+1), "-F", hexData)
		} else {
			args = append(args, "-s", strconv.Itoa(payload))
		}
	case fanout:
		return append(args, "-m", s.dialect(), "-p", strconv.Itoa(r.depth), "-t", strconv.Itoa(s.clients()),
			"-d", seconds(set.window), "-w", seconds(set.warm), "-s", strconv.Itoa(fanPayload))
	case pushed:
		return append(args, "-m", s.push, "-p", strconv.Itoa(r.depth), "-t", strconv.Itoa(s.clients()),
			"-d", seconds(set.window), "-w", seconds(set.warm), "-s", strconv.Itoa(payload))
	case storm:
		args = append(args, "-m", "storm")
		if r.burst > 0 {
			args = append(args, "-i", strconv.Itoa(r.burst))
		}
		if r.rate > 0 {
			args = append(args, "-r", strconv.FormatFloat(r.rate, 'f', 0, 64), "-k", strconv.Itoa(r.keep))
		}
	case hold:
		args = append(args, "-m", r.holds(), "-d", "0", "-w", seconds(r.warmUp())) // until its standard input ends
		if r.deluge {
			args = append(args, "-p", strconv.Itoa(floodDepth), "-s", strconv.Itoa(floodPayload+1), "-F", hexData)
		}
		if r.beat > 0 {
			args = append(args, "-B", seconds(r.beat))
		}
	}
	return append(args, greeting(r, s)...)
}

// exchange returns the load's mode for messages back and forth.
func (s subject) exchange() string {
	if s.program == nats {
		return "load"
	}
	return "echo"
}

// holds returns cload's mode for a row of mode hold.
func (r row) holds() string {
	if r.deluge {
		return "flood"
	}
	return "idle"
}

// greeting returns the arguments for what comes before a link counts as open.
func greeting(r row, s subject) []string {
	switch {
	case s.session > 0:
		return []string{"-H", hexHello, "-R", "1", "-G", hexWelcome}
	case r.mode == storm && s.program == gateway:
		return []string{"-H", hexHeartbeat, "-R", "2", "-G", hexWelcome} // WELCOME comes unasked
	case r.mode == storm:
		return []string{"-H", hexHeartbeat, "-R", "1"}
	case s.program == gateway:
		return []string{"-R", "1", "-G", hexWelcome}
	}
	return nil
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

func joinInts(n []int) string {
	s := make([]string, len(n))
	for i, v := range n {
		s[i] = strconv.Itoa(v)
	}
	return strings.Join(s, ",")
}

// gatewayConfig returns the edged.toml of a subject. Nothing may happen by itself while it is measured, so every timeout
// is far away, unless there is a beat: then heartbeats are told and expected as by default. t is its Manager and its Redis, if it has
// any, and where it is controlled.
func gatewayConfig(s subject, capacity int, t target, beat time.Duration) string {
	heartbeat, idle := time.Hour, 2*time.Hour
	if beat > 0 {
		heartbeat, idle = beat, beat*6/5
	}
	login, managers, redis, admin, keeper := "none", "", "", "", ""
	if s.session > 0 {
		login, managers = "required", strconv.Quote(t.address)
	}
	if t.redis != "" {
		redis = strconv.Quote(t.redis)
	}
	if t.admin != "" {
		admin = strconv.Quote("unix:" + t.admin)
	}
	if t.keeper != "" {
		keeper = fmt.Sprintf("\n[keeper]\nenabled = true\nsocket = %q\n", t.keeper)
	}
	return fmt.Sprintf(`[gateway]
reactors = %d
capacity = %d
login = %q
login_timeout = "1m"
heartbeat = %q
idle_timeout = %q
drain_timeout = "0s"

[[listener]]
address = "127.0.0.1:%d"

[manager]
addresses = [%s]

[redis]
addresses = [%s]

[admin]
listen = [%s]
%s`, s.loops, capacity, login, heartbeat, idle, t.port, managers, redis, admin, keeper)
}
