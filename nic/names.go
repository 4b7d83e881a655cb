package nic

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// naming is how a driver calls the interrupts of its queues. Names are those of request_irq, cut by nobody.
type naming struct {
	name   *regexp.Regexp // its group is the number of the queue
	rx, tx bool           // whose
	owner  bool           // the interface's name is part of it; drivers write it when the interface is set up, and keep it
	spare  bool           // vectors of channels that are not in use have such names too; the numbers begin with 0
}

// namings has the drivers' customs, the special before the general. Where two of one device fit, the first does. mlx4 is not
// among them: its names have numbers, but it chooses a queue's vector by port and NUMA node (mlx4_en_activate_cq).
var namings = []naming{
	{name: regexp.MustCompile(`^virtio\d+-input\.(\d+)$`), rx: true, spare: true},
	{name: regexp.MustCompile(`^virtio\d+-output\.(\d+)$`), tx: true, spare: true},
	{name: regexp.MustCompile(`^mlx5_comp(\d+)@`), rx: true, tx: true, spare: true},
	{name: regexp.MustCompile(`^mana_q(\d+)@`), rx: true, tx: true, spare: true},
	// ena; ixgbe, i40e, ice, igb, igc, bnxt, idpf; tg3; nfp, vmxnet3; bnx2x, qede
	{name: regexp.MustCompile(`-(?:Tx-Rx|TxRx|txrx|rxtx|fp)-(\d+)$`), rx: true, tx: true, owner: true},
	{name: regexp.MustCompile(`-[Rr]x-(\d+)$`), rx: true, owner: true}, // those of them that part RX from TX
	{name: regexp.MustCompile(`-[Tt]x-(\d+)$`), tx: true, owner: true},
	{name: regexp.MustCompile(`-q(\d+)-rx$`), rx: true, owner: true}, // xen-netfront
	{name: regexp.MustCompile(`-q(\d+)-tx$`), tx: true, owner: true},
}

// director is the interrupt of i40e's flow director, whose name differs from a data queue's in these letters alone.
const director = "fdir-TxRx-"

// halves are the interrupts of gve: the first half serves TX queues, the second RX queues (gve_rx_idx_to_ntfy).
var halves = regexp.MustCompile(`(?:^gve-ntfy-blk(\d+)@|-ntfy-block\.(\d+)$)`)

// owner is whose interrupts are looked at.
type owner struct {
	name    string // of the interface
	virtio  string // of its virtio device: "virtio2"; empty: none
	sharers int    // interfaces of the same PCI function; 1: none but this
	rx, tx  int    // queues
}

// claim is which vector serves each queue: indexes into the vectors, -1 where none does.
type claim struct {
	rx, tx []int
	why    string // where not all RX queues have one; empty: they have
}

// assign finds the queues of vectors by their names.
func (o owner) assign(vectors []Vector) claim {
	rx, tx := o.collect(vectors)
	c := claim{rx: rx.settle(o.rx), tx: tx.settle(o.tx)}
	one := o.single(vectors)
	switch {
	case c.rx != nil:
	case len(rx.vector) == 0 && one >= 0:
		c = claim{rx: all(o.rx, one), tx: all(o.tx, one)}
	case len(vectors) == 0:
		c.why = "has no interrupts that can be found"
	case len(rx.vector) == 0:
		c.why = fmt.Sprintf("has %d interrupts, and their names do not tell the queues", len(vectors))
	default:
		c.why = fmt.Sprintf("has %d RX queues, and the names of its interrupts do not tell each its own", o.rx)
	}
	if c.rx == nil {
		c.rx = all(o.rx, -1)
	}
	if c.tx == nil {
		c.tx = all(o.tx, -1)
	}
	return c
}

// numbered are vectors by the number in their name; -1 where two vectors have the same.
type numbered struct {
	vector map[int]int
	spare  bool
}

func (n *numbered) put(number, vector int) {
	if n.vector == nil {
		n.vector = map[int]int{}
	}
	if _, twice := n.vector[number]; twice {
		vector = -1
	}
	n.vector[number] = vector
}

// settle returns the vector of each of queues, nil where the numbers are not theirs. Fewer numbers than queues is a device
// where several queues share a vector, in an order that only the driver knows. Some drivers count from 1 (tg3, idpf); to be
// sure of that, there must be as many numbers as queues: else number 0 may be missing for another reason.
func (n *numbered) settle(queues int) []int {
	base := 0
	if _, ok := n.vector[0]; !ok {
		if n.spare || len(n.vector) != queues {
			return nil
		}
		base = 1
	}
	vectors := make([]int, queues)
	for q := range queues {
		i, ok := n.vector[base+q]
		if !ok || i < 0 {
			return nil
		}
		vectors[q] = i
	}
	return vectors
}

// collect finds the numbers of RX and of TX queues in the names of vectors.
func (o owner) collect(vectors []Vector) (rx, tx numbered) {
	var half numbered
	for i, v := range vectors {
		for name := range strings.SplitSeq(v.Name, ",") { // several handlers share an interrupt
			if number, n, ok := o.read(name); ok {
				if n.rx {
					rx.put(number, i)
					rx.spare = rx.spare || n.spare
				}
				if n.tx {
					tx.put(number, i)
					tx.spare = tx.spare || n.spare
				}
			}
			if m := halves.FindStringSubmatch(name); m != nil {
				if number, err := strconv.Atoi(m[1] + m[2]); err == nil {
					half.put(number, i)
				}
			}
		}
	}
	for number, i := range half.vector {
		rx.spare, tx.spare = true, true
		if number < len(half.vector)/2 {
			tx.put(number, i)
		} else {
			rx.put(number-len(half.vector)/2, i)
		}
	}
	return rx, tx
}

// read returns the number of the queue in the name of an interrupt.
func (o owner) read(name string) (number int, n naming, ok bool) {
	if strings.Contains(name, director) {
		return 0, n, false
	}
	for _, n := range namings {
		m := n.name.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		number, err := strconv.Atoi(m[1])
		return number, n, err == nil && o.owns(name, n)
	}
	return 0, n, false
}

// owns says whether an interrupt with such a name can be this interface's, as one of several of the same function.
func (o owner) owns(name string, n naming) bool {
	switch {
	case strings.HasPrefix(name, "virtio"):
		device, _, _ := strings.Cut(name, "-")
		return device == o.virtio
	case n.owner && o.sharers > 1:
		return name == o.name || strings.HasPrefix(name, o.name+"-") || strings.Contains(name, "-"+o.name+"-")
	}
	return true
}

// single returns the one vector that serves all queues, -1 where there is none: a device without MSI-X names its interrupt
// after itself, and virtio that got too few vectors has one called virtqueues.
func (o owner) single(vectors []Vector) int {
	for i, v := range vectors {
		for name := range strings.SplitSeq(v.Name, ",") {
			switch {
			case o.virtio != "" && (name == o.virtio || name == o.virtio+"-virtqueues"):
				return i
			case o.virtio == "" && o.rx == 1 && len(vectors) == 1 && name == o.name:
				return i
			}
		}
	}
	return -1
}

// all returns n queues with the same vector.
func all(n, i int) []int {
	vectors := make([]int, n)
	for q := range vectors {
		vectors[q] = i
	}
	return vectors
}
