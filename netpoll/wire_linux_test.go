package netpoll_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// wire is a network interface of several queues whose packets a test puts in by hand (a TUN device): as with hardware, the
// kernel notes queue + 1 on a packet, and works on it on the CPU that put it in.
type wire struct {
	*space
	queues []int // descriptors
	port   uint16
}

const (
	wireIP   = "10.98.0.1"
	wirePeer = "10.98.0.2"
)

func newWire(t testing.TB, queues int) *wire {
	t.Helper()
	w := &wire{space: newSpace(t), port: 10000}
	var err error
	w.do(func() { err = w.open(queues) })
	t.Cleanup(func() {
		for _, fd := range w.queues {
			_ = unix.Close(fd)
		}
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		t.Skip("this kernel has no TUN: ", err)
	} else if err != nil {
		t.Fatal("make a TUN device: ", err)
	}
	w.configure("wire0", wireIP+"/24")
	return w
}

// open makes the device in the namespace of the calling thread.
func (w *wire) open(queues int) error {
	for range queues {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		w.queues = append(w.queues, fd)
		req, err := unix.NewIfreq("wire0")
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_MULTI_QUEUE)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			return err
		}
	}
	return nil
}

const (
	tcpSYN = 0x02
	tcpACK = 0x10
)

// connect shakes hands with the listener: the SYN comes in by a queue on one CPU, the ACK that makes it a connection on
// another. A CPU below 0 is any.
func (w *wire) connect(to netip.AddrPort, queue, synCPU, ackCPU int) {
	w.t.Helper()
	w.port++
	port := w.port
	w.must("shake hands", func() error {
		const own = 1000
		if err := w.put(queue, synCPU, segment(port, to.Port(), own, 0, tcpSYN)); err != nil {
			return err
		}
		theirs, err := w.answer(port)
		if err != nil {
			return err
		}
		return w.put(queue, ackCPU, segment(port, to.Port(), own+1, theirs+1, tcpACK))
	})
}

func (w *wire) come(to netip.AddrPort, queue, cpu int) { w.connect(to, queue, cpu, cpu) }

func (w *wire) end() (*space, string) { return w.space, wireIP }

// put has a packet come in. The kernel is done with it when this returns.
func (w *wire) put(queue, cpu int, packet []byte) (err error) {
	onCPU(cpu, func() { _, err = unix.Write(w.queues[queue], packet) })
	return err
}

// answer returns the sequence number of the SYN-ACK to a port.
func (w *wire) answer(port uint16) (uint32, error) {
	var packet [2048]byte
	for _, fd := range w.queues {
		for {
			n, err := unix.Read(fd, packet[:])
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				return 0, err
			}
			tcp := packet[20:max(n, 40)]
			if packet[0] == 0x45 && packet[9] == unix.IPPROTO_TCP && binary.BigEndian.Uint16(tcp[2:]) == port && tcp[13] == tcpSYN|tcpACK {
				return binary.BigEndian.Uint32(tcp[4:]), nil
			}
		}
	}
	return 0, errors.New("no answer to a SYN")
}

// segment returns a TCP segment without data, in its IP packet.
func segment(from, to uint16, seq, ack uint32, flags byte) []byte {
	p := make([]byte, 40)
	ip, tcp := p[:20], p[20:]
	ip[0], ip[3], ip[8], ip[9] = 0x45, 40, 64, unix.IPPROTO_TCP
	copy(ip[12:], netip.MustParseAddr(wirePeer).AsSlice())
	copy(ip[16:], netip.MustParseAddr(wireIP).AsSlice())
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	binary.BigEndian.PutUint16(tcp, from)
	binary.BigEndian.PutUint16(tcp[2:], to)
	binary.BigEndian.PutUint32(tcp[4:], seq)
	binary.BigEndian.PutUint32(tcp[8:], ack)
	tcp[12], tcp[13] = 5<<4, flags
	binary.BigEndian.PutUint16(tcp[14:], 65535)
	pseudo := append(append([]byte{}, ip[12:20]...), 0, unix.IPPROTO_TCP, 0, 20)
	binary.BigEndian.PutUint16(tcp[16:], checksum(append(pseudo, tcp...)))
	return p
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
