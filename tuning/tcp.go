package tuning

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"edged/nic"
)

// tcpMem returns net.ipv4.tcp_mem in pages of pageSize bytes: low, pressure and max. A socket with any data waiting is
// charged whole pages, so that a small push to all links at once takes a page for each; two are asked for, of four tenths of
// the memory at most. The kernel's default is a tenth of it (tcp_init_mem), which on 16 GiB ends at 390,000 links. low and
// pressure are half and three quarters of the unrounded max.
func tcpMem(ram, pageSize, links uint64) [3]uint64 {
	pages := ram / pageSize
	if tenths := pages * 4; tenths < links*2*10 {
		return [3]uint64{pages * 2 / 10, pages * 3 / 10, tenths / 10}
	}
	return [3]uint64{links, links * 3 / 2, links * 2}
}

// maxOrphans returns net.ipv4.tcp_max_orphans: the connections that a drain or a crash leaves behind with data unsent. Half
// of the links at once is what a paced drain does not reach.
func maxOrphans(links uint64) uint64 { return links / 2 }

// timeWaits returns net.ipv4.tcp_max_tw_buckets: beyond it TIME_WAIT is skipped, 256 bytes each.
func timeWaits(links uint64) uint64 { return links / 4 }

// Bounds of one connection's buffers: guaranteed under pressure, to begin with, most. A window of 128 KiB makes the first
// one 65,535 bytes. What goes to Managers and Redis passes here too, which is why the last ones are no smaller.
var (
	receiveBuffer = [3]uint64{4096, 131072, 1 << 20}
	sendBuffer    = [3]uint64{4096, 16384, 256 << 10}
)

// capped leaves a vector whose largest number is small enough already, else it returns wanted.
func capped(present string, wanted [3]uint64) string {
	now, ok := numbers(present)
	if ok && len(now) == len(wanted) && now[2] <= wanted[2] && slices.IsSorted(now) {
		return text(now...)
	}
	return text(wanted[:]...)
}

// exactly wants one value whatever it is now.
func exactly(value string) func(*sizing, string) (string, string) {
	return func(*sizing, string) (string, string) { return value, "" }
}

// atMost lowers what is larger than n.
func atMost(n uint64) func(*sizing, string) (string, string) {
	return func(_ *sizing, now string) (string, string) { return lowered(now, n), "" }
}

const ipSysctl = "Documentation/networking/ip-sysctl.rst"

