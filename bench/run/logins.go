package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"time"
)

// The logins beside which a relay is measured.
const (
	loginRate  = 10000            // a second
	loginAlone = 2                // seconds of them alone
	loginKept  = 2000             // links that stay open: each lives a fifth of a second
	loginLead  = 2 * time.Second  // of logins before the relay is measured, in which its links open
	loginLimit = 10 * time.Second // after the last login, for Redis to have all of them
)

// loginRows returns the row of logins, without and with Redis.
func loginRows() []row {
	local := subject{who: "edged, no Redis", program: gateway, loops: 2, session: relaySession, manager: inC}
	fleet := local
	fleet.who, fleet.redis = "edged, registered in Redis", true
	return []row{{name: "login/registered", mode: logins, links: talkers, depth: 1, data: true, below: local.who, subjects: []subject{local, fleet}}}
}

// storming returns a row of so many logins.
func (r row) storming(seconds float64) row {
	r.mode, r.links, r.rate, r.keep = storm, int(seconds*loginRate), loginRate, loginKept
	return r
}

// logins measures what a login costs, and how fast a relay is beside them.
func (b *bench) logins(r row, s subject, t target) (sample, error) {
	alone := r.storming(loginAlone)
	rep, err := b.talk(b.set, alone, s, t)
	if err == nil {
		err = inTime(rep)
	}
	if err == nil && s.redis {
		err = b.registered(t.redis, alone.links)
	}
	if err != nil {
		return sample{}, err
	}
	with, err := b.besideLogins(r, s, t)
	if err != nil {
		return sample{}, err
	}
	found := newSample(rep, with)
	found.put(loginCPU, rep.perFrame(0, t.own))
	if s.redis {
		found.put(redisCPU, rep.perFrame(len(t.pids)-1, len(t.pids)))
	}
	found.put(besideRate, with.Rate/1000)
	return found, nil
}

// inTime says whether the logins came as fast as they had to.
func inTime(rep report) error {
	if rep.Connects < leastRate*loginRate {
		return fmt.Errorf("%.0f logins a second when %d were due", rep.Connects, loginRate)
	}
	return nil
}

// besideLogins measures messages while others log in and leave.
func (b *bench) besideLogins(r row, s subject, t target) (report, error) {
	crowd := r.storming((loginLead + b.set.warm + b.set.window).Seconds())
	var out bytes.Buffer
	set := silence(b.set)
	c, err := b.client(crowd, s, &out, t.load(set, crowd, s))
	if err != nil {
		return report{}, err
	}
	rep, err := b.talk(b.set, r.talking(r.links), s, t.watching(c))
	if err != nil {
		return report{}, err
	}
	if early := c.alive(); early != nil {
		return report{}, fmt.Errorf("the logins ended before the relay was measured: %w", early)
	}
	crowded, err := b.result(c, &out, crowd, len(t.pids), loadLimit)
	if err == nil {
		err = inTime(crowded)
	}
	return rep, err
}

// registered waits until Redis has written the routes of so many logins. One that was not written before its link was gone never will be.
func (b *bench) registered(redis string, logins int) error {
	for limit := time.Now().Add(loginLimit); ; {
		n, err := redisCalls(redis, "hset")
		if err != nil || n >= logins {
			return err
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%d of %d logins were registered", n, logins)
		}
		if err := b.sleep(100 * time.Millisecond); err != nil {
			return err
		}
	}
}

// redisCalls returns how often a server has carried out a command, in scripts too.
func redisCalls(redis, command string) (int, error) {
	c, err := net.DialTimeout("tcp", redis, time.Second)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return 0, err
	}
	if _, err := c.Write([]byte("INFO commandstats\r\nQUIT\r\n")); err != nil {
		return 0, err
	}
	wanted := regexp.MustCompile("^cmdstat_" + command + ":calls=([0-9]+),")
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		if m := wanted.FindStringSubmatch(lines.Text()); m != nil {
			return strconv.Atoi(m[1])
		}
	}
	return 0, lines.Err()
}

// serveRedis starts a redis-server that keeps nothing on disk.
func (b *bench) serveRedis() (target, error) {
	port, err := freePort()
	if err != nil {
		return target{}, err
	}
	c := command(b.now.redis, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--dir", b.dir)
	if b.now.libraries != "" {
		c.cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+b.now.libraries)
	}
	p, err := b.start(c, redisReady, nil)
	if err != nil {
		return target{}, err
	}
	t := target{redis: "127.0.0.1:" + strconv.Itoa(port), servers: []*process{p}, pids: []int{p.cmd.Process.Pid}}
	return t, p.await(b.ctx, readyLimit)
}
