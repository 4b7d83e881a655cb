package exampletest

import (
	"fmt"
	"testing"
)

// ChatStored is the scene of two people with a queue layer: what is said to somebody who is away is there, once and in its
// order, when that person comes, whatever the queue layer does meanwhile. Queue begins one at that address; it is ended and
// begun again in the middle.
func ChatStored(t *testing.T, manager, talk Start, gateway Gateway, queue func(t *testing.T) *Role, url string) {
	t.Helper()
	layer := queue(t)
	_, backend := Served(t, manager, "-queue", url, "-token", QueueToken)
	address := gateway(t, backend, nil)
	come := func(user string) *Role {
		t.Helper()
		r := talk(t, "talk", "-gateway", address, "-user", user)
		r.Await("* " + user + " is here")
		return r
	}
	said := 0
	say := func(r *Role, n int) {
		t.Helper()
		for range n {
			said++
			r.Say(fmt.Sprintf("bob word %d", said))
		}
	}
	heard := 0
	hear := func(r *Role, n int) {
		t.Helper()
		for range n {
			heard++
			if line := r.Await("alice: "); line != fmt.Sprintf("alice: word %d", heard) {
				t.Errorf("bob hears %q as number %d", line, heard)
			}
		}
	}
	alice := come("alice")
	say(alice, 10)
	for range 10 {
		alice.Await("* stored for bob")
	}
	bob := come("bob")
	hear(bob, 10)
	for range 10 {
		alice.Await("* bob has it")
	}

	layer.End()
	say(alice, 5) // nobody takes them yet: the Manager tries again
	queue(t)
	hear(bob, 5)

	bob.End()
	say(alice, 20)
	for range 25 {
		alice.Await("* stored for bob")
	}
	bob = come("bob")
	say(alice, 20)
	hear(bob, 40)
	bob.Say("alice thanks")
	alice.Await("bob: thanks")
	if n := bob.Count("alice: "); n != 40 {
		t.Errorf("bob heard %d messages after coming back, not 40", n)
	}
}

// QueueToken is what the queue layer of a test wants to be shown.
const QueueToken = "let-me-write-messages"
