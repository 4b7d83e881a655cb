package queue

import (
	"context"
	"time"
)

// Source is a broker that messages come from: one that remembers what it has handed out and hears no more of. Stream is the one
// over Redis. Read is called by one goroutine, the others by another.
type Source interface {
	// Read returns up to n entries that nobody has handled, in the order in which they came. It waits about a second for the
	// first one; none is no error. An entry that was read and not Done comes again, here or in another process, at the latest
	// when this process has died; one that comes again while it is being handled does no harm.
	Read(ctx context.Context, n int) ([]Entry, error)

	// Done tells that entries are handled and need not come again.
	Done(ctx context.Context, ids []string) error

	// Refuse puts entries where a person finds them. Each has an error, or nil when it was put there; that it is Done is
	// told separately.
	Refuse(ctx context.Context, entries []Refusal) []error
}

// Entry is a message as a broker has it.
type Entry struct {
	ID     string        // of its own in the Source, for ever
	Age    time.Duration // since the Source took it, when it was read
	Fields []Field       // as in edged:in
	Tries  int           // how often it was read in all
}

// Refusal is an entry that can never be handled.
type Refusal struct {
	Entry
	Why *BadError
}

// size is about the bytes that the entry takes.
func (e *Entry) size() int {
	n := len(e.ID) + 64
	for _, f := range e.Fields {
		n += len(f.Name) + len(f.Value) + 32
	}
	return n
}
