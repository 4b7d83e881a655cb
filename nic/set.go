package nic

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// SetError says that the kernel did not take a setting. errors.Is finds its Errno.
type SetError struct {
	What   string        // "channels of eth0"
	Want   string        // the value, as it was written
	Errno  syscall.Errno // 0: it was taken, and reads back as Got
	Detail string        // the kernel's own words; mostly empty
	Got    string
}

// Error implements error.
func (e *SetError) Error() string {
	switch {
	case e.Errno == 0:
		return e.What + ": wrote " + e.Want + ", reads back " + e.Got
	case e.Detail != "":
		return e.What + ": write " + e.Want + ": " + e.Errno.Error() + " (" + e.Detail + ")"
	}
	return e.What + ": write " + e.Want + ": " + e.Errno.Error()
}

// Unwrap returns Errno, nil where it is 0.
func (e *SetError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// SetChannels changes the numbers of a device's channels; those of which Max is 0 stay. It resets the device, which may send
// and receive nothing for a second, and gives it other interrupts: Map again. The error is a *SetError, as of all that follow.
func (h Host) SetChannels(ctx context.Context, leaf Leaf, want Counts) error {
	return h.driver().SetChannels(ctx, leaf, want)
}

// SetRings changes the number of descriptors of each queue, where it is not 0. It resets most devices, as SetChannels does.
func (h Host) SetRings(ctx context.Context, leaf Leaf, rx, tx int) error {
	return h.driver().SetRings(ctx, leaf, rx, tx)
}

// SetCoalesce changes the fields in want.Has.
func (h Host) SetCoalesce(ctx context.Context, leaf Leaf, want Coalesce) error {
	return h.driver().SetCoalesce(ctx, leaf, want)
}

// SetFeature turns an offload on or off.
func (h Host) SetFeature(ctx context.Context, leaf Leaf, name string, on bool) error {
	return h.driver().SetFeature(ctx, leaf, name, on)
}

// SetAffinity says which CPUs may handle an interrupt; the kernel chooses among them, and mostly takes one. EIO: this one cannot
// be moved.
func (h Host) SetAffinity(irq int, cpus []int) error {
	path := filepath.Join(h.proc(), "irq", strconv.Itoa(irq), "smp_affinity_list")
	return setCPUs("affinity of interrupt "+strconv.Itoa(irq), path, cpus, FormatCPUs, ParseCPUs)
}

// SetRPS gives the packets of an RX queue to other CPUs; none turns it off.
func (h Host) SetRPS(leaf Leaf, queue int, cpus []int) error {
	return h.setQueue("RPS", leaf, queueFile("rx", queue, "rps_cpus"), func(what, path string) error {
		return setCPUs(what, path, cpus, FormatMask, ParseMask)
	})
}

// SetFlows sets how many flows the RFS table of an RX queue holds; 0 turns it off. The kernel rounds up to a power of two.
func (h Host) SetFlows(leaf Leaf, queue, flows int) error {
	return h.setQueue("RFS", leaf, queueFile("rx", queue, "rps_flow_cnt"), func(what, path string) error {
		_, err := setFile(what, path, strconv.Itoa(flows))
		return err
	})
}

// SetXPS says which CPUs send through a TX queue; none turns it off.
func (h Host) SetXPS(leaf Leaf, queue int, cpus []int) error {
	return h.setQueue("XPS", leaf, queueFile("tx", queue, "xps_cpus"), func(what, path string) error {
		return setCPUs(what, path, cpus, FormatMask, ParseMask)
	})
}

// queueFile returns a file of a queue, named from the interface's directory.
func queueFile(way string, queue int, file string) string {
	return "queues/" + way + "-" + strconv.Itoa(queue) + "/" + file
}

// setQueue has write change a file of leaf, where sysfs speaks of it and not of another interface of the same name.
func (h Host) setQueue(kind string, leaf Leaf, file string, write func(what, path string) error) error {
	what := kind + " of " + leaf.Name + " " + file
	if sys := h.sys(); plain(leaf.Name) && sys.number(leaf.Name, "ifindex") == leaf.Index {
		return write(what, sys.path(leaf.Name, file))
	}
	return &SetError{What: what, Errno: syscall.ENODEV}
}

// setCPUs writes CPUs in the form of the file and reads them back.
func setCPUs(what, path string, cpus []int, format func([]int) string, parse func(string) ([]int, error)) error {
	want := format(cpus)
	text, err := setFile(what, path, want)
	if err != nil {
		return err
	}
	if got, err := parse(text); err != nil || format(got) != want {
		return &SetError{What: what, Want: want, Got: text}
	}
	return nil
}

// setFile writes text to a file of the kernel and returns what it reads back.
func setFile(what, path, text string) (string, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0) // never made: a file of the kernel is there or it is not
	if err == nil {
		_, err = f.WriteString(text + "\n")
		err = errors.Join(err, f.Close())
	}
	var got []byte
	if err == nil {
		got, err = os.ReadFile(path)
	}
	if err != nil {
		return "", &SetError{What: what, Want: text, Errno: errnoOf(err)}
	}
	return strings.TrimSpace(string(got)), nil
}
