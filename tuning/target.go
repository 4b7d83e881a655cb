package tuning

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"edged/nic"
)

// work is one pass over settings: Apply, Revert or a rollback. It keeps the maps of devices that it asked for.
type work struct {
	*Box
	ctx     context.Context
	devices map[string]*NIC // by name; forgotten when channels change, since interrupts get other numbers then
}

func (b *Box) work(ctx context.Context) *work {
	return &work{Box: b, ctx: ctx, devices: map[string]*NIC{}}
}

// target is one setting that can be read and written.
type target struct {
	read  func() (string, error)
	write func(value string) error
}

// target finds a setting. key names the device as it is called now.
func (w *work) target(kind Kind, key string) (target, error) {
	device, rest, _ := strings.Cut(key, "/")
	switch kind {
	case KindSysctl, KindSysfs:
		k := knobOf(key)
		if k == nil || k.want == nil || k.kind() != kind {
			return target{}, fmt.Errorf("%s is no setting that edged changes", key)
		}
		return w.file(k.path()), nil
	case KindQueue:
		if !isQueueFile(rest) {
			return target{}, fmt.Errorf("%s is no setting that edged changes", key)
		}
		return w.file("sys/class/net/" + device + "/" + rest), nil
	case KindIRQ:
		return w.irq(device, strings.TrimPrefix(rest, "irq/"))
	case KindChannels:
		return w.channels(device)
	case KindRings:
		return w.rings(device)
	case KindCoalesce:
		return w.coalesce(device)
	case KindOffload:
		return w.offload(device, strings.TrimPrefix(rest, "offload/"))
	}
	return target{}, fmt.Errorf("%s %s is no setting that edged changes", kind, key)
}

// isQueueFile accepts "queues/rx-0/rps_cpus" and its like alone: keys come from a file, too.
func isQueueFile(rest string) bool {
	parts := strings.Split(rest, "/")
	if len(parts) != 3 || parts[0] != "queues" {
		return false
	}
	direction, number, _ := strings.Cut(parts[1], "-")
	if _, err := strconv.ParseUint(number, 10, 16); err != nil {
		return false
	}
	return direction == "rx" && (parts[2] == "rps_cpus" || parts[2] == "rps_flow_cnt") || direction == "tx" && parts[2] == "xps_cpus"
}

func (w *work) file(path string) target {
	return target{
		read: func() (string, error) {
			content, err := w.disk().Read(path)
			return collapse(content), err
		},
		write: func(value string) error { return w.disk().Write(path, chosen(value)) },
	}
}

// device returns the map of an interface by its name.
func (w *work) device(name string) (*NIC, error) {
	if n := w.devices[name]; n != nil {
		return n, nil
	}
	set, err := w.net().Resolve([]string{name})
	if err != nil {
		return nil, err
	}
	for _, leaf := range set.Leaves {
		if leaf.Name != name {
			continue
		}
		d, err := w.net().Map(w.ctx, leaf)
		if err != nil {
			return nil, err
		}
		w.devices[name] = &NIC{Device: d, Leaf: leaf}
		return w.devices[name], nil
	}
	return nil, &os.PathError{Op: "find", Path: name, Err: syscall.ENODEV}
}

// fresh asks again.
func (w *work) fresh(name string) (*NIC, error) {
	delete(w.devices, name)
	return w.device(name)
}

func (w *work) irq(device, vector string) (target, error) {
	n, err := w.device(device)
	if err != nil {
		return target{}, err
	}
	i := slices.IndexFunc(n.Vectors, func(v nic.Vector) bool { return v.Name == vector })
	if i < 0 {
		return target{}, &os.PathError{Op: "find", Path: vector, Err: syscall.ENODEV}
	}
	return w.file(irqPath(n.Vectors[i].IRQ)), nil
}

// setter is a target of a device that netlink reads and sets.
func (w *work) setter(device string, read func(*NIC) (string, error), write func(n *NIC, value string) error) (target, error) {
	if _, err := w.device(device); err != nil {
		return target{}, err
	}
	return target{
		read: func() (string, error) {
			n, err := w.fresh(device)
			if err != nil {
				return "", err
			}
			return read(n)
		},
		write: func(value string) error {
			n, err := w.device(device)
			if err != nil {
				return err
			}
			return write(n, value)
		},
	}, nil
}

// told fails for a question that the device's driver did not answer.
func told(n *NIC, question string) error {
	if errno := n.Refused[question]; errno != 0 {
		return errno
	}
	return nil
}

