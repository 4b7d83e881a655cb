// Package nic knows the box's network interfaces: which of them carry its traffic, how fast they are, when that changes, and
// what their counters say. It knows nothing of who asks, and draws no conclusion.
//
// Traffic is counted where it leaves the box, on leaves: a packet on a VLAN, a bond, a bridge or a macvlan is counted by that
// interface and by the one below it, so that adding both would count it twice. Resolve walks from names down to leaves.
//
// The kernel is asked by rtnetlink first: that sees the network namespace of the thread that asks, while /sys shows the one
// it was mounted in. What is read from sysfs is used for an interface only where index and address agree. Where netlink is
// denied (systemd's RestrictAddressFamilies=, seccomp), sysfs alone must do. Everything here works without privileges.
//
// No function here belongs on the way of a message: a question to rtnetlink may wait for the kernel's rtnl lock, which
// whoever changes interfaces holds, at times for long.
package nic
