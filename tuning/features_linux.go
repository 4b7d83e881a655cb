package tuning

import (
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// epiocgparams is EPIOCGPARAMS of uapi/linux/eventpoll.h; its struct epoll_params has the 8 bytes of an int.
const epiocgparams = 0x80088a02

// probeFeatures tries what this kernel can. Nothing of it stays.
func probeFeatures() Features {
	_, err := netlink.GenlFamilyGet("netdev")
	return Features{ReuseportBPF: hasReuseportBPF(), EpollParams: hasEpollParams(), NetdevGenl: err == nil}
}

// hasReuseportBPF attaches a program that chooses the first socket of a group of one.
func hasReuseportBPF() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) != nil {
		return false
	}
	first := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &unix.SockFprog{Len: 1, Filter: &first}) == nil
}

// hasEpollParams asks an epoll for its parameters: ENOTTY where there are none.
func hasEpollParams() bool {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	_, err = unix.IoctlGetInt(fd, epiocgparams)
	return err == nil
}
