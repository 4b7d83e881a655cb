package relay

import "testing"

func TestBinding(t *testing.T) {
	var b binding
	give := func(users ...uint64) *inbound {
		in := new(inbound)
		for _, u := range users {
			b.note(in, u)
		}
		return in
	}
	want := func(what string, idle bool, has, not []uint64) {
		t.Helper()
		if b.idle() != idle {
			t.Errorf("%s: idle is %v", what, b.idle())
		}
		for _, u := range has {
			if !b.has(u) {
				t.Errorf("%s: user %d is overlooked", what, u)
			}
		}
		for _, u := range not {
			if b.has(u) {
				t.Errorf("%s: user %d is still there", what, u)
			}
		}
	}
	pool := newBuffers()
	if !b.idle() {
		t.Error("not idle at first")
	}
	one := give(1, 2)
	two := give(3)
	want("two buffers", false, []uint64{1, 2, 3}, []uint64{4})
	recycle(pool, one)
	want("one is back", false, []uint64{3}, nil)
	three := give(5)
	want("a third", false, []uint64{3, 5}, nil)
	recycle(pool, two)
	want("two are back", false, []uint64{5}, []uint64{4})
	four := give(6)
	want("a fourth", false, []uint64{5, 6}, []uint64{1, 2, 3})
	recycle(pool, three)
	recycle(pool, four)
	if !b.idle() {
		t.Error("not idle in the end")
	}
	if four.binds != nil {
		t.Error("a buffer is counted still")
	}
}

// A buffer that finds no room leaves no trace: neither is it waited for, nor does it stand for one before it.
func TestBindingWithdrawn(t *testing.T) {
	var b binding
	pool := newBuffers()
	one, two := new(inbound), new(inbound)
	b.note(one, 1)
	b.note(two, 2)
	b.withdraw()
	two.binds = nil
	recycle(pool, two)
	if b.idle() || !b.has(1) {
		t.Error("the buffer before it is forgotten")
	}
	three := new(inbound)
	b.note(three, 3)
	recycle(pool, one)
	if b.idle() || !b.has(3) {
		t.Error("the buffer behind it is forgotten")
	}
	recycle(pool, three)
	if !b.idle() {
		t.Error("it is waited for")
	}
}
