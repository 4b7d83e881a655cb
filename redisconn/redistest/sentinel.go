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

// Milliseconds.
const (
	deadSoon  = "500" // silence after which a sentinel takes a master for dead
	deadNever = "600000"

	// How often a sentinel tells the others what it knows. After four times as long it makes a replica of what calls itself a
	// master but should be none: quickly, to end a failover, but not while another sentinel is carrying one out.
	tellOften = "200"
	tellAsIs  = "2000"
)

// Sentinel is a master with one replica and three sentinels. They replace the master while AwaitFailover waits, and at no other
// time: a machine that stands still for a moment would otherwise cause failovers that no test asked for.
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
	s.settle()
	return s
}

func startSentinel(t testing.TB, master *Server) *Server {
	t.Helper()
	s := newServer(t)
	host, port, _ := net.SplitHostPort(master.Addr)
	config := fmt.Sprintf("sentinel monitor %s %s %s 1\nsentinel down-after-milliseconds %[1]s %[4]s\nsentinel failover-timeout %[1]s 2000\n",
		MasterName, host, port, deadNever)
	if master.Password != "" {
		config += fmt.Sprintf("sentinel auth-pass %s %s\n", MasterName, master.Password)
	}
	file := filepath.Join(s.dir, "sentinel.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(func(port string) []string { return []string{file, "--sentinel", "--port", port} })
	// Else 10 s and 1 s. The ping-period stays as it is: a replica of which a sentinel has not heard for five of them is none to
	// promote, and it asks one whose master is away each second.
	s.Do("SENTINEL", "DEBUG", "info-period", "200", "ask-period", "100")
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
func (s *Sentinel) Master() *Server { return s.masterOf(s.Sentinels[0]) }

func (s *Sentinel) masterOf(sentinel *Server) *Server {
	host, port, _ := strings.Cut(sentinel.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterName), "\n")
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
	s.sync(old)
	s.Sentinels[0].wait("a failover begins", func() bool {
		_, err := s.Sentinels[0].do("SENTINEL", "FAILOVER", MasterName)
		return err == nil
	})
	s.awaitMasterOtherThan(old)
	s.Sentinels[0].Do("SENTINEL", "DEBUG", "publish-period", tellOften)
	for _, sentinel := range s.Sentinels[1:] {
		sentinel.wait("it hears of the master", func() bool { return s.masterOf(sentinel) == s.Master() })
	}
	s.settle()
}

// settle waits until every sentinel knows the master, the other sentinels and a replica that follows it: without, they would not
// agree on a failover, or find the replica too old.
func (s *Sentinel) settle() {
	for _, sentinel := range s.Sentinels {
		sentinel.Do("SENTINEL", "DEBUG", "publish-period", tellOften)
	}
	for _, sentinel := range s.Sentinels {
		sentinel.wait("it knows the master, the replica and the others", func() bool {
			master := s.masterOf(sentinel)
			if master == nil || master != s.Master() {
				return false
			}
			_, port, _ := net.SplitHostPort(master.Addr)
			return strings.Contains(sentinel.Do("INFO", "sentinel"), "status=ok,address="+master.Addr+",slaves=1,sentinels=3") &&
				strings.Contains(sentinel.Do("SENTINEL", "REPLICAS", MasterName), "master-link-status\nok\nmaster-host\n127.0.0.1\nmaster-port\n"+port)
		})
	}
	for _, sentinel := range s.Sentinels {
		sentinel.Do("SENTINEL", "DEBUG", "publish-period", tellAsIs)
	}
	s.sync(s.Master())
}

// sync waits until the replica has all that master has, as it says itself: what a sentinel knows of it may be old, and one that is
// about to copy all anew would be promoted without what was written before.
func (s *Sentinel) sync(master *Server) {
	replica := s.Servers[0]
	if replica == master {
		replica = s.Servers[1]
	}
	replica.wait("the replica has all", func() bool {
		from, to := master.Do("INFO", "replication"), replica.Do("INFO", "replication")
		at := field(from, "master_repl_offset")
		return field(to, "master_link_status") == "up" && field(to, "master_replid") == field(from, "master_replid") &&
			field(to, "slave_repl_offset") == at
	})
}

// field is the value of a key in what INFO says.
func field(info, key string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// AwaitFailover lets the first sentinel notice that the master does not answer, and returns when the other server is the master.
// One sentinel alone has no rival when it asks the others for their votes; an election without a winner would take seconds.
func (s *Sentinel) AwaitFailover(from *Server) {
	s.Sentinels[0].Do("SENTINEL", "SET", MasterName, "down-after-milliseconds", deadSoon)
	s.awaitMasterOtherThan(from)
	s.Sentinels[0].Do("SENTINEL", "SET", MasterName, "down-after-milliseconds", deadNever)
}

func (s *Sentinel) awaitMasterOtherThan(old *Server) {
	s.Sentinels[0].wait("another master", func() bool {
		m := s.Master()
		return m != nil && m != old && strings.HasPrefix(m.Do("ROLE"), "master\n")
	})
}
