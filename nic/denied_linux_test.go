package nic_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"edged/nic"
)

// resigned runs f on a thread of its own after giveUp, whose effect ends with the thread.
func resigned(t *testing.T, giveUp, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with this goroutine
		err := giveUp()
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; errors.Is(err, errSkip) {
		t.Skip(err)
	} else if err != nil {
		t.Error(err)
	}
}

var errSkip = errors.New("cannot be tried here")

// beNobody makes the calling thread alone an unprivileged user's.
func beNobody() error {
	const nobody = 65534
	for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
		if _, _, e := unix.RawSyscall(call, nobody, nobody, nobody); e != 0 {
			return errors.Join(errSkip, e)
		}
	}
	return nil
}

// readEverything resolves and reads as a gateway would.
func readEverything(source string) error {
	set, err := nic.Resolve([]string{"auto", "none"})
	if err != nil {
		return err
	}
	if len(set.Missing) != 1 {
		return errors.New("a name that does not exist was found")
	}
	r, err := nic.NewReader()
	if err != nil {
		return err
	}
	if r.Source() != source {
		return errors.New("source is " + r.Source())
	}
	leaves := append(set.Leaves, nic.Leaf{Index: 1, Name: "lo"})
	for _, l := range leaves {
		if _, err := r.Read(l.Index, l.Name); err != nil {
			return err
		}
	}
	if _, err := r.Read(1<<30, "none"); err != nic.ErrGone {
		return errors.New("an interface that does not exist was read")
	}
	return r.Close()
}

func TestUnprivileged(t *testing.T) {
	resigned(t, beNobody, func() error { return readEverything("RTM_GETSTATS") })
}

// TestNetlinkDenied has netlink sockets refused as systemd's RestrictAddressFamilies= does it.
func TestNetlinkDenied(t *testing.T) {
	resigned(t, denyNetlink, func() error { return readEverything("sysfs") })
}

// TestNothingAtAll has neither netlink nor sysfs.
func TestNothingAtAll(t *testing.T) {
	resigned(t, denyNetlink, func() error {
		_, err := nic.Host{Sys: t.TempDir()}.NewReader()
		if !errors.Is(err, unix.EAFNOSUPPORT) || !strings.Contains(err.Error(), "rtnetlink") {
			return errors.Join(errors.New("not the wanted error"), err)
		}
		if set, err := (nic.Host{Sys: t.TempDir()}).Resolve(nil); !errors.Is(err, unix.EAFNOSUPPORT) {
			t.Errorf("resolved %+v, %v", set, err)
		}
		if err := nic.Watch(t.Context(), func() { t.Error("a change") }); !errors.Is(err, unix.EAFNOSUPPORT) {
			t.Errorf("watched: %v", err)
		}
		return nil
	})
}

// denyNetlink lets socket(AF_NETLINK) fail with EAFNOSUPPORT on the calling thread alone.
func denyNetlink() error {
	const (
		nrAt, arg0At = 0, 16 // offsets in struct seccomp_data; the low half of the argument on little-endian machines
		load         = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal        = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		give         = unix.BPF_RET | unix.BPF_K
		allow        = 0x7fff0000 // SECCOMP_RET_ALLOW
		fail         = 0x00050000 // SECCOMP_RET_ERRNO
	)
	filter := []unix.SockFilter{
		{Code: load, K: nrAt},
		{Code: equal, K: unix.SYS_SOCKET, Jf: 3},
		{Code: load, K: arg0At},
		{Code: equal, K: unix.AF_NETLINK, Jf: 1},
		{Code: give, K: fail | uint32(unix.EAFNOSUPPORT)},
		{Code: give, K: allow},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return errors.Join(errSkip, err)
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
	runtime.KeepAlive(filter)
	if err != nil {
		return errors.Join(errSkip, err)
	}
	return nil
}
