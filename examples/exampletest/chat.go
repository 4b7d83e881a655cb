package exampletest

import (
	"strings"
	"testing"
)

// Served starts a Manager and returns it with the address at which gateways find it, the last word of its first line.
func Served(t *testing.T, start Start, args ...string) (*Role, string) {
	t.Helper()
	m := start(t, append([]string{"manager", "-listen", "127.0.0.1:0"}, args...)...)
	line := m.Await("ready on")
	return m, line[strings.LastIndexByte(line, ' ')+1:]
}

// Chat is a scene of two people without a queue layer: what they say arrives, in order, at every device, and they are told
// so; who is not here is said to be away.
func Chat(t *testing.T, manager, talk Start, gateway Gateway) {
	t.Helper()
	_, backend := Served(t, manager)
	address := gateway(t, backend, nil)
	come := func(user, device string) *Role {
		t.Helper()
		r := talk(t, "talk", "-gateway", address, "-user", user, "-device", device)
		r.Await("* " + user + " is here")
		return r
	}
	alice := come("alice", "laptop")
	alice.Say("bob are you there?")
	alice.Await("* bob does not have it: not_here")
	bob, phone := come("bob", "laptop"), come("bob", "phone")
	alice.Say("bob now?")
	alice.Await("* bob has it")
	bob.Await("alice: now?")
	phone.Await("alice: now?")
	bob.Say("alice yes, grüße")
	alice.Await("bob: yes, grüße")
	bob.Await("* alice has it")
	for range 20 {
		alice.Say("bob one more")
	}
	for range 20 {
		bob.Await("alice: one more")
		phone.Await("alice: one more")
	}
	alice.Say("to-nobody-in-particular")
	alice.Await("* say: NAME WORDS")
	if n := bob.Count("alice: "); n != 21 {
		t.Errorf("bob heard %d messages, not 21", n)
	}
}
