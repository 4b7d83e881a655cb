package netpoll

import (
	"reflect"
	"testing"
	"unsafe"
)

// A million connections are a million of these; the garbage collector must have nothing to look at in them.
func TestConnRecord(t *testing.T) {
	const most = 48
	if n := unsafe.Sizeof(conn{}); n > most {
		t.Errorf("a connection's record takes %d bytes, more than %d", n, most)
	}
	for i := range reflect.TypeFor[conn]().NumField() {
		f := reflect.TypeFor[conn]().Field(i)
		switch f.Type.Kind() {
		case reflect.Int32, reflect.Uint32, reflect.Uint16:
		default:
			t.Errorf("field %s is a %v", f.Name, f.Type)
		}
	}
}

func TestSlotGenerations(t *testing.T) {
	s := newSlots(2)
	s.conns[0].gen = 1<<32 - 1 // the last before it wraps
	a, ok := s.take(10)
	s.conns[a].flags = open
	last := makeConn(a, s.conns[a].gen)
	if !ok || s.live(last) == nil {
		t.Fatal("a taken slot is not live")
	}
	s.giveBack(a)
	if s.find(last) != nil {
		t.Error("a free slot was found")
	}
	b, _ := s.take(11)
	s.conns[b].flags = open
	if b != a || s.conns[b].gen != 1 {
		t.Errorf("slot %d, generation %d after the wrap", b, s.conns[b].gen)
	}
	if makeConn(b, 0) == 0 && s.find(0) != nil {
		t.Error("the zero Conn names a connection")
	}
	if _, ok := s.take(12); !ok {
		t.Error("the second slot was refused")
	}
	if _, ok := s.take(13); ok {
		t.Error("a third slot of two")
	}
}

func TestBufferClasses(t *testing.T) {
	var b buffers
	for _, n := range []int{1, 255, 256, 257, 512, 4096, 4097, maxBuffer - 1, maxBuffer} {
		r := b.lend(n)
		e := b.at(r)
		if size := cap(e.data); len(e.data) != 0 || size < n || size > max(2*n, 1<<minBufferBits) {
			t.Errorf("%d bytes: length %d, capacity %d", n, len(e.data), size)
		}
		e.data = append(e.data, 1, 2, 3)
		e.off, e.next = 1, 7
		b.giveBack(r)
		again := b.lend(n)
		if e := b.at(again); again != r || len(e.data) != 0 || e.off != 0 || e.next != 0 {
			t.Errorf("%d bytes: lent again as %d with %+v", n, again, *e)
		}
		b.giveBack(again)
	}
	var lent []bufRef
	for range 100 {
		lent = append(lent, b.lend(maxBuffer))
	}
	for _, r := range lent {
		b.giveBack(r)
	}
	if b.idle > keepBytes || b.bytes != b.idle {
		t.Errorf("%d bytes kept of %d", b.idle, b.bytes)
	}
}

func TestMayWaitRaw(t *testing.T) {
	for _, tc := range []struct {
		godebug string
		want    bool
	}{{"", true}, {"gctrace=1", true}, {"asyncpreemptoff=1", false}, {"gctrace=0,asyncpreemptoff=1", false}} {
		t.Setenv("GODEBUG", tc.godebug)
		if got := mayWaitRaw(-1); got != tc.want { // as many Ps as there are suffice
			t.Errorf("GODEBUG=%s: %v", tc.godebug, got)
		}
	}
	t.Setenv("GODEBUG", "")
	if mayWaitRaw(1 << 20) {
		t.Error("raw with more loops than Ps")
	}
}
