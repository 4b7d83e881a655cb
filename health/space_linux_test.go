package health_test

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"edged/nic"
)

// The main goroutine keeps the main thread: a test's goroutine on it could not throw it away with its namespace.
func init() { runtime.LockOSThread() }

// patience bounds every wait for what must come.
const patience = 20 * time.Second

// space is a network namespace of a test's own, with nothing in it but a loopback, and with its own /sys. Both belong to a
// thread that ends with the test, and they end with it.
type space struct {
	t    *testing.T
	ns   int // descriptor of the namespace
	work chan func()
}

// newSpace makes one; it skips the test where that is not allowed.
func newSpace(t *testing.T) *space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces are made by root alone")
	}
	s := &space{t: t, work: make(chan func())}
	made, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // for ever: the thread ends with this goroutine
		err := s.unshare()
		made <- err
		if err != nil {
			return
		}
		for f := range s.work {
			f()
		}
	}()
	if err := <-made; errors.Is(err, unix.EPERM) {
		t.Skip("this root may not make namespaces:", err)
	} else if err != nil {
		t.Fatal("make a namespace:", err)
	}
	t.Cleanup(func() {
		close(s.work)
		<-ended
		_ = unix.Close(s.ns)
	})
	s.must("switch IPv6 off", func() error { // it sends packets of its own
		err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
	return s
}

// unshare moves the calling thread into new namespaces.
func (s *space) unshare() error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	var err error
	s.ns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	return os.NewSyscallError("open", err)
}

// do runs f in the namespace and waits for it. f may not end the test.
func (s *space) do(f func()) {
	done := make(chan struct{})
	s.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

// must runs f in the namespace; its error ends the test.
func (s *space) must(what string, f func() error) {
	s.t.Helper()
	var err error
	s.do(func() { err = f() })
	if err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
}

// pair makes a veth pair whose other end is in the other space, both up, with an address and the neighbour's, so that
// nobody has to ask for it.
func (s *space) pair(name string, other *space, peer string) {
	s.t.Helper()
	mac := func(last byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, last} }
	s.must("make "+name, func() error {
		a := netlink.NewLinkAttrs()
		a.Name, a.HardwareAddr = name, mac(1)
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: peer, PeerHardwareAddr: mac(2), PeerNamespace: netlink.NsFd(other.ns)})
	})
	s.configure(name, net.IPv4(10, 99, 0, 1), net.IPv4(10, 99, 0, 2), mac(2))
	other.configure(peer, net.IPv4(10, 99, 0, 2), net.IPv4(10, 99, 0, 1), mac(1))
}

func (s *space) configure(name string, own, other net.IP, mac net.HardwareAddr) {
	s.t.Helper()
	s.must("configure "+name, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: own, Mask: net.CIDRMask(24, 32)}}
		neighbour := &netlink.Neigh{LinkIndex: l.Attrs().Index, IP: other, HardwareAddr: mac, State: netlink.NUD_PERMANENT}
		return errors.Join(netlink.AddrAdd(l, addr), netlink.LinkSetUp(l), netlink.NeighSet(neighbour))
	})
}

// change does something to an interface.
func (s *space) change(name string, f func(netlink.Link) error) {
	s.t.Helper()
	s.must("change "+name, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return f(l)
	})
}

// spaceSource is a box's Source in a namespace: the kernel is asked from the thread that is in it.
type spaceSource struct {
	*nic.Reader
	s *space
}

func newSpaceSource(s *space) spaceSource {
	s.t.Helper()
	source := spaceSource{s: s}
	s.must("open counters", func() (err error) { source.Reader, err = nic.NewReader(); return err })
	return source
}

func (x spaceSource) Resolve(names []string) (set nic.Set, err error) {
	x.s.do(func() { set, err = nic.Resolve(names) })
	return set, err
}

func (x spaceSource) Watch(ctx context.Context, changed func()) (err error) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // for ever
		if err = os.NewSyscallError("setns", unix.Setns(x.s.ns, unix.CLONE_NEWNET)); err == nil {
			err = nic.Watch(ctx, changed)
		}
	}()
	<-ended
	return err
}
