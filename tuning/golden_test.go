package tuning_test

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"edged/tuning"
)

var update = flag.Bool("update", false, "write the plans of testdata/plans anew; read each line of the difference")

// golden compares got with a file of testdata.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; go test -update writes it anew. Got:\n%s", file, got)
	}
}

func TestPlansOfMachines(t *testing.T) {
	for _, name := range machineNames(t) {
		t.Run(name, func(t *testing.T) {
			found, plan := open(t, name).plan(t)
			var b bytes.Buffer
			if err := plan.WriteCapacity(&b); err != nil {
				t.Fatal(err)
			}
			b.WriteString("\n")
			if err := plan.WriteTable(&b, true); err != nil {
				t.Fatal(err)
			}
			for _, note := range found.Notes {
				b.WriteString("note: " + note + "\n")
			}
			golden(t, "testdata/plans/"+name+".txt", b.Bytes())
		})
	}
}

// A plan is the same whenever it is made of the same machine.
func TestPlanIsAFunction(t *testing.T) {
	m := open(t, "mlx5")
	var first []byte
	for i := range 10 {
		var b bytes.Buffer
		_, plan := m.plan(t)
		if err := plan.WriteTable(&b, true); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = b.Bytes()
		} else if !bytes.Equal(first, b.Bytes()) {
			t.Fatalf("another plan the second time:\n%s\n%s", first, b.Bytes())
		}
	}
}

func TestExplain(t *testing.T) {
	found, plan := open(t, "owned").plan(t)
	var b bytes.Buffer
	for _, key := range []string{
		"net.core.somaxconn", "net/ipv4/tcp_mem", "swappiness", "RLIMIT_NOFILE", "eth0/channels",
		"eth0/irq/mlx5_comp1@pci:0000:03:00.0", "TCP_NODELAY", "/proc/sys/net/core/busy_poll",
	} {
		text, err := tuning.Explain(found, plan, key)
		if err != nil {
			t.Error(err)
		}
		b.WriteString(text)
	}
	for _, key := range []string{"net.ipv4.tcp_fin_timout", "nr_opne", "max", "zzz", ""} {
		_, err := tuning.Explain(found, plan, key)
		if err == nil {
			t.Fatalf("%q is explained", key)
		}
		b.WriteString(err.Error() + "\n")
	}
	golden(t, "testdata/explain.txt", b.Bytes())
}
