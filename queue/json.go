package queue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// mostMessages is how many one request may carry.
const mostMessages = 1000

// inputError tells what is wrong with a body, and where.
type inputError struct {
	line int // from 1
	text string
}

func (e *inputError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.text) }

// body reads the messages of a request: one object, several one after the other (NDJSON), or a list of them.
type body struct {
	text       []byte
	dec        *json.Decoder
	payloadMax int
}

// parseBody returns the messages. The error is an *inputError about the first one that is wrong.
func parseBody(text []byte, payloadMax int) ([]Message, error) {
	b := &body{text, json.NewDecoder(bytes.NewReader(text)), payloadMax}
	if !utf8.Valid(text) {
		return nil, b.fail(invalidAt(text), "is not UTF-8")
	}
	list := false
	if first := bytes.TrimLeft(text, " \t\r\n"); len(first) > 0 && first[0] == '[' {
		list = true
		_, _ = b.dec.Token()
	}
	var messages []Message
	for {
		if list && !b.dec.More() {
			break
		}
		at := b.next()
		if !list && at == len(text) {
			break
		}
		m, err := b.message()
		if err != nil {
			return nil, b.explain(at, err)
		}
		if messages = append(messages, m); len(messages) > mostMessages {
			return nil, b.fail(at, fmt.Sprintf("more than %d messages", mostMessages))
		}
	}
	if list {
		at := b.next()
		if _, err := b.dec.Token(); err != nil {
			return nil, b.explain(at, err)
		}
		if at = b.next(); at < len(text) {
			return nil, b.fail(at, "something stands behind the list")
		}
	}
	if len(messages) == 0 {
		return nil, b.fail(len(text), "there is no message")
	}
	return messages, nil
}

// next is where the next value begins.
func (b *body) next() int {
	at := int(b.dec.InputOffset())
	for at < len(b.text) && strings.IndexByte(" \t\r\n,", b.text[at]) >= 0 {
		at++
	}
	return at
}

func invalidAt(text []byte) int {
	at := 0
	for at < len(text) {
		r, n := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		at += n
	}
	return at
}

func (b *body) fail(at int, text string) error {
	return &inputError{1 + bytes.Count(b.text[:at], []byte("\n")), text}
}

// explain says in plain words what is wrong with the message that begins at a place.
func (b *body) explain(at int, err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return b.fail(at, "the JSON ends too early")
	case errors.As(err, &syntax):
		return b.fail(min(int(b.dec.InputOffset()), len(b.text)), "is no JSON: "+syntax.Error())
	}
	return b.fail(at, err.Error())
}

// message reads one object.
func (b *body) message() (Message, error) {
	var m Message
	token, err := b.dec.Token()
	if err != nil {
		return m, err
	}
	if token != json.Delim('{') {
		return m, errors.New("a message is an object in braces")
	}
	seen := make(map[string]bool)
	for b.dec.More() {
		token, err := b.dec.Token()
		if err != nil {
			return m, err
		}
		key, _ := token.(string)
		if seen[key] {
			return m, fmt.Errorf("%s: stands there twice", key)
		}
		seen[key] = true
		if err := b.value(&m, key); err != nil {
			return m, err
		}
	}
	if _, err := b.dec.Token(); err != nil {
		return m, err
	}
	switch {
	case !seen["to"]:
		return m, errors.New("to: missing")
	case seen["text"] && seen["payload"]:
		return m, errors.New("payload: text and payload exclude each other")
	case !seen["text"] && !seen["payload"]:
		return m, errors.New("payload: missing; give text, or payload in base64")
	case len(m.Payload) > b.payloadMax:
		return m, tooLarge(len(m.Payload), b.payloadMax)
	}
	return m, m.checkTogether()
}

// value reads the value of a key.
func (b *body) value(m *Message, key string) error {
	switch key {
	case "to":
		s, err := get[string](b, key, "text")
		if err == nil {
			if m.To, err = ParseTo(s); err != nil {
				err = fmt.Errorf("to: %w", err)
			}
		}
		return err
	case "text":
		s, err := get[string](b, key, "text")
		m.Payload = []byte(s)
		return err
	case "payload":
		var err error
		m.Payload, err = get[[]byte](b, key, "base64")
		return err
	case "msg_id":
		var err error
		if m.MsgID, err = get[string](b, key, "text"); err != nil {
			return err
		}
		return m.checkMsgID()
	case "ack":
		s, err := get[string](b, key, "text")
		if err != nil {
			return err
		}
		return m.setAck(s)
	case "offline":
		var err error
		m.Offline, err = get[bool](b, key, "true or false")
		return err
	case "gzip":
		allowed, err := get[bool](b, key, "true or false")
		m.NoGzip = !allowed
		return err
	case "ttl_ms":
		n, err := get[int64](b, key, "a whole number")
		if err == nil && (n < 0 || n > maxTTL.Milliseconds()) {
			err = fmt.Errorf("ttl_ms: %d is not between 0 and %d", n, maxTTL.Milliseconds())
		}
		m.TTL = time.Duration(n) * time.Millisecond
		return err
	}
	return fmt.Errorf("%s: unknown; there are to, text, payload, msg_id, ack, offline, gzip, ttl_ms", quote(key))
}

// get reads a value of one type. null is none.
func get[T any](b *body, key, want string) (v T, err error) {
	var raw json.RawMessage
	if err := b.dec.Decode(&raw); err != nil {
		return v, err
	}
	if string(raw) == "null" || json.Unmarshal(raw, &v) != nil {
		return v, fmt.Errorf("%s: must be %s", key, want)
	}
	return v, nil
}
