// Package health says each few seconds how much room the box has left: a number between 0 and 1 by which the address service
// ranks it, with the reason that made it so low.
//
//	nic counters ──> meter: rates ──┐
//	gateway's Inputs ───────────────┼──> Scorer: min over terms ──> state ──> Snapshot ──> Latest, Publish
//	/proc, /sys: signals ───────────┘
//
// # The score
//
// Each term is 1 − used/limit, clamped to [0,1]; the availability is the smallest one. A term whose limit is not set or whose
// source is not there is skipped. Rates are taken as the larger of the last interval's and an average (weight 0.3), so that
// the score falls at once and rises slowly. Counters of bad events (a full accept queue, a dropped packet) do not
// measure how full the box is: any increase holds the score below a cap for three more ticks.
//
// # Reasons
//
//	pps pps_rx pps_tx bytes bytes_rx bytes_tx    the interfaces' traffic against the limits that are set
//	links manager                                links against capacity; no Manager for longer than its grace time
//	fds tcp_mem memory conntrack reactor_cpu     how full a table, a memory or the busiest reactor's CPU is
//	tcp_pressure accept softnet nic_drops        caps after events
//	softirq psi                                  caps while a CPU does little but softirqs; while memory is waited for
//	nolimit                                      nothing lowers the score, and there is no limit on traffic
//	warming draining nic_down nic_unknown        the availability is 0 whatever the terms say
//
// # States
//
//	warming ──> up <──> down        down: no interface can carry traffic
//	any state <──> draining         draining wins over all others
//
// Into draining and down the way is immediate, between two ticks; out of down it leads through a tick, so that an
// interface that flaps does not make the report flap.
//
// # Who owns what
//
// One goroutine, the Monitor's, samples, scores and publishes; a second one waits for interface changes and only knocks. The
// Scorer is plain data of that goroutine and does no I/O. Readers get an immutable Snapshot. Nothing here shares a lock with
// the way of a message.
//
// The package must never know links, Managers, Redis, or who ranks by its numbers.
package health