var tcpKnobs = []knob{
	{
		key: "net.ipv4.tcp_mem", scope: global, unit: "pages of all connections: low, pressure, max",
		rule:   "max: 2 × links, at most 0.4 × memory; pressure: 0.75 × max; low: 0.5 × max; in pages, never lowered",
		why:    "a connection with any data waiting is charged whole pages; above max the kernel drops what is sent and resets connections",
		risk:   "so much memory may go into connections' data",
		source: ipSysctl + "; net/ipv4/tcp.c tcp_init_mem",
		want: func(s *sizing, now string) (string, string) {
			v := tcpMem(s.m.RAM, s.m.Kernel.PageSize, s.links)
			return raised(now, v[:]...), ""
		},
	},
	{
		key: "net.ipv4.tcp_max_syn_backlog", scope: perNamespace, unit: "half-open connections of one listener",
		rule:   "65,535, never lowered",
		why:    "it counts only where SYN cookies are off, and does no harm",
		source: ipSysctl + "; net/ipv4/tcp_input.c tcp_conn_request",
		want:   func(_ *sizing, now string) (string, string) { return raised(now, backlog), "" },
	},
	{
		key: "net.ipv4.tcp_syncookies", scope: perNamespace, unit: "mode",
		rule:   "1",
		why:    "cookies when a listener's queue is full: without them a flood of SYNs shuts clients out, always on they cost window scaling",
		source: ipSysctl, want: exactly("1"),
	},
	{
		key: "net.ipv4.tcp_abort_on_overflow", scope: perNamespace, unit: "0 or 1",
		rule:   "0",
		why:    "a reset in a reconnect storm makes every client come back at once",
		source: ipSysctl, want: exactly("0"),
	},
	{
		key: "net.ipv4.tcp_synack_retries", scope: perNamespace, unit: "retries",
		rule:   "at most 3",
		why:    "a half-open connection of a peer that is gone ends after 15 s instead of a minute",
		risk:   "clients behind very lossy radio may need another try",
		source: ipSysctl, want: atMost(3),
	},
	{
		key: "net.ipv4.tcp_rmem", scope: perNamespace, unit: "bytes of one connection: least, first, most",
		rule:   "4,096, 131,072 and 1,048,576 where the last is larger",
		why:    "one uploader may fill a mebibyte, and the first window is 64 KiB; idle links cost nothing either way",
		risk:   "a single download by this box over a long, fast path is slower",
		source: ipSysctl + "; man 7 tcp",
		want:   func(_ *sizing, now string) (string, string) { return capped(now, receiveBuffer), "" },
	},
	{
		key: "net.ipv4.tcp_wmem", scope: perNamespace, unit: "bytes of one connection: least, first, most",
		rule:   "4,096, 16,384 and 262,144 where the last is larger",
		why:    "what one peer that stopped reading can hold in the kernel, where TCP_NOTSENT_LOWAT is not set",
		risk:   "a single upload by this box over a long, fast path is slower",
		source: ipSysctl + "; man 7 tcp",
		want:   func(_ *sizing, now string) (string, string) { return capped(now, sendBuffer), "" },
	},
	{
		key: "net.ipv4.tcp_max_orphans", scope: global, unit: "connections without a process",
		rule:   "links / 2, never lowered",
		why:    "a drain or a crash leaves connections with data unsent; beyond this number they are reset",
		risk:   "up to 64 KB each in the worst case",
		source: ipSysctl,
		want:   func(s *sizing, now string) (string, string) { return raised(now, maxOrphans(s.links)), "" },
	},
	{
		key: "net.ipv4.tcp_orphan_retries", scope: perNamespace, unit: "retries; 0 means 8",
		rule:   "at most 3",
		why:    "a connection that nobody owns any more, to a peer that is gone, holds its memory shorter",
		source: ipSysctl + "; net/ipv4/tcp_timer.c tcp_orphan_retries",
		want: func(_ *sizing, now string) (string, string) {
			if number(now) == 0 {
				return "3", ""
			}
			return lowered(now, 3), ""
		},
	},
	{
		key: "net.ipv4.tcp_max_tw_buckets", scope: perNamespace, unit: "connections in TIME_WAIT",
		rule:   "links / 4, never lowered",
		why:    "256 bytes each; beyond it TIME_WAIT is skipped",
		source: ipSysctl,
		want:   func(s *sizing, now string) (string, string) { return raised(now, timeWaits(s.links)), "" },
	},
	{
		key: "net.ipv4.tcp_fin_timeout", scope: perNamespace, unit: "seconds",
		rule:   "at most 15",
		why:    "a closed connection whose peer never closes holds its memory shorter",
		source: ipSysctl, want: atMost(15),
	},
	{
		key: "net.ipv4.tcp_slow_start_after_idle", scope: perNamespace, unit: "0 or 1",
		rule:   "0 without bbr",
		why:    "a push of more than 14 KB to a link that was silent goes out at once",
		source: ipSysctl + "; include/net/tcp.h tcp_slow_start_after_idle_check",
		want: func(s *sizing, _ string) (string, string) {
			if s.congestion() == "bbr" {
				return "", "bbr does not look at it"
			}
			return "0", ""
		},
	},
	{
		key: "net.ipv4.tcp_congestion_control", scope: perNamespace, unit: "name",
		rule:   "[tuning] congestion",
		why:    "it is the operator's choice: [tuning] congestion",
		source: ipSysctl,
		want: func(s *sizing, now string) (string, string) {
			want := s.goal.Congestion
			if want == "" || want == now {
				return want, ""
			}
			known := s.m.sysctl("net.ipv4.tcp_available_congestion_control").Value
			if known != "" && !slices.Contains(strings.Fields(known), want) {
				return want, "asked for by [tuning] congestion; the kernel has " + known + " and may load " + want + " when it is asked to"
			}
			return want, "asked for by [tuning] congestion"
		},
	},
	{
		key: "net.ipv4.tcp_no_metrics_save", scope: perNamespace, unit: "0 or 1",
		rule:   "1",
		why:    "what the kernel remembers of a mobile client's address is stale, and is 165 bytes for each",
		source: ipSysctl, want: exactly("1"),
	},
	{
		key: "net.ipv4.tcp_migrate_req", scope: perNamespace, unit: "0 or 1",
		rule:   "1 where there are several listeners",
		why:    "connections that wait at a listener which is closed move to another one of its group",
		source: ipSysctl + "; net/core/sock_reuseport.c",
		want: func(s *sizing, _ string) (string, string) {
			if s.reactors < 2 {
				return "", "one reactor has one listener: there is none to move to"
			}
			return "1", ""
		},
	},
	{
		key: "net.ipv4.ip_local_reserved_ports", scope: perNamespace, unit: "ports",
		rule:   "the gateway's ports that outgoing connections might take, beside those that are there",
		why:    "no outgoing connection takes a port of the gateway's while it restarts",
		source: ipSysctl, want: reservedPorts,
	},
	left("net.ipv4.tcp_tw_reuse", perNamespace, "mode", "it is for outgoing connections, of which a gateway has few"),
	left("net.ipv4.tcp_keepalive_time", perNamespace, "seconds", "heartbeats find dead links sooner"),
	left("net.ipv4.tcp_retries2", perNamespace, "retries", "TCP_USER_TIMEOUT does it for links alone; connections to Managers and Redis keep theirs"),
	left("net.ipv4.tcp_notsent_lowat", perNamespace, "bytes", "it is a socket option on the gateway's listeners; here it would hit every program's connections"),
	left("net.ipv4.tcp_fastopen", perNamespace, "bits", "data in a SYN may be played again, which a login must not"),
	left("net.ipv4.tcp_shrink_window", perNamespace, "0 or 1", "it gives memory back by breaking a promise to the peer; tcp_rmem bounds it already"),
	left("net.ipv4.ip_local_port_range", perNamespace, "ports", "it is for outgoing connections; accepted ones all share the listener's port"),
	left("net.ipv4.tcp_ehash_entries", perNamespace, "buckets", "made at boot: thash_entries= on the kernel's command line"),
}

