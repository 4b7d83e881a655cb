package session

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// DefaultBytes is the usual limit of one session.
	DefaultBytes = 4096
	// MaxBytes is the largest limit that NewStore takes.
	MaxBytes = 64 << 10
)

// What a change can be refused for. The first that fits is returned, in this
// order, and the session is as it was.
var (
	// ErrPatch means that the bytes are no SessionPatch or that a string is not UTF-8.
	ErrPatch = errors.New("session: not a patch")
	// ErrKey means that a patch touches a key without a dot.
	ErrKey = errors.New("session: key belongs to the gateway")
	// ErrFull means that the keys and values would be over the limit.
	ErrFull = errors.New("session: full")
)

// The gateway's keys; never written to.
var (
	keyLink     = []byte("link")
	keyOpenedAt = []byte("opened_at")
	keyRemote   = []byte("remote")
	keyListener = []byte("listener")
	keyUser     = []byte("user")
	keyDevice   = []byte("device")
)

// Store is the sessions of one shard, owned by the shard's thread.
type Store struct {
	limit  int // of one session; static
	slab   slab
	draft  draft
	digits []byte // opened_at of the session that is being opened
	count  int
	bytes  int
}

// NewStore returns an empty store whose sessions may have maxBytes bytes of
// keys and values each, all keys counted. It panics when maxBytes is not between 1 and MaxBytes.
func NewStore(maxBytes int) *Store {
	if maxBytes < 1 || maxBytes > MaxBytes {
		panic(fmt.Sprintf("session: limit of %d bytes is not between 1 and %d", maxBytes, MaxBytes))
	}
	s := &Store{limit: maxBytes}
	s.slab.init()
	s.draft.seed = maphash.MakeSeed()
	return s
}

// Open makes the session of a new link. The gateway's word is final: it is
// written even if it alone is over the limit, and bytes that are not UTF-8
// become question marks.
func (s *Store) Open(link, remote, listener []byte, openedAtMs int64) Ref {
	return s.place(0, s.Preview(link, remote, listener, openedAtMs))
}

// Preview returns the field of the session that Open would make, without making
// it: for a link that has nothing to remember yet. The bytes are good until
// the store's next change.
func (s *Store) Preview(link, remote, listener []byte, openedAtMs int64) []byte {
	defer s.draft.reset()
	s.digits = strconv.AppendInt(s.digits[:0], openedAtMs, 10)
	s.draft.add(keyLink, text(link))
	s.draft.add(keyOpenedAt, s.digits)
	s.draft.add(keyRemote, text(remote))
	s.draft.add(keyListener, text(listener))
	return s.draft.encode()
}

func text(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	return bytes.ToValidUTF8(b, []byte("?"))
}

// Field returns the encoded session field of UpItem, with tag and length, to
// be copied at once: the bytes are the store's and good until its next change. It
// is nil for Ref 0 and for a session that was freed a moment ago.
func (s *Store) Field(r Ref) []byte {
	if r == 0 {
		return nil
	}
	b := s.slab.slot(r)
	if b[0] != fieldTag {
		return nil
	}
	n := fieldLen(b)
	return b[:n:n]
}

// fieldLen reads how long the field at the start of a slot is. A slot has 16
// bytes at least and a field less than 2^21, so three bytes of length are there to
// look at and are enough.
func fieldLen(b []byte) int {
	n := int(b[1])
	if n < 0x80 {
		return 2 + n
	}
	n = n&0x7f | int(b[2])<<7
	if n < 1<<14 {
		return 3 + n
	}
	return 4 + (n&(1<<14-1) | int(b[3])<<14)
}

// Bind writes the keys user and device, over what they were. It returns the
// session's Ref from now on. Errors are ErrPatch (not UTF-8) and ErrFull.
func (s *Store) Bind(r Ref, user, device []byte) (Ref, error) {
	if !utf8.Valid(user) || !utf8.Valid(device) {
		return r, ErrPatch
	}
	defer s.draft.reset()
	limit := s.edit(r)
	s.draft.put(keyUser, user)
	s.draft.put(keyDevice, device)
	return s.commit(r, limit)
}

// Patch carries out an encoded SessionPatch and returns the session's Ref from
// now on. Deletes come first, so a key that is both deleted and set is set; of
// a key that is set twice the last value stays. Errors are ErrPatch, ErrKey and ErrFull.
func (s *Store) Patch(r Ref, patch []byte) (Ref, error) {
	if err := checkPatch(patch); err != nil {
		return r, err
	}
	defer s.draft.reset()
	limit := s.edit(r)
	if err := s.draft.applyPatch(patch, limit); err != nil {
		return r, err
	}
	return s.commit(r, limit)
}

// edit loads a session into the draft; Ref 0 counts as an empty one. It
// returns the limit for this change: a session that is over the limit, because
// that was lowered over an upgrade, may still change as long as it does not grow.
func (s *Store) edit(r Ref) (limit int) {
	field := s.Field(r)
	if r != 0 && field == nil {
		panic(fmt.Sprintf("session: change of %#x, which is free", uint32(r)))
	}
	if !s.draft.load(field) {
		panic(fmt.Sprintf("session: %#x holds no session", uint32(r)))
	}
	return max(s.limit, s.draft.bytes())
}

func (s *Store) commit(r Ref, limit int) (Ref, error) {
	if s.draft.bytes() > limit {
		return r, ErrFull
	}
	return s.place(r, s.draft.encode()), nil
}

// place writes a field into the slot of r if it has the right size, else into
// another one. No byte of the old session stays behind. The field must not lie in
// a slot.
func (s *Store) place(r Ref, field []byte) Ref {
	class := classOf(len(field))
	if class > lastClass {
		panic(fmt.Sprintf("session: field of %d bytes", len(field)))
	}
	if r != 0 && int(r>>placeBits) == class {
		slot := s.slab.slot(r)
		old := fieldLen(slot)
		copy(slot, field)
		clear(slot[len(field):max(old, len(field))])
		s.bytes += len(field) - old
		return r
	}
	s.Free(r)
	r = s.slab.take(class)
	slot := s.slab.slot(r)
	copy(slot, field)
	clear(slot[len(field):max(3, len(field))]) // a two-byte field leaves one of the free list
	s.count++
	s.bytes += len(field)
	return r
}

// Free ends a session. Ref 0 is ignored; to free a session twice is a fault of
// the caller and panics while the slot is not used again.
func (s *Store) Free(r Ref) {
	if r == 0 {
		return
	}
	field := s.Field(r)
	if field == nil {
		panic(fmt.Sprintf("session: %#x is freed twice", uint32(r)))
	}
	s.count--
	s.bytes -= len(field)
	clear(field)
	s.slab.give(r)
}

// Value returns the value of a key, good until the store's next change; nil if
// the session has no such key.
func (s *Store) Value(r Ref, key string) []byte {
	field := s.Field(r)
	body, _ := cut(&field, fieldTag)
	for len(body) > 0 {
		entry, _ := cut(&body, entryTag)
		k, _ := cut(&entry, keyTag)
		if string(k) == key {
			value, _ := protowire.ConsumeBytes(entry[1:])
			return value
		}
	}
	return nil
}

// Len returns the number of sessions.
func (s *Store) Len() int { return s.count }

// Bytes returns the sum of the lengths of all fields.
func (s *Store) Bytes() int { return s.bytes }

// Held returns the memory that the sessions lie in, free slots included.
func (s *Store) Held() int { return s.slab.held }
