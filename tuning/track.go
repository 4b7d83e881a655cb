package tuning

// trackedConnections returns net.netfilter.nf_conntrack_max: an entry for each link and as many for those that have just
// ended.
func trackedConnections(links uint64) uint64 { return 2 * links }

// tracks says whether connections are tracked at all: the module may be loaded with no rule that uses it.
func (s *sizing) tracks() bool {
	return number(s.m.sysctl("net.netfilter.nf_conntrack_count").Value) > 0
}

var trackKnobs = []knob{
	{
		key: "net.netfilter.nf_conntrack_max", scope: globalShown, unit: "connections",
		rule:   "2 × links where connections are tracked, never lowered",
		why:    "each link is an entry; a full table drops packets without a word",
		risk:   "about 320 bytes for each entry",
		source: "Documentation/networking/nf_conntrack-sysctl.rst",
		want: func(s *sizing, now string) (string, string) {
			if !s.tracks() {
				return "", "nothing is tracked"
			}
			return raised(now, trackedConnections(s.links)), ""
		},
	},
}
