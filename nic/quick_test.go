package nic_test

import (
	"testing"

	"edged/nic"
)

func TestReadLoopback(t *testing.T) {
	r, err := nic.NewReader()
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Read(1, "lo")
	t.Logf("%+v %v %s", c, err, r.Source())
	if err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func BenchmarkRead(b *testing.B) {
	r, err := nic.NewReader()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Read(1, "lo"); err != nil {
			b.Fatal(err)
		}
	}
}
