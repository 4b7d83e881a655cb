package nic_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The main goroutine keeps the main thread: a test's goroutine on it could not throw it away with its namespace.
func init() { runtime.LockOSThread() }

// patience bounds every wait for what must come.
const patience = 10 * time.Second

// space is a network namespace of a test's own, with nothing in it but a loopback, and with its own /sys. Both belong to
// threads that end with the test, and they end with these.
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
		for err == nil {
			f, ok := <-s.work
			if !ok {
				break
			}
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
	s.quiet()
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

// quiet keeps IPv6 from sending packets of its own.
func (s *space) quiet() {
	s.do(func() {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			s.t.Error(err)
		}
	})
}

// do runs f in the namespace and waits for it. f may not end the test: must and check do that afterwards.
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

// beside runs f in the namespace on a thread of its own, and returns what closes when it has ended.
func (s *space) beside(f func()) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // for ever
		if err := unix.Setns(s.ns, unix.CLONE_NEWNET); err != nil {
			s.t.Error("setns:", err)
			return
		}
		f()
	}()
	return ended
}

// add makes an interface; one whose kind this kernel does not have skips the test.
func (s *space) add(l netlink.Link) {
	s.t.Helper()
	var err error
	s.do(func() { err = netlink.LinkAdd(l) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTSUP) {
		s.t.Skipf("this kernel has no %s", l.Type())
	}
	if err != nil {
		s.t.Fatalf("add %s %s: %v", l.Type(), l.Attrs().Name, err)
	}
}

func named(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

// veth makes a pair.
func (s *space) veth(name, peer string) {
	s.t.Helper()
	s.add(&netlink.Veth{LinkAttrs: named(name), PeerName: peer})
}

// on returns attributes of an interface that stands on another one.
func (s *space) on(name, lower string) netlink.LinkAttrs {
	s.t.Helper()
	a := named(name)
	a.ParentIndex = s.link(lower).Attrs().Index
	return a
}

func (s *space) link(name string) (l netlink.Link) {
	s.t.Helper()
	s.must("find "+name, func() (err error) { l, err = netlink.LinkByName(name); return err })
	return l
}

func (s *space) index(name string) int {
	s.t.Helper()
	return s.link(name).Attrs().Index
}

func (s *space) up(names ...string) {
	s.t.Helper()
	for _, name := range names {
		l := s.link(name)
		s.must("set up "+name, func() error { return netlink.LinkSetUp(l) })
	}
}

// settle waits until interfaces that were set up can send: the kernel works on that behind the caller's back.
func (s *space) settle(names ...string) {
	s.t.Helper()
	for _, name := range names {
		s.await(name+" is up", func() bool { return s.link(name).Attrs().OperState == netlink.OperUp })
	}
}

// await polls what the kernel gives no other notice of.
func (s *space) await(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func (s *space) down(name string) {
	s.t.Helper()
	l := s.link(name)
	s.must("set down "+name, func() error { return netlink.LinkSetDown(l) })
}

func (s *space) del(name string) {
	s.t.Helper()
	l := s.link(name)
	s.must("delete "+name, func() error { return netlink.LinkDel(l) })
}

func (s *space) enslave(master string, names ...string) {
	s.t.Helper()
	m := s.link(master)
	for _, name := range names {
		l := s.link(name)
		s.must("enslave "+name, func() error { return netlink.LinkSetMaster(l, m) })
	}
}

// sendFrames puts n frames of size bytes, Ethernet header included, onto an interface.
func (s *space) sendFrames(name string, n, size int) {
	s.t.Helper()
	const etherType = 0x88B5 // IEEE 802: for local experiments; nobody answers
	frame := make([]byte, size)
	copy(frame, bytes.Repeat([]byte{0xff}, 6))
	copy(frame[6:], net.HardwareAddr{2, 0, 0, 0, 0, 1})
	frame[12], frame[13] = etherType>>8, etherType&0xff
	index := s.index(name)
	s.settle(name)
	s.must("send on "+name, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // protocol 0: receives nothing
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for range n {
			if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *space) rename(name, to string) {
	s.t.Helper()
	l := s.link(name)
	s.must("rename "+name, func() error { return netlink.LinkSetName(l, to) })
}
