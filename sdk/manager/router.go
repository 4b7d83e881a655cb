package manager

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
)

// Header keys of a Message (PROTOCOL.md 1.4), and the one in which an answer says that it is an error.
const (
	HeaderTagA    = 1
	HeaderTagB    = 2
	HeaderRequest = 3
	HeaderError   = 4
)

// Error codes that the Router answers with by itself, in header key 4. Body key 0 then holds a text for people. Codes of
// an application begin at CodeFirst.
const (
	CodeMalformed  = 1 // no Message, or one without a tag
	CodeUnknownTag = 2
	CodePanic      = 3 // the handler failed
	CodeFirst      = 16
)

// Tag says which call a Message is. It is written (A,B).
type Tag struct {
	A, B int64
}

// String returns the tag as the protocol writes it.
func (t Tag) String() string { return fmt.Sprintf("(%d,%d)", t.A, t.B) }

// Router calls a function for each Message by its tag. Its Serve is a Handler.Data. All Handle must come before the
// first Serve.
//
// An answer repeats header keys 1, 2 and 3 as they came. A call that cannot be handed to a function is answered with an
// error: header key 4 holds one of the codes above.
type Router struct {
	routes map[Tag]func(*Call)
}

// Handle has f called for the messages with tag t. It panics if t has a function already: two parts of one program that
// both believe to own a tag are a mistake to be seen at start.
func (r *Router) Handle(t Tag, f func(*Call)) {
	if f == nil {
		panic(fmt.Sprintf("manager: tag %v has a nil function", t))
	}
	if _, ok := r.routes[t]; ok {
		panic(fmt.Sprintf("manager: tag %v is handled twice", t))
	}
	if r.routes == nil {
		r.routes = make(map[Tag]func(*Call))
	}
	r.routes[t] = f
}

// Serve finds the function for a client's message and calls it.
func (r *Router) Serve(e *Event) {
	c := Call{Event: e, Request: new(edgedpb.Message)}
	if err := proto.Unmarshal(e.Payload, c.Request); err != nil {
		c.Request.Reset()
		c.malformed("not a Message")
		return
	}
	a, okA := intOf(c.Request.GetHeader()[HeaderTagA])
	b, okB := intOf(c.Request.GetHeader()[HeaderTagB])
	if !okA || !okB {
		c.malformed("header keys 1 and 2 hold no tag")
		return
	}
	c.Tag = Tag{a, b}
	f := r.routes[c.Tag]
	if f == nil {
		e.s.m.count.noTag.Add(1)
		_ = c.Fail(CodeUnknownTag, "unknown tag "+c.Tag.String())
		return
	}
	defer c.caught()
	f(&c)
}

// Call is one Message from a client and the way to answer it. It is lent for the call, like its Event.
type Call struct {
	Event   *Event
	Tag     Tag
	Request *edgedpb.Message
}

// Value returns what the body holds under key; nil if nothing.
func (c *Call) Value(key uint32) *edgedpb.Value { return c.Request.GetBody()[key] }

// Has says whether the body holds anything under key.
func (c *Call) Has(key uint32) bool { return c.Value(key) != nil }

// Int returns the integer under key of the body, and 0 if there is none. Has tells the two apart; the same goes for the
// methods below.
func (c *Call) Int(key uint32) int64 { return c.Value(key).GetInt() }

// Double returns the double under key of the body.
func (c *Call) Double(key uint32) float64 { return c.Value(key).GetDouble() }

// Bool returns the bool under key of the body.
func (c *Call) Bool(key uint32) bool { return c.Value(key).GetBool() }

// String returns the string under key of the body.
func (c *Call) String(key uint32) string { return c.Value(key).GetString_() }

// Bytes returns the bytes under key of the body.
func (c *Call) Bytes(key uint32) []byte { return c.Value(key).GetBytes() }

// Map returns the map under key of the body.
func (c *Call) Map(key uint32) map[uint32]*edgedpb.Value { return c.Value(key).GetMap().GetFields() }

// List returns the list under key of the body.
func (c *Call) List(key uint32) []*edgedpb.Value { return c.Value(key).GetList().GetItems() }

// Answer sends the client an answer with that body. Values may be of the types that NewValue takes.
func (c *Call) Answer(body map[uint32]any) error {
	b, err := answer(c.Request.GetHeader(), 0, body)
	if err != nil {
		return err
	}
	return c.Event.Data(b)
}

// Fail answers with an error. Codes below CodeFirst are the Router's own.
func (c *Call) Fail(code int64, text string) error {
	b, err := answer(c.Request.GetHeader(), code, map[uint32]any{0: text})
	if err != nil {
		return err
	}
	return c.Event.Data(b)
}

// Detach returns the way to answer that remains valid after the call, for work that goes on elsewhere.
func (c *Call) Detach() Reply {
	return Reply{m: c.Event.Manager(), link: c.Event.Link, header: c.Request.GetHeader()}
}

func (c *Call) malformed(text string) {
	c.Event.s.m.count.malformedMsg.Add(1)
	_ = c.Fail(CodeMalformed, text) // a link that cannot be answered is not our trouble
}

func (c *Call) caught() {
	if v := recover(); v != nil {
		c.Event.s.m.panicked(c.Tag, v)
		_ = c.Fail(CodePanic, "the handler failed")
	}
}

// Reply answers a Call after its function has returned, from any goroutine.
type Reply struct {
	m      *Manager
	link   Link
	header map[uint32]*edgedpb.Value
}

// Link is who asked.
func (r Reply) Link() Link { return r.link }

// Answer is Call.Answer.
func (r Reply) Answer(body map[uint32]any) error {
	b, err := answer(r.header, 0, body)
	if err != nil {
		return err
	}
	return r.m.Data(r.link, b)
}

// Fail is Call.Fail.
func (r Reply) Fail(code int64, text string) error {
	b, err := answer(r.header, code, map[uint32]any{0: text})
	if err != nil {
		return err
	}
	return r.m.Data(r.link, b)
}
