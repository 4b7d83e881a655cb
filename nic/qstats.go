package nic

import (
	"regexp"
	"strconv"
)

// statNames are the drivers' names of a queue's packets and bytes. A driver that tells its counters one by one, as bnxt does by
// kinds of address, has them added up.
var statNames = []*regexp.Regexp{
	// rx_queue_0_packets: ixgbe, igb, ice, older virtio; rx0_packets: mlx5, virtio; rx-0.packets: i40e, iavf; rx_0_packets: mana
	regexp.MustCompile(`^(?P<way>rx|tx)(?:_queue_|-|_)?(?P<queue>\d+)[._](?P<what>packets|bytes)$`),
	regexp.MustCompile(`^queue_(?P<queue>\d+)_(?P<way>rx|tx)_(?P<what>cnt|bytes)$`),              // ena
	regexp.MustCompile(`^\[(?P<queue>\d+)\]: (?P<way>rx|tx)_[umb]cast_(?P<what>packets|bytes)$`), // bnxt
}

// parseDriverStats finds the queues among a driver's own counters, in the order of their first names. Values beyond names, and
// names without value, are passed over.
func parseDriverStats(names []string, values []uint64) []QueueStats {
	type key struct {
		tx    bool
		queue int
	}
	var stats []QueueStats
	at := map[key]int{}
	for i, name := range names {
		way, queue, what := readStatName(name)
		if what == "" || i >= len(values) {
			continue
		}
		k := key{way == "tx", queue}
		n, ok := at[k]
		if !ok {
			n = len(stats)
			at[k] = n
			stats = append(stats, QueueStats{TX: k.tx, Index: queue})
		}
		if what == "bytes" {
			stats[n].Bytes += values[i]
		} else {
			stats[n].Packets += values[i]
		}
	}
	return stats
}

// readStatName returns what is empty where name is not that of a queue's packets or bytes.
func readStatName(name string) (way string, queue int, what string) {
	for _, re := range statNames {
		m := re.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		queue, err := strconv.Atoi(m[re.SubexpIndex("queue")])
		if err != nil {
			return "", 0, ""
		}
		return m[re.SubexpIndex("way")], queue, m[re.SubexpIndex("what")]
	}
	return "", 0, ""
}
