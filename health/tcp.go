package health

// parseSockstat returns the pages of memory that TCP uses, out of /proc/net/sockstat. It is the whole host's number in
// every network namespace.
func parseSockstat(b []byte) (pages uint64, ok bool) {
	for len(b) > 0 {
		var line []byte
		line, b = nextLine(b)
		name, rest := nextField(line)
		if string(name) != "TCP:" {
			continue
		}
		for len(rest) > 0 {
			if name, rest = nextField(rest); string(name) == "mem" {
				pages, _, ok = nextNumber(rest)
				return pages, ok
			}
		}
	}
	return 0, false
}

// parseTCPMem returns the pages at which TCP comes under pressure, the second of the three numbers in
// /proc/sys/net/ipv4/tcp_mem. The file is not there in a child network namespace.
func parseTCPMem(b []byte) (pressure uint64, ok bool) {
	_, b, ok = nextNumber(b)
	if !ok {
		return 0, false
	}
	pressure, _, ok = nextNumber(b)
	return pressure, ok
}

// netstat is what is wanted out of /proc/net/netstat.
type netstat struct {
	accept   Events // connections refused: accept queue or request queue full
	pressure Events // TCP entered memory pressure, was in it, or gave a connection up for want of memory
}

// parseNetstat reads the two TcpExt lines, names and values. The set of names differs between kernels, so columns mean
// nothing.
//
// PruneCalled, RcvPruned and TCPRcvQDrop are not counted as pressure: they also grow when one socket's own receive buffer
// is full (tcp_prune_queue in net/ipv4/tcp_input.c), and a single client that sends faster than it is read must not make the box
// look full.
func parseNetstat(b []byte) (n netstat) {
	for len(b) > 0 {
		var names []byte
		names, b = nextLine(b)
		name, names := nextField(names)
		if string(name) != "TcpExt:" {
			continue
		}
		values, _ := nextLine(b)
		if name, values = nextField(values); string(name) != "TcpExt:" {
			return netstat{}
		}
		for len(names) > 0 {
			var value []byte
			name, names = nextField(names)
			value, values = nextField(values)
			n.add(name, value)
		}
		return n
	}
	return n
}

func (n *netstat) add(name, value []byte) {
	var to *Events
	switch string(name) {
	case "ListenOverflows", "ListenDrops", "TCPReqQFullDoCookies", "TCPReqQFullDrop":
		to = &n.accept
	case "TCPMemoryPressures", "TCPMemoryPressuresChrono", "TCPAbortOnMemory":
		to = &n.pressure
	default:
		return
	}
	if v, ok := parseNumber(value); ok {
		to.Total, to.Known = to.Total+v, true
	}
}
