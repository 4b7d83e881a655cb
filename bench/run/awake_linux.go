package main

import (
	"encoding/binary"
	"os"
)

// wakeupLatencyFile takes how many microseconds an idle CPU may take to come back, for as long as it is held open (the kernel's
// Documentation/power/pm_qos_interface.rst).
const wakeupLatencyFile = "/dev/cpu_dma_latency"

// keepAwake has idle CPUs poll and not halt until release is called. How long a halted CPU takes to come back is the machine's
// matter, and in a virtual one that of who else is on the host: up to milliseconds, for each process that a message wakes.
func keepAwake(path string) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(binary.NativeEndian.AppendUint32(nil, 0)); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}
