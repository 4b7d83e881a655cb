package netpoll_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"edged/netpoll"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The main goroutine keeps the main thread: a test's goroutine on it could not throw it away with its namespace.
func init() { runtime.LockOSThread() }

// space is a network namespace of a test's own, with its own /sys. Both belong to a thread that ends with the test, and they
// end with it.
type space struct {
	t    testing.TB
	ns   int // descriptor of the namespace
	work chan func()
}

// newSpace makes one; it skips the test where that is not allowed.
func newSpace(t testing.TB) *space {
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

// line is a veth pair of several queues between two spaces. What the client's end sends by its queue q comes in by the
// server's queue q.
type line struct {
	server, client *space
	queues         int
	by             int // queue that the client's end sends by, -1 for any
}

const (
	serverEnd, clientEnd = "srv0", "cli0"
	serverIP, clientIP   = "10.97.0.1", "10.97.0.2"
	serverIP6, clientIP6 = "fd97::1", "fd97::2"
)

func newLine(t testing.TB, queues int) *line {
	t.Helper()
	x := &line{newSpace(t), newSpace(t), queues, -1}
	x.client.must("make a veth pair", func() error {
		a := netlink.NewLinkAttrs()
		a.Name, a.NumTxQueues, a.NumRxQueues = clientEnd, queues, queues
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: a, PeerName: serverEnd, PeerNamespace: netlink.NsFd(x.server.ns),
			PeerNumTxQueues: uint32(queues), PeerNumRxQueues: uint32(queues),
		})
	})
	x.server.configure(serverEnd, serverIP+"/24", serverIP6+"/64")
	x.client.configure(clientEnd, clientIP+"/24", clientIP6+"/64")
	return x
}

// configure sets an interface up with its addresses.
func (s *space) configure(name string, addresses ...string) {
	s.t.Helper()
	s.must("configure "+name, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		for _, a := range addresses {
			addr, err := netlink.ParseAddr(a)
			if err != nil {
				return err
			}
			if addr.IP.To4() == nil {
				addr.Flags = unix.IFA_F_NODAD // the address may be used at once
			}
			if err := netlink.AddrAdd(l, addr); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(l)
	})
}

// sendBy has the client's end send all that it sends from now on by one queue.
func (x *line) sendBy(queue int) {
	x.client.t.Helper()
	if queue == x.by {
		return
	}
	x.by = queue
	x.client.must("choose a queue", func() error {
		for q := range x.queues {
			cpus := "0"
			if q == queue {
				cpus = fmt.Sprintf("%x", 1<<runtime.NumCPU()-1)
			}
			if err := os.WriteFile(fmt.Sprintf("/sys/class/net/%s/queues/tx-%d/xps_cpus", clientEnd, q), []byte(cpus), 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// come connects from the client's end.
func (x *line) come(to netip.AddrPort, queue, cpu int) {
	x.client.t.Helper()
	x.sendBy(queue)
	x.client.must("connect to "+to.String(), func() (err error) {
		onCPU(cpu, func() { _, err = x.connect(to) })
		return err
	})
}

// connect opens a connection that stays open until the end of the test.
func (x *line) connect(to netip.AddrPort) (fd int, err error) {
	family, at := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(to.Port()), Addr: [4]byte(to.Addr().AsSlice())})
	if to.Addr().Is6() {
		family, at = unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	}
	if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, err
	}
	x.client.t.Cleanup(func() { _ = unix.Close(fd) })
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: int64(limit / time.Second)})
	return fd, unix.Connect(fd, at)
}

func (x *line) end() (*space, string) { return x.server, serverIP }

// passed returns n sockets of one address that listen already, as a supervisor opens and passes them: a SO_REUSEPORT group, if
// they are more than one.
func (s *space) passed(ip string, n int) (fds []int, addr netip.AddrPort) {
	s.t.Helper()
	s.must("listen", func() error {
		at := &unix.SockaddrInet4{Addr: netip.MustParseAddr(ip).As4()}
		for range n {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			fds = append(fds, fd)
			if n > 1 {
				if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
					return err
				}
			}
			if err := errors.Join(unix.Bind(fd, at), unix.Listen(fd, 1024)); err != nil {
				return err
			}
			bound, err := unix.Getsockname(fd)
			if err != nil {
				return err
			}
			at.Port = bound.(*unix.SockaddrInet4).Port
		}
		addr = netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port))
		return nil
	})
	return fds, addr
}

// listenIn opens a listener of the group in a namespace.
func listenIn(s *space, g *netpoll.Group, address string) netip.AddrPort {
	s.t.Helper()
	var addr net.Addr
	s.must("listen at "+address, func() (err error) { _, addr, err = g.Listen("tcp", address); return err })
	return addr.(*net.TCPAddr).AddrPort()
}

// byNAPI is a map in which the queues of the server's end are known by their NAPI alone.
func (x *line) byNAPI(base int) netpoll.SteerMap {
	x.server.t.Helper()
	m := queues(x.queues, base)
	for q, id := range x.napis() {
		m.Queues[q].NAPI = id
	}
	return m
}

// napis gives each queue of the server's end a NAPI and returns what SO_INCOMING_NAPI_ID says of connections by it.
func (x *line) napis() (ids []uint32) {
	t := x.server.t
	t.Helper()
	x.server.must("switch GRO on", func() error { return ethtoolSet(serverEnd, unix.ETHTOOL_SGRO, 1) })
	// A veth leaves its NAPI out for packets that a sender with TSO has made large (veth_skb_is_eligible_for_gro).
	x.client.must("switch TSO off", func() error { return ethtoolSet(clientEnd, unix.ETHTOOL_STSO, 0) })
	fds, addr := x.server.passed(serverIP, 1)
	defer unix.Close(fds[0])
	for q := range x.queues {
		x.come(addr, q, -1)
		c, _, err := unix.Accept4(fds[0], unix.SOCK_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		id, err := unix.GetsockoptInt(c, unix.SOL_SOCKET, unix.SO_INCOMING_NAPI_ID)
		_ = unix.Close(c)
		if err != nil || id == 0 {
			t.Skipf("this kernel tells no NAPI of a veth: %d, %v", id, err)
		}
		ids = append(ids, uint32(id))
	}
	return ids
}

// ethtoolSet is an ethtool call that takes one number (struct ethtool_value).
func ethtoolSet(name string, command, value uint32) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	v := [2]uint32{command, value}
	var req struct {
		name [unix.IFNAMSIZ]byte
		data *[2]uint32
		_    [16]byte
	}
	copy(req.name[:], name)
	req.data = &v
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); e != 0 {
		return os.NewSyscallError("ioctl", e)
	}
	return nil
}

// onCPU runs f on a CPU, below 0 on any. The calling goroutine holds its thread.
func onCPU(cpu int, f func()) {
	var before, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); cpu >= 0 && err == nil {
		set.Set(cpu)
		_ = unix.SchedSetaffinity(0, &set)
		defer func() { _ = unix.SchedSetaffinity(0, &before) }()
	}
	f()
}

// twoCPUs returns two CPUs that this process may use; it skips the test where there are none.
func twoCPUs(t testing.TB) (a, b int) {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	var cpus []int
	for cpu := 0; len(cpus) < 2 && cpu < runtime.NumCPU()*64; cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	if len(cpus) < 2 {
		t.Skip("this needs two CPUs")
	}
	return cpus[0], cpus[1]
}
