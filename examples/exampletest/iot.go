package exampletest

import (
	"testing"
	"time"

	"edged/config"
)

// IoT is a scene in a plant: a valve is opened and shut again and again, each command carried out once; a device that takes
// no commands is an alarm, and one that takes its place ends it.
func IoT(t *testing.T, start Start, gateway Gateway) {
	t.Helper()
	plant, backend := Served(t, start, "-low", "65", "-high", "75", "-ttl", "300ms")
	address := gateway(t, backend, func(c *config.Config) { c.Delivery.Retry = 100 * time.Millisecond })
	device := func(id string, args ...string) *Role {
		t.Helper()
		d := start(t, append([]string{"device", "-gateway", address, "-every", "20ms", "-id", id}, args...)...)
		d.Await("* " + id + " is here")
		return d
	}
	well, deaf := device("boiler-7"), device("boiler-8", "-deaf")
	for range 3 {
		well.Await("* valve open=true")
		well.Await("* valve open=false")
	}
	plant.Await("boiler-8: not told to open=true, no_ack")
	plant.Await("boiler-8: not told to open=true, no_ack")
	plant.Await("ALARM boiler-8: not told to open=true, 3 times: no_ack")
	deaf.End()
	plant.Await("boiler-8: gone, normal")
	repaired := device("boiler-8", "-temperature", "90")
	repaired.Await("* valve open=true")
	plant.Await("boiler-8: well again")
	if n := plant.Count("ALARM"); n != 1 {
		t.Errorf("%d alarms, want the one:\n%s", n, plant.All())
	}
}