// left is a knob that edged never turns, shown because people ask for it.
func left(key string, sc scope, unit, why string) knob {
	return knob{key: key, scope: sc, unit: unit, why: why, source: ipSysctl}
}

// reservedPorts adds the gateway's ports to those that the kernel gives to no outgoing connection.
func reservedPorts(s *sizing, now string) (string, string) {
	low, high := uint64(32768), uint64(60999)
	if v, ok := numbers(s.m.sysctl("net.ipv4.ip_local_port_range").Value); ok && len(v) == 2 {
		low, high = v[0], v[1]
	}
	var missing []uint16
	for _, port := range s.goal.Ports {
		if uint64(port) >= low && uint64(port) <= high && !slices.Contains(cpuList(now), int(port)) {
			missing = append(missing, port)
		}
	}
	if len(missing) == 0 {
		return "", fmt.Sprintf("outgoing connections take ports %d to %d, where the gateway has none that is not reserved", low, high)
	}
	all := cpuList(now)
	for _, port := range missing {
		all = append(all, int(port))
	}
	return nic.FormatCPUs(all), ""
}

// pow2 returns the least power of two that is not less than n.
func pow2(n uint64) uint64 {
	p := uint64(1)
	for p < n {
		p <<= 1
	}
	return p
}

// hashAdvice is for tables that were made at boot: a chain of more than two links is walked for each packet.
func (s *sizing) hashAdvice() (Advice, bool) {
	buckets, err := strconv.ParseInt(s.m.sysctl("net.ipv4.tcp_ehash_entries").Value, 10, 64)
	if err != nil || buckets <= 0 || s.links <= 2*uint64(buckets) { // negative: a namespace that shares the host's
		return Advice{}, false
	}
	return Advice{
		Subject: "kernel command line",
		Do:      fmt.Sprintf("thash_entries=%d", pow2(s.links)),
		Why: fmt.Sprintf("%s links share %s hash buckets, so that each packet walks a chain of %.1f", group(s.links), group(uint64(buckets)),
			float64(s.links)/float64(buckets)),
	}, true
}
