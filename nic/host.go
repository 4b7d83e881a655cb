package nic

// Host is the box as this package sees it. The zero Host is the one it runs on; tests replace its parts.
type Host struct {
	Sys    string // where sysfs is mounted; empty: /sys
	Proc   string // where procfs is mounted; empty: /proc
	Kernel Kernel // nil: rtnetlink, in the network namespace of the calling thread
	Driver Driver // nil: generic netlink and ioctl, in the network namespace of the calling thread
}

// Kernel tells of the interfaces of one network namespace.
type Kernel interface {
	// Links returns all interfaces.
	Links() ([]Link, error)
	// DefaultRoutes returns the indexes of the interfaces of the best default route of each address family.
	DefaultRoutes() ([]int, error)
}

// Link is an interface as the kernel describes it.
type Link struct {
	Index    int
	Name     string
	AltNames []string
	Kind     string // of a virtual one: "vlan", "veth"; may be empty
	Address  string // hardware address
	Perm     string // permanent hardware address; empty: not told
	MTU      int
	Lower    int  // index of the interface it was made upon, in this namespace; 0: none
	Master   int  // index of the bond, bridge or the like that it is a member of; 0: none
	Up       bool // see Leaf
	Loopback bool
	Device   bool // there is a device behind it, as far as Links can tell
	Backup   bool // a bond of which one member at a time carries traffic
}

// Resolve returns the leaves that names stand for on this box; see Host.Resolve.
func Resolve(names []string) (Set, error) { return Host{}.Resolve(names) }

// NewReader returns a Reader of this box; see Host.NewReader.
func NewReader() (*Reader, error) { return Host{}.NewReader() }

func (h Host) sys() sysfs {
	if h.Sys == "" {
		return "/sys"
	}
	return sysfs(h.Sys)
}

func (h Host) proc() string {
	if h.Proc == "" {
		return "/proc"
	}
	return h.Proc
}

func (h Host) driver() Driver {
	if h.Driver == nil {
		return kernelDriver{}
	}
	return h.Driver
}

// links asks rtnetlink, and sysfs where that is denied or does not answer.
func (h Host) links() ([]Link, error) {
	k := h.Kernel
	if k == nil {
		k = rtnetlink{}
	}
	links, err := k.Links()
	if err == nil {
		return links, nil
	}
	if links, sysErr := h.sys().links(); sysErr == nil && len(links) > 0 {
		return links, nil
	}
	return nil, err
}

func (h Host) defaultRoutes() ([]int, error) {
	if h.Kernel == nil {
		return rtnetlink{}.DefaultRoutes()
	}
	return h.Kernel.DefaultRoutes()
}
