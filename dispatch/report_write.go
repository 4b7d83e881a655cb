package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"edged/redisconn"

	"github.com/redis/rueidis"
)

// write replaces the hash and looks at who had written it before.
func (r *Reporter) write(ctx context.Context, report *Report) error {
	if report.balancer() == "" {
		return errors.New("a report without address")
	}
	r.seq++
	seq := strconv.FormatUint(r.seq, 10)
	args := append([]string{milliseconds(life(r.interval)), r.boot, seq}, report.fields(r.boot, r.seq, time.Now())...)
	before, err := r.client.Do(ctx, func(b rueidis.Builder) rueidis.Completed {
		return eval(b, writeScript, gatewayKey(r.gateway), args...)
	}).AsStrSlice()
	if err != nil {
		return fmt.Errorf("%s: %w", gatewayKey(r.gateway), err)
	}
	if len(before) == 3 {
		r.meet(before[0], before[1], before[2], report.Address)
	}
	return nil
}

// list makes the gateway known under its load balancer.
func (r *Reporter) list(ctx context.Context, name string) error {
	last := r.balancer
	r.balancer = name
	keys := [...]string{balancersKey, balancerKey(name), balancerKey(last)}
	var failed []error
	for i, result := range r.client.DoMulti(ctx, func(b rueidis.Builder) rueidis.Commands {
		cmds := rueidis.Commands{
			b.Sadd().Key(balancersKey).Member(name).Build(),
			eval(b, memberScript, keys[1], r.gateway),
		}
		if last != "" && last != name { // readers go by the report, and remove what stays there
			cmds = append(cmds, b.Zrem().Key(keys[2]).Member(r.gateway).Build())
		}
		return cmds
	}) {
		if err := result.Error(); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", keys[i], err))
		}
	}
	return errors.Join(failed...)
}

// publish tells those who listen to edged:state. It is a call of its own, because the library sends no command without a key
// together with ones for several slots of a Cluster.
func (r *Reporter) publish(ctx context.Context, state string) error {
	err := r.client.Do(ctx, func(b rueidis.Builder) rueidis.Completed {
		return b.Publish().Channel(stateChannel).Message(stateMessage(r.gateway, state)).Build()
	}).Error()
	if err != nil {
		return fmt.Errorf("%s: %w", stateChannel, err)
	}
	r.published = state
	return nil
}

// remove deletes the report, unless another process has written it, and says that the gateway is gone.
func (r *Reporter) remove(ctx context.Context) error {
	ours, err := r.client.Do(ctx, func(b rueidis.Builder) rueidis.Completed {
		return eval(b, removeScript, gatewayKey(r.gateway), r.boot)
	}).AsInt64()
	if err != nil || ours == 0 {
		return err
	}
	if r.balancer != "" {
		err = r.client.Do(ctx, func(b rueidis.Builder) rueidis.Completed {
			return b.Zrem().Key(balancerKey(r.balancer)).Member(r.gateway).Build()
		}).Error()
	}
	return errors.Join(err, r.publish(ctx, StateDown))
}

// meet takes in who wrote the report that stood there before ours. One other boot may be the process before this one; one
// that goes on counting while we do is alive.
func (r *Reporter) meet(boot, seq, address, own string) {
	m := &r.mail
	switch boot {
	case "":
		return
	case r.boot:
		r.quiet++
		if r.quiet == quietWrites && m.twin("", false) {
			r.log.Info("the gateway's ID is its own again")
		}
		return
	}
	r.quiet = 0
	n, _ := strconv.ParseUint(seq, 10, 64)
	_, twin := r.writers.see(writer{boot: boot, address: address, seq: n})
	r.writers.see(writer{boot: r.boot, address: own, seq: r.seq})
	if twin && m.twin(shown(boot)+" at "+shown(address), true) {
		r.log.Warn("two gateways report under one ID", "boot", r.boot, "address", own, "other_boot", boot, "other_address", address)
	}
}

// twin notes who else reports under this ID, and whether a report of it was found. It returns true when that begins and ends.
func (m *mailbox) twin(name string, found bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	news := (m.stats.Twin == "") != (name == "")
	m.stats.Twin = name
	if found {
		m.stats.TwinReports++
	}
	return news
}

// verdict is how the reports fare, as far as the log has said it.
type verdict int

const (
	nothingYet verdict = iota
	notWritten
	areWritten
)

// judge counts an attempt, and logs when it goes otherwise than the log said. While the first connection is being made
// nothing is wrong yet.
func (r *Reporter) judge(err error) {
	m := &r.mail
	m.mu.Lock()
	if err == nil {
		m.stats.OK, m.stats.LastError, m.stats.LastSuccess = true, "", time.Now()
		m.stats.Reports++
	} else {
		m.stats.OK, m.stats.LastError = false, err.Error()
		m.stats.Failures++
	}
	stats := m.stats
	m.mu.Unlock()
	starting := r.told == nothingYet && errors.Is(err, redisconn.ErrNotConnected) && time.Since(r.start) < attemptLimit
	switch {
	case err == nil && r.told != areWritten:
		r.told = areWritten
		r.log.Info("reports are written", "boot", r.boot, "failures", stats.Failures)
	case err != nil && r.told != notWritten && !starting:
		r.told = notWritten
		r.log.Warn("reports are not written", "err", err)
	}
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
