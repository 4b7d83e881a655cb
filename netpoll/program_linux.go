package netpoll

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// What a classic BPF program may ask about a packet (SKF_AD_… of linux/filter.h).
const (
	askBase   = 0xfffff000 // SKF_AD_OFF
	askQueue  = askBase + 24
	askCPU    = askBase + 36
	askRandom = askBase + 56
)

// noLoop is an index beyond every group: the kernel then takes the hash (reuseport_select_sock in net/core/sock_reuseport.c).
const noLoop = -1

// program is a classic BPF program that chooses a socket of a SO_REUSEPORT group by its index, which is the order in which the
// sockets began to listen.
type program []unix.SockFilter

// newProgram sends a packet's connection to the socket of its queue's loop, else of its CPU's, else where the hash says. index
// has the index of each loop's socket, -1 where it has none.
func newProgram(mode Steer, base int, r *routes, index []int) program {
	var p program
	if mode == SteerQueue {
		p.load(askQueue)
		for _, q := range slices.Sorted(maps.Keys(r.queue)) {
			if i := index[r.queue[q]]; i >= 0 {
				p.when(q+base, program{ret(i)})
			}
		}
	}
	p.load(askCPU)
	for _, cpu := range slices.Sorted(maps.Keys(r.cpu)) {
		var to []int
		for _, loop := range r.cpu[cpu] {
			if i := index[loop]; i >= 0 {
				to = append(to, i)
			}
		}
		if len(to) != 0 {
			p.when(cpu, anyOf(to))
		}
	}
	return append(p, ret(noLoop))
}

func (p *program) load(what uint32) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: what})
}

// when does body if what was loaded last is v; it must end by ret.
func (p *program) when(v int, body program) {
	*p = append(*p,
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: uint32(v)},
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(body))})
	*p = append(*p, body...)
}

// anyOf spreads over several loops of one CPU.
func anyOf(to []int) (p program) {
	if len(to) == 1 {
		return program{ret(to[0])}
	}
	p.load(askRandom)
	p = append(p, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: uint32(len(to))})
	for k, i := range to[1:] {
		p.when(k, program{ret(i)})
	}
	return append(p, ret(to[0]))
}

func ret(index int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(index)}
}

// attach gives the program to the group that fd is of. ENOMEM: it is longer than net.core.optmem_max allows.
func (p program) attach(fd int) error {
	if len(p) > unix.BPF_MAXINSNS {
		return unix.E2BIG
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
		&unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]})
}

// detach takes a program of ours away. A kernel that cannot (before 5.3) is given one that always answers "the hash".
func detach(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_REUSEPORT_BPF, 0); err == nil || err == unix.ENOENT {
		return nil
	}
	return program{ret(noLoop)}.attach(fd)
}