func (w *work) channels(device string) (target, error) {
	return w.setter(device,
		func(n *NIC) (string, error) { return countsText(n.Channels.Now), told(n, nic.AskChannels) },
		func(n *NIC, value string) error {
			want := parseCounts(value)
			want.Other = n.Channels.Now.Other
			err := w.net().SetChannels(w.ctx, n.Leaf, want)
			clear(w.devices)
			return err
		})
}

func (w *work) rings(device string) (target, error) {
	return w.setter(device,
		func(n *NIC) (string, error) { return ringsText(n.Rings.RX, n.Rings.TX), told(n, nic.AskRings) },
		func(n *NIC, value string) error {
			c := parseCounts(value) // "rx 4096 tx 512" is written alike
			return w.net().SetRings(w.ctx, n.Leaf, c.RX, c.TX)
		})
}

func (w *work) coalesce(device string) (target, error) {
	return w.setter(device,
		func(n *NIC) (string, error) { return n.Coalesce.String(), told(n, nic.AskCoalesce) },
		func(n *NIC, value string) error {
			return w.net().SetCoalesce(w.ctx, n.Leaf, changedCoalesce(n.Coalesce, value))
		})
}

// changedCoalesce returns the fields of value that differ from now: a driver refuses a request with a field that it does not
// know, and some refuse one that changes nothing. Those that adaption chose last go along when it is switched off.
func changedCoalesce(now nic.Coalesce, value string) nic.Coalesce {
	var want nic.Coalesce
	f := strings.Fields(value)
	for i := 0; i+1 < len(f); i += 2 {
		on, n := f[i+1] == "on", int(number(f[i+1]))
		var field nic.CoalesceField
		differs := false
		switch f[i] {
		case "adaptive-rx":
			field, want.AdaptiveRX, differs = nic.AdaptiveRX, on, on != now.AdaptiveRX
		case "adaptive-tx":
			field, want.AdaptiveTX, differs = nic.AdaptiveTX, on, on != now.AdaptiveTX
		case "rx-usecs":
			field, want.RXUsecs, differs = nic.RXUsecs, n, n != now.RXUsecs
		case "rx-frames":
			field, want.RXFrames, differs = nic.RXFrames, n, n != now.RXFrames
		case "tx-usecs":
			field, want.TXUsecs, differs = nic.TXUsecs, n, n != now.TXUsecs
		case "tx-frames":
			field, want.TXFrames, differs = nic.TXFrames, n, n != now.TXFrames
		}
		if differs {
			want.Has |= field
		}
	}
	return want
}

func (w *work) offload(device, feature string) (target, error) {
	return w.setter(device,
		func(n *NIC) (string, error) {
			for _, f := range n.Features {
				if f.Name == feature {
					return strings.TrimPrefix(f.String(), f.Name+" "), nil
				}
			}
			return "", syscall.EOPNOTSUPP
		},
		func(n *NIC, value string) error { return w.net().SetFeature(w.ctx, n.Leaf, feature, value == "on") })
}

// identify describes a device so that it is found again.
func (w *work) identify(name string) *identity {
	n, err := w.device(name)
	if err != nil {
		return &identity{Name: name}
	}
	return &identity{Name: name, Index: n.Index, Bus: n.Bus}
}

// named returns what a device is called now: by its index while its bus is the same, else by its bus. Empty: it is gone.
func (w *work) named(id *identity) string {
	is := func(name string) (index, bus bool) {
		n, err := strconv.Atoi(w.Box.read("sys/class/net/" + name + "/ifindex"))
		device, _ := filepath.EvalSymlinks(w.path("sys/class/net/" + name + "/device")) // a virtual one has none
		return err == nil && n == id.Index, id.Bus == "" || strings.Contains(device+"/", "/"+id.Bus+"/")
	}
	var found string
	for _, name := range w.disk().List("sys/class/net") {
		index, bus := is(name)
		if index && bus {
			return name
		}
		if bus && id.Bus != "" && found == "" {
			found = name
		}
	}
	return found
}

// key returns a record's key with the device's present name; empty where the device is gone.
func (w *work) key(r *record) string {
	if r.Device == nil {
		return r.Key
	}
	name := w.named(r.Device)
	if name == "" {
		return ""
	}
	return name + strings.TrimPrefix(r.Key, r.Device.Name)
}
