package tuning_test

import (
	"strings"
	"testing"
	"time"

	"edged/nic"
	"edged/tuning"
)

const (
	snmp = "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: RtoAlgorithm MaxConn ActiveOpens PassiveOpens\nTcp: 1 -1 5 %\n"
	ext  = "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPAbortOnMemory\nTcpExt: 0 % % %\n"
)

func TestEffects(t *testing.T) {
	m := open(t, "virtio4")
	step := func(accepted, overflows, drops, memory string, queues ...uint64) tuning.Sample {
		m.set(t, "proc/net/snmp", strings.Replace(snmp, "%", accepted, 1))
		text := ext
		for _, v := range []string{overflows, drops, memory} {
			text = strings.Replace(text, "%", v, 1)
		}
		m.set(t, "proc/net/netstat", text)
		var stats []nic.QueueStats
		for i, n := range queues {
			stats = append(stats, nic.QueueStats{Index: i, Packets: n}, nic.QueueStats{TX: true, Index: i, Packets: 9})
		}
		m.Driver.Counted = map[string][]nic.QueueStats{"eth0": stats}
		return m.Sample(t.Context(), []string{"auto"})
	}
	first := step("100", "7", "9", "1", 1000, 1000, 1000, 1000)
	second := step("1100", "27", "49", "1", 4000, 1000, 1000, 1000)
	second.Time = first.Time.Add(10 * time.Second)
	got := second.Since(first)
	want := tuning.Effects{Seconds: 10, Accepted: 100, Overflows: 2, Drops: 4, Skew: 4}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	third := step("1100", "27", "49", "1", 300, 300, 300, 300) // the device was reset
	third.Time = second.Time.Add(time.Second)
	after := third.Since(second)
	if after.Skew != 1 || after.Accepted != 0 {
		t.Errorf("%+v", after)
	}
	if none := third.Since(third); none != (tuning.Effects{}) {
		t.Errorf("%+v", none)
	}
	var b strings.Builder
	if err := tuning.WriteEffects(&b, got, after); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/effects.txt", []byte(b.String()))
}

func TestSampleOfThisBox(t *testing.T) {
	s := (&tuning.Box{}).Sample(t.Context(), []string{"auto"})
	if s.Softnet.Processed == 0 || s.Time.IsZero() {
		t.Errorf("%+v", s)
	}
}
