// Package nic knows the box's network interfaces: which of them carry its traffic, how fast they are, when that changes, what
// their counters say, and which CPU works on which of their queues. It knows nothing of who asks, and draws no conclusion. The
// methods of Host named Set change what they are told to, at once; who calls them keeps the old value.
//
// Traffic is counted where it leaves the box, on leaves: a packet on a VLAN, a bond, a bridge or a macvlan is counted by that
// interface and by the one below it, so that adding both would count it twice. Resolve walks from names down to leaves.
//
// The kernel is asked by rtnetlink first: that sees the network namespace of the thread that asks, while /sys shows the one
// it was mounted in. What is read from sysfs is used for an interface only where index and address agree. Where netlink is
// denied (systemd's RestrictAddressFamilies=, seccomp), sysfs alone must do. Everything here but Set works without privileges.
//
// Map goes from a leaf's queues to CPUs. The netlink family netdev tells the NAPI of a queue and the interrupt of a NAPI; a
// driver that leaves the interrupt out, and a kernel before 6.8, leave the names of the device's interrupts, which each
// driver makes in its own way (names.go). What neither tells is said to be unmapped and is not guessed at. No decision is made
// by the kernel's version: each question is put, and may be refused.
//
// No function here belongs on the way of a message: a question to the kernel may wait for its rtnl lock, which whoever
// changes interfaces holds, at times for long.
package nic
