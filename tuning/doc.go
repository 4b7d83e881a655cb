// Package tuning prepares the box for what it is to do, and puts it back.
//
// The operator says what the box is for (links, messages per second); Inspect reads what the box is (memory, CPUs, kernel
// settings, who else sets them, network devices); Compute, which asks nothing and changes nothing, turns the two into a Plan:
// every setting with its present and its wanted value, why, from which source, at what risk, and what the box can hold
// at all. Apply carries it out.
//
//	Inspect > Machine > Compute > Plan > Apply > state file > Verify, Revert, Confirm, Recover
//	                                   > Persist > /etc/sysctl.d/60-edged.conf
//
// Nothing changes silently, and everything can be put back. Before a setting is touched, its value is in the state
// file, on tmpfs, so that it goes at a reboot as the values do. A capacity is only ever raised, a bound only lowered, and
// what an administrator's file sets is left alone. Values of several numbers are written whole and read back, since the
// kernel takes part of them, or cuts them, without a word. What may not be written, or is not there, as in a container, is
// told in the plan and is never an error of the whole.
//
// The one owner of the values that edged changed is the state file, under the lock beside it. This package must not know
// links, sockets or Redis, and it reads no configuration file of edged.
package tuning
