package handover

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrTorn is what CheckFlow's errors wrap: the connection went on without its record.
var ErrTorn = errors.New("torn")

// Flow is how far a TCP connection has come, as the kernel counts it: bytes that were read from it and written to it since it
// was opened.
type Flow struct {
	Read, Written uint64
}

// flowTries bounds the reading of numbers that change while they are read.
const flowTries = 8

// FlowOf asks the kernel for the flow of an accepted TCP connection: what it received (tcpi_bytes_received) but for what waits
// to be read (SIOCINQ), and what was acknowledged (tcpi_bytes_acked) with what was not (SIOCOUTQ). A FIN counts as a byte in
// them (tcp_rcv_nxt_update, tcp_snd_una_update) and is taken out by the state of the connection. One opened by connect counts
// its SYN as written. Another socket than TCP's has no such counters: an error.
func FlowOf(fd int) (Flow, error) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	for range flowTries {
		if err != nil {
			return Flow{}, fmt.Errorf("handover: flow of file %d: %w", fd, os.NewSyscallError("getsockopt", err))
		}
		waiting, err1 := unix.IoctlGetInt(fd, unix.SIOCINQ)
		unacked, err2 := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		if err := errors.Join(err1, err2); err != nil {
			return Flow{}, fmt.Errorf("handover: flow of file %d: %w", fd, err)
		}
		var after *unix.TCPInfo
		after, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil && after.Bytes_received == info.Bytes_received && after.Bytes_acked == info.Bytes_acked && after.State == info.State {
			received, sent := finBytes(info.State)
			return Flow{
				Read:    info.Bytes_received - received - uint64(waiting),
				Written: info.Bytes_acked + uint64(unacked) - sent,
			}, nil
		}
		info = after
	}
	return Flow{}, fmt.Errorf("handover: flow of file %d changes all the time", fd)
}

// finBytes returns what the FINs of either side count for in a state of tcp(7).
func finBytes(state uint8) (received, sent uint64) {
	switch state {
	case unix.BPF_TCP_CLOSE_WAIT:
		return 1, 0
	case unix.BPF_TCP_FIN_WAIT1, unix.BPF_TCP_FIN_WAIT2:
		return 0, 1
	case unix.BPF_TCP_CLOSING, unix.BPF_TCP_LAST_ACK, unix.BPF_TCP_TIME_WAIT, unix.BPF_TCP_CLOSE: // reset ones are closed too
		return 1, 1
	}
	return 0, 0
}

// CheckFlow says whether a connection stands where its record says: read and written are the bytes since it was accepted,
// modulo 2^32. If not, whoever served it died, or was ended, between using the connection and noting it: what was read is
// lost, or what was written would be written again. Such a link can only be closed. The error wraps ErrTorn and has the figures.
func CheckFlow(fd int, read, written uint32) error {
	f, err := FlowOf(fd)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTorn, err)
	}
	if uint32(f.Read) != read || uint32(f.Written) != written {
		return fmt.Errorf("%w: recorded %d read and %d written, the connection has %d and %d",
			ErrTorn, read, written, uint32(f.Read), uint32(f.Written))
	}
	return nil
}
