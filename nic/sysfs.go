package nic

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sysfs is where it is mounted. Its files of an interface lie in class/net/NAME.
type sysfs string

func (s sysfs) path(name, file string) string {
	return filepath.Join(string(s), "class", "net", name, file)
}

func (s sysfs) read(name, file string) (string, error) {
	b, err := os.ReadFile(s.path(name, file))
	return strings.TrimSpace(string(b)), err
}

// number reads a file that holds one number, decimal or with 0x in front; 0 where it does not.
func (s sysfs) number(name, file string) int {
	text, err := s.read(name, file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		return 0
	}
	return int(n)
}

// shows says whether this sysfs speaks of l: it may belong to another network namespace, whose names are the same.
func (s sysfs) shows(l *Link) bool {
	if s.number(l.Name, "ifindex") != l.Index {
		return false
	}
	address, err := s.read(l.Name, "address")
	return err == nil && (l.Address == "" || address == l.Address)
}

func (s sysfs) hasDevice(name string) bool {
	_, err := os.Stat(s.path(name, "device"))
	return err == nil
}

// lacksFeature says that an interface's virtio device and its driver have not agreed on a feature, which is a digit of the file.
func (s sysfs) lacksFeature(name string, feature int) bool {
	digits, err := s.read(name, "device/features")
	return err == nil && len(digits) > feature && digits[feature] == '0'
}

// lower returns the names of the interfaces that name stands upon.
func (s sysfs) lower(name string) []string {
	entries, err := os.ReadDir(s.path(name, ""))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if below, ok := strings.CutPrefix(e.Name(), "lower_"); ok {
			names = append(names, below)
		}
	}
	return names
}

// paravirtual drivers tell a speed that is made up or that of the host's port, which its guests share and whose owner sets
// other limits.
var paravirtual = map[string]bool{
	"virtio_net": true, "ena": true, "gve": true, "gvnic": true, "vmxnet3": true, "hv_netvsc": true, "mana": true, "vif": true,
}

// speed returns the link speed in Mbit/s, 0 where it is unknown or means nothing. The kernel fails the read with EINVAL
// where the interface is down or has no such thing, and prints SPEED_UNKNOWN as -1, from some drivers as 4294967295.
func (s sysfs) speed(name string) int {
	n := s.number(name, "speed")
	if n <= 0 || n >= math.MaxInt32 {
		return 0
	}
	if driver, err := os.Readlink(s.path(name, "device/driver")); err == nil && paravirtual[filepath.Base(driver)] {
		return 0
	}
	return n
}

// links lists what sysfs shows, for where netlink is denied. It does not know permanent addresses and further names.
func (s sysfs) links() ([]Link, error) {
	entries, err := os.ReadDir(s.path("", ""))
	if err != nil {
		return nil, err
	}
	var links []Link
	for _, e := range entries {
		if l := s.link(e.Name()); l.Index > 0 { // else a file such as bonding_masters, or it has just gone
			links = append(links, l)
		}
	}
	return links, nil
}

func (s sysfs) link(name string) Link {
	const (
		iffUp       = 1 << 0 // uapi/linux/if.h
		iffLoopback = 1 << 3
	)
	flags := s.number(name, "flags")
	state, _ := s.read(name, "operstate")
	mode, _ := s.read(name, "bonding/mode")
	address, _ := s.read(name, "address")
	l := Link{
		Index:    s.number(name, "ifindex"),
		Name:     name,
		Kind:     s.kind(name),
		Address:  address,
		MTU:      s.number(name, "mtu"),
		Master:   s.number(name, "master/ifindex"),
		Up:       flags&iffUp != 0 && (state == "up" || state == "unknown"),
		Loopback: flags&iffLoopback != 0,
		Device:   s.hasDevice(name),
		Backup:   strings.HasPrefix(mode, "active-backup"),
	}
	return l // Lower: the lower_ links say it, and iflink would be a veth's peer
}

// kind returns DEVTYPE of the uevent file, which few kinds have.
func (s sysfs) kind(name string) string {
	text, _ := s.read(name, "uevent")
	for line := range strings.Lines(text) {
		if kind, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVTYPE="); ok {
			return kind
		}
	}
	return ""
}
