package tuning

// What is wanted of net.core.
const (
	backlog      = 65535 // what the gateway asks of listen()
	cpuBacklog   = 10000 // packets
	budget       = 600   // packets of one softirq
	budgetUsecs  = 8000
	squeezeShare = 10000             // a softirq cut short for so many packets is a rare one
	squeezeFrom  = 10 * squeezeShare // packets, before which it is chance: a box that has just started has seen few
)

var coreKnobs = []knob{
	{
		key: "net.core.somaxconn", scope: perNamespace, unit: "connections that wait to be accepted, of one listener",
		rule:   "65,535, never lowered",
		why:    "it cuts what the gateway asks of listen(); connections beyond it are dropped while a reactor is busy",
		risk:   "each waiting connection holds 2.9 KB",
		source: "Documentation/networking/ip-sysctl.rst",
		want:   func(_ *sizing, now string) (string, string) { return raised(now, backlog), "" },
	},
	{
		key: "net.core.netdev_max_backlog", scope: global, unit: "packets that wait for one CPU",
		rule:   "10,000 where packets pass it, never lowered",
		why:    "packets pass a CPU's queue where they are steered by software or come from a virtual device",
		source: "Documentation/admin-guide/sysctl/net.rst; the second column of /proc/net/softnet_stat counts what it drops",
		want: func(s *sizing, now string) (string, string) {
			if !s.usesBacklog() {
				return "", "devices with queues of their own do not use it unless packets are steered by software"
			}
			return raised(now, cpuBacklog), ""
		},
	},
	{
		key: "net.core.netdev_budget", scope: global, unit: "packets of one softirq",
		rule:   "600 where softirqs are cut short more than once in 10,000 packets, of 100,000 or more; never lowered",
		why:    "softirqs end with packets left",
		risk:   "a longer softirq keeps the reactor of its CPU waiting",
		source: "Documentation/admin-guide/sysctl/net.rst; the third column of /proc/net/softnet_stat",
		want: func(s *sizing, now string) (string, string) {
			if !s.squeezed() {
				return "", s.softirqs()
			}
			return raised(now, budget), s.softirqs()
		},
	},
	{
		key: "net.core.netdev_budget_usecs", scope: global, unit: "microseconds of one softirq",
		rule:   "8,000 where softirqs are cut short more than once in 10,000 packets, of 100,000 or more; never lowered",
		why:    "softirqs end with packets left",
		risk:   "a longer softirq keeps the reactor of its CPU waiting",
		source: "Documentation/admin-guide/sysctl/net.rst",
		want: func(s *sizing, now string) (string, string) {
			if !s.squeezed() {
				return "", s.softirqs()
			}
			return raised(now, budgetUsecs), s.softirqs()
		},
	},
	bufferKnob("net.core.rmem_max", "SO_RCVBUF"),
	bufferKnob("net.core.wmem_max", "SO_SNDBUF"),
	{
		key: "net.core.rmem_default", scope: globalShown, unit: "bytes",
		why:    "TCP has its own, in tcp_rmem",
		source: "man 7 tcp",
	},
	{
		key: "net.core.wmem_default", scope: globalShown, unit: "bytes",
		why:    "TCP has its own, in tcp_wmem",
		source: "man 7 tcp",
	},
	{
		key: "net.core.optmem_max", scope: perNamespace, unit: "bytes",
		why:    "the gateway's steering program is far smaller",
		source: "Documentation/admin-guide/sysctl/net.rst",
	},
	{
		key: "net.core.busy_poll", scope: global, unit: "microseconds",
		why:    "it would burn a CPU for each reactor; a reactor that wants it asks for its own epoll",
		source: "Documentation/admin-guide/sysctl/net.rst; Documentation/networking/napi.rst",
	},
	{
		key: "net.core.busy_read", scope: global, unit: "microseconds",
		why:    "the gateway never waits in read",
		source: "Documentation/admin-guide/sysctl/net.rst",
	},
	{
		key: "net.core.rps_sock_flow_entries", scope: global, unit: "flows",
		rule:   "0 where reactors own the queues",
		why:    "it moves packets to where their socket was last read, away from the CPU of their queue and its reactor",
		risk:   "other services on this box that rely on receive flow steering lose it",
		source: "Documentation/networking/scaling.rst",
		want: func(s *sizing, now string) (string, string) {
			if number(now) == 0 {
				return "0", ""
			}
			if !s.ownsQueues() {
				return "", "only where reactors own the queues is it in the way"
			}
			if !s.goal.AllowNIC {
				return "", "it moves packets away from the reactor of their queue, but allow_nic is false"
			}
			return "0", ""
		},
	},
	{
		key: "net.core.default_qdisc", scope: globalShown, unit: "name",
		rule:   "fq with bbr on more than 1,000 Mbit/s",
		why:    "it is for devices that come up later, and fair queueing is only needed with bbr on a fast one",
		risk:   "concerns every device that comes up from then on",
		source: "Documentation/admin-guide/sysctl/net.rst",
		want: func(s *sizing, _ string) (string, string) {
			if s.congestion() == "bbr" && s.speedMbit() > 1000 {
				return "fq", "bbr paces every link, which this queue does cheaper than a timer for each"
			}
			return "", ""
		},
	},
}

// bufferKnob is the limit of what setsockopt may ask for. The kernel cuts a larger wish silently, doubles what is asked
// for, and does not limit its own auto-tuning by this.
func bufferKnob(key, option string) knob {
	return knob{
		key: key, scope: globalShown, unit: "bytes",
		rule:   "twice the largest " + option + " that is asked for, never lowered",
		why:    "it silently cuts the " + option + " that the gateway asks for",
		source: "man 7 socket",
		want: func(s *sizing, now string) (string, string) {
			if s.goal.Buffer == 0 {
				return "", "the gateway asks for no " + option + ", and auto-tuning is not limited by this"
			}
			return raised(now, 2*uint64(s.goal.Buffer)), ""
		},
	}
}
