package redistest

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
)

const slots = 16384

// Cluster is a Redis Cluster of masters without replicas. The nodes that are left go on while one is away.
type Cluster struct {
	Nodes []*Server
}

// StartCluster runs a Cluster of n masters, which share the slots evenly and in order, until the test ends. A node that was
// restarted comes back as a member, without its data.
func StartCluster(t testing.TB, n int) *Cluster {
	t.Helper()
	c := &Cluster{}
	for i := range n {
		s := newServer(t)
		s.start(func(port string) []string {
			return []string{"--port", port, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
				"--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no"}
		})
		s.Do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		s.Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(slots*i/n), strconv.Itoa(slots*(i+1)/n-1))
		c.Nodes = append(c.Nodes, s)
	}
	for _, s := range c.Nodes[1:] {
		host, port, _ := net.SplitHostPort(s.Addr)
		c.Nodes[0].Do("CLUSTER", "MEET", host, port)
	}
	for _, s := range c.Nodes {
		s.wait("the nodes know each other", func() bool {
			info := s.Do("CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_size:%d\r\n", n))
		})
	}
	return c
}

// Addrs returns the nodes' addresses.
func (c *Cluster) Addrs() []string {
	var addrs []string
	for _, s := range c.Nodes {
		addrs = append(addrs, s.Addr)
	}
	return addrs
}

// Slot returns the slot of a key.
func (c *Cluster) Slot(key string) int {
	slot, _ := strconv.Atoi(c.Nodes[0].Do("CLUSTER", "KEYSLOT", key))
	return slot
}

// Owner returns the node that has a key at the start.
func (c *Cluster) Owner(key string) *Server {
	slot := c.Slot(key)
	for i := range c.Nodes {
		if slot < slots*(i+1)/len(c.Nodes) {
			return c.Nodes[i]
		}
	}
	return nil
}

// Move gives the slot of a key to another node, without the keys in it. The other nodes learn it when they are asked.
func (c *Cluster) Move(key string, to *Server) {
	id, slot := to.Do("CLUSTER", "MYID"), strconv.Itoa(c.Slot(key))
	to.Do("CLUSTER", "SETSLOT", slot, "NODE", id)
	for _, s := range c.Nodes {
		if s != to {
			s.Do("CLUSTER", "SETSLOT", slot, "NODE", id)
		}
	}
}
