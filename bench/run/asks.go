package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// The fleet that an address service is asked about.
const (
	fleetBoxes    = 200
	fleetGateways = 2000
)

// redisReady is in the line in which redis-server says that it serves.
const redisReady = "Ready to accept connections"

// findRedis looks for a redis-server, in PATH and where the tests have one fetched to. Without it the rows that need it are left out.
func (b *bench) findRedis(root string) {
	if path, err := exec.LookPath("redis-server"); err == nil {
		b.now.redis = path
		return
	}
	if path := filepath.Join(root, ".tools", "redis", "usr", "bin", "redis-server"); executable(path) {
		b.now.redis = path
		b.now.libraries = strings.Trim(strings.Join(libraryDirs(filepath.Join(root, ".tools", "redis")), ":")+":"+b.now.libraries, ":")
		return
	}
	b.now.dispatcher = ""
	fmt.Fprintln(os.Stderr, "bench: without the address service and registered logins, as there is no redis-server (tools/redis fetches one)")
}

// dispatchConfig returns the dispatch.toml of a service for the fleet that bench/asks plays.
func dispatchConfig(redis string) string {
	var t strings.Builder
	fmt.Fprintf(&t, "[dispatch]\nlisten = [\"127.0.0.1:0\"]\n[redis]\naddresses = [%q]\n", redis)
	for i := range fleetBoxes {
		fmt.Fprintf(&t, "[[slb]]\nname = \"lb-%d\"\naddresses = [\"10.200.%d.%d:7000\"]\n", i, i>>8, i&255)
	}
	return t.String()
}

// serveDispatcher starts edged dispatch, after a Redis of its own.
func (b *bench) serveDispatcher(s subject) (target, error) {
	redis, err := b.serveRedis()
	if err != nil {
		return target{}, err
	}
	file := filepath.Join(b.dir, "dispatch.toml")
	if err := os.WriteFile(file, []byte(dispatchConfig(redis.redis)), 0o644); err != nil {
		return target{}, err
	}
	p, err := b.ready(s, b.built(s).of(s.program), "dispatch", "--config", file)
	if err != nil {
		return target{}, err
	}
	redis.pids = nil // what it costs is not asked for
	return served(redis, p)
}

// asksReport is what bench/asks prints.
type asksReport struct {
	Requests  uint64  `json:"requests"`
	CPU       float64 `json:"us"`
	RedisIdle float64 `json:"redis_idle"`
	RedisBusy float64 `json:"redis_busy"`
}

func parseAsks(text []byte) (asksReport, error) {
	var r asksReport
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("asks said %q: %w", text, err)
	}
	if r.Requests == 0 || r.RedisIdle <= 0 {
		return r, fmt.Errorf("%d requests were answered, and %.0f Redis commands a second counted", r.Requests, r.RedisIdle)
	}
	return r, nil
}

// asked measures what an answer of the address service costs, and whether Redis notices.
func (b *bench) asked(_ row, _ subject, t target) (sample, error) {
	var found sample
	for _, f := range []struct {
		first int
		cpu   figure
	}{{0, allCPU}, {3, threeCPU}} {
		var out bytes.Buffer
		c, err := b.launch("", &out, b.now.asks, "-redis", t.redis, "-pid", strconv.Itoa(t.pids[0]), "-n", strconv.Itoa(f.first),
			"-boxes", strconv.Itoa(fleetBoxes), "-gateways", strconv.Itoa(fleetGateways), "-d", b.set.window.String(), t.address)
		if err != nil {
			return found, err
		}
		if err := c.finish(b.ctx, b.set.window*2+2*loadLimit); err != nil {
			return found, c.fault(err)
		}
		r, err := parseAsks(out.Bytes())
		if err != nil {
			return found, c.fault(err)
		}
		found.put(f.cpu, r.CPU)
		if f.first == 0 {
			found.put(askRate, 1e3/r.CPU)
			found.put(redisGrowth, r.RedisBusy/r.RedisIdle)
		}
	}
	return found, nil
}
