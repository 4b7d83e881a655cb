package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// proc is the /proc file system; tests have their own.
type proc struct{ root string }

func (p proc) read(parts ...string) ([]byte, error) {
	return os.ReadFile(filepath.Join(append([]string{p.root}, parts...)...))
}

// rss returns the resident bytes of a process.
func (p proc) rss(pid int) (int, error) {
	b, err := p.read(strconv.Itoa(pid), "smaps_rollup")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if f := strings.Fields(string(line)); len(f) == 3 && f[0] == "Rss:" {
			kb, err := strconv.Atoi(f[1])
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no Rss in smaps_rollup of process %d", pid)
}

// children returns the processes that a process has started.
func (p proc) children(pid int) ([]int, error) {
	b, err := p.read(strconv.Itoa(pid), "task", strconv.Itoa(pid), "children")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, f := range strings.Fields(string(b)) {
		pids = append(pids, number(f))
	}
	return pids, nil
}

// linkSlabs are the kernel's caches of what a link is made of: its socket, the file of it, and its place in an epoll. All
// others are left out, because they hold mostly what the rest of the machine does.
var linkSlabs = []string{"TCP", "TCPv6", "sock_inode_cache", "filp", "dentry", "eventpoll_epi", "eventpoll_pwq", "ep_head",
	"lsm_file_cache", "lsm_inode_cache", "request_sock_TCP", "tw_sock_TCP", "skbuff_head_cache", "skbuff_fclone_cache", "skbuff_small_head"}

// kernel returns the bytes of the objects in linkSlabs and of the pages that hold data of TCP. Objects are counted, not
// slabs: one that is half empty after an earlier row must not hide what this one takes. Only root may read it.
func (p proc) kernel() (int, error) {
	slabs, err := p.read("slabinfo")
	if err != nil {
		return 0, err
	}
	sockets, err := p.read("thread-self", "net", "sockstat")
	if err != nil {
		return 0, err
	}
	return slabBytes(slabs) + sockBytes(sockets), nil
}

// slabBytes adds up linkSlabs in /proc/slabinfo, each object with its share of the pages of its slab.
func slabBytes(b []byte) int {
	total := 0
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) < 6 || !slices.Contains(linkSlabs, f[0]) {
			continue
		}
		active, perSlab, pages := number(f[1]), number(f[4]), number(f[5])
		if perSlab > 0 {
			total += active * pages * os.Getpagesize() / perSlab
		}
	}
	return total
}

// sockBytes returns what the mem field of /proc/net/sockstat says of TCP.
func sockBytes(b []byte) int {
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) == 0 || f[0] != "TCP:" {
			continue
		}
		for i := 1; i+1 < len(f); i += 2 {
			if f[i] == "mem" {
				return number(f[i+1]) * os.Getpagesize()
			}
		}
	}
	return 0
}

// cpu returns the name of the first CPU.
func (p proc) cpu() string {
	b, err := p.read("cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return "unknown CPU"
}

// number is Atoi for what the kernel writes; 0 for what is none.
func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}
