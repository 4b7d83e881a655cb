package redistest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// MasterName is what the sentinels of StartSentinel call their master.
const MasterName = "mymaster"

// Sentinel is a master with one replica and three sentinels, of which two must agree that the master is gone. They notice
// that after half a second.
type Sentinel struct {
	Servers   [2]*Server // the first is the master at the start
	Sentinels [3]*Server
}

// StartSentinel runs the five processes until the test ends, and returns when they know each other. args are settings of the two
// servers; with "--requirepass" the sentinels use that password towards the servers and ask for none.
func StartSentinel(t testing.TB, args ...string) *Sentinel {
	t.Helper()
	s := &Sentinel{}
	s.Servers[0] = Start(t, args...)
	host, port, _ := net.SplitHostPort(s.Servers[0].Addr)
	s.Servers[1] = Start(t, append([]string{"--replicaof", host + " " + port}, args...)...)
	if p := s.Servers[0].Password; p != "" {
		for _, server := range s.Servers {
			server.Do("CONFIG", "SET", "masterauth", p)
		}
	}
	for i := range s.Sentinels {
		s.Sentinels[i] = startSentinel(t, s.Servers[0])
	}
	s.settle(s.Servers[0])
	return s
}

func startSentinel(t testing.TB, master *Server) *Server {
	t.Helper()
	s := newServer(t)
	host, port, _ := net.SplitHostPort(master.Addr)
	config := fmt.Sprintf("sentinel monitor %s %s %s 2\nsentinel down-after-milliseconds %[1]s 500\nsentinel failover-timeout %[1]s 1000\n",
		MasterName, host, port)
	if master.Password != "" {
		config += fmt.Sprintf("sentinel auth-pass %s %s\n", MasterName, master.Password)
	}
	file := filepath.Join(s.dir, "sentinel.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(func(port string) []string { return []string{file, "--sentinel", "--port", port} })
	// They talk to each other each 2 s and look at replicas each 10 s: too slow for tests.
	s.Do("SENTINEL", "DEBUG", "info-period", "200", "publish-period", "200", "ask-period", "100", "ping-period", "100")
	return s
}

// Addrs returns the addresses of the sentinels.
func (s *Sentinel) Addrs() []string {
	var addrs []string
	for _, sentinel := range s.Sentinels {
		addrs = append(addrs, sentinel.Addr)
	}
	return addrs
}

// Master returns the server that the first sentinel takes for the master.
func (s *Sentinel) Master() *Server {
	host, port, _ := strings.Cut(s.Sentinels[0].Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterName), "\n")
	for _, server := range s.Servers {
		if server.Addr == net.JoinHostPort(host, port) {
			return server
		}
	}
	return nil
}

// Failover makes the replica the master and the master its replica, and returns when all know it and the data is the same.
func (s *Sentinel) Failover() {
	old := s.Master()
	next := s.Servers[0]
	if next == old {
		next = s.Servers[1]
	}
	s.Sentinels[0].wait("a failover begins", func() bool {
		_, err := s.Sentinels[0].do("SENTINEL", "FAILOVER", MasterName)
		return err == nil
	})
	s.settle(next)
}

// settle waits until every sentinel knows the master, the other sentinels and a replica that follows it: without, they would not
// agree on a failover, or find the replica too old.
func (s *Sentinel) settle(master *Server) {
	_, port, _ := net.SplitHostPort(master.Addr)
	for _, sentinel := range s.Sentinels {
		sentinel.wait("it knows the master, the replica and the others", func() bool {
			return strings.Contains(sentinel.Do("INFO", "sentinel"), "status=ok,address="+master.Addr+",slaves=1,sentinels=3") &&
				strings.Contains(sentinel.Do("SENTINEL", "REPLICAS", MasterName), "master-link-status\nok\nmaster-host\n127.0.0.1\nmaster-port\n"+port)
		})
	}
}

// AwaitMasterOtherThan returns when the sentinels have made another server the master, as they do when old was killed.
func (s *Sentinel) AwaitMasterOtherThan(old *Server) {
	s.Sentinels[0].wait("another master", func() bool {
		m := s.Master()
		return m != nil && m != old && strings.HasPrefix(m.Do("ROLE"), "master\n")
	})
}
