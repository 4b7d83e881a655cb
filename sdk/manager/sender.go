package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// ErrExpired is the result of a message that could not be written while it was worth trying; what went wrong last is
// wrapped in it too.
var ErrExpired = errors.New("manager: given up")

// ErrAck is returned for a message with an acknowledgement mode that does not exist.
var ErrAck = errors.New("manager: no such ack mode")

// messagesPath is where the queue layer takes messages.
const messagesPath = "/v1/messages"

// What a Sender does when its options say nothing, and what the queue layer takes at once.
const (
	DefaultSendPatience = 30 * time.Second
	maxPerRequest       = 1000
	maxRequestBytes     = 1 << 20 // an estimate of what is worth one request; one message may be larger
	requestTimeout      = 10 * time.Second
)

// SenderOptions say where messages go.
type SenderOptions struct {
	// URL is the queue layer's: "http://127.0.0.1:7090", or "unix:/run/edged/queue.sock". Without a path that of PROTOCOL.md
	// is added.
	URL   string
	Token string       // shown with each request, if it is not empty
	HTTP  *http.Client // nil: one without settings, which finds Unix sockets

	// Patience is how long a message is tried; 0: DefaultSendPatience. One with a shorter TTL is tried for that long.
	Patience time.Duration
	// KeepBytes bounds what waits to be sent; 0: DefaultKeepBytes.
	KeepBytes int
}

// Message is a message for the queue layer.
type Message struct {
	To Target
	Push
	// Offline has the message stored first, with a version, so that a user who is away gets it later. Only users have such
	// a store: for a device, a room or everyone it is refused.
	Offline bool
}

// Sender gives messages to the queue layer (`edged queue`), which stores those that are to be stored, finds out at which
// gateways their users are, and brings them there: one Manager need not have a stream of every gateway.
//
// Messages are sent in their order, one request at a time; what comes while a request is under way goes together in the
// next one. What a request did not bring there is sent again with the same MsgIDs, by which the queue layer and clients
// recognise what they had already: nothing is stored twice. Acknowledgements come to the Manager of the link, in
// Handler.Acked.
type Sender struct {
	// Static after NewSender.
	url      string
	token    string
	http     *http.Client
	patience time.Duration
	keep     int

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	wake chan struct{} // room for one: there is something to do
	done chan struct{} // closed when run has ended

	why   error // of messages whose time is over; owned by run
	count senderCounters

	mu     sync.Mutex
	queue  []*posting // waiting for their request; guarded by mu
	bytes  int        // of all that has no result yet; guarded by mu
	closed bool       // guarded by mu
}

// posting is a message on its way.
type posting struct {
	line  []byte // of the request's body
	until time.Time
	done  func(id string, err error)
}

// SenderStats is what a Sender has counted. Posted is the sum of the next four, once nothing is under way.
type SenderStats struct {
	Posted  uint64 // messages
	Written uint64 // of them, by the queue layer
	Refused uint64 // of them, by the queue layer, for good
	Expired uint64 // of them, given up because their time was over
	Dropped uint64 // of them, given up because Close had no more time

	Requests uint64
	Retries  uint64 // of them, because of one that failed
}

type senderCounters struct {
	posted, written, refused, expired, dropped, requests, retries atomic.Uint64
}

// NewSender starts a Sender. It fails only if the options are wrong.
func NewSender(o SenderOptions) (*Sender, error) {
	where, client, err := endpoint(o)
	if err != nil {
		return nil, err
	}
	s := &Sender{
		url: where, token: o.Token, http: client,
		patience: positive(o.Patience, DefaultSendPatience), keep: positive(o.KeepBytes, DefaultKeepBytes),
		wake: make(chan struct{}, 1), done: make(chan struct{}), why: ErrExpired,
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	go s.run()
	return s, nil
}

// endpoint returns what requests are sent to, and by whom.
func endpoint(o SenderOptions) (where string, client *http.Client, err error) {
	if client = o.HTTP; client == nil {
		client = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	}
	if path, ok := strings.CutPrefix(o.URL, "unix:"); ok && o.HTTP == nil && path != "" {
		client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}
		return "http://queue" + messagesPath, client, nil
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return "", nil, fmt.Errorf("manager: queue layer: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", nil, fmt.Errorf("manager: queue layer: %q is neither an http or https URL nor unix:/path", o.URL)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = messagesPath
	}
	return u.String(), client, nil
}

// Post queues a message and returns. done, which may be nil, is told what became of it: the queue layer's name for it, or
// why it was not written or why that is not known. It is called by the Sender's goroutine, in the order of the messages,
// and must not wait. If Post returns an error the message is not sent, and done is not called: ErrFull, ErrStopped,
// ErrTooLarge, ErrText, ErrAck or ErrTarget.
func (s *Sender) Post(m Message, done func(id string, err error)) error {
	line, err := encodeMessage(&m)
	if err != nil {
		return err
	}
	patience := s.patience
	if m.TTL > 0 {
		patience = min(patience, m.TTL)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrStopped
	case s.bytes > 0 && s.bytes+len(line) > s.keep:
		return ErrFull
	}
	s.bytes += len(line)
	s.queue = append(s.queue, &posting{line, time.Now().Add(patience), done})
	s.count.posted.Add(1)
	s.ring()
	return nil
}

// Send is Post, and waits for the result. When ctx ends first it returns; the message may still be written.
func (s *Sender) Send(ctx context.Context, m Message) (id string, err error) {
	type result struct {
		id  string
		err error
	}
	c := make(chan result, 1)
	if err := s.Post(m, func(id string, err error) { c <- result{id, err} }); err != nil {
		return "", err
	}
	select {
	case r := <-c:
		return r.id, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// Close sends what waits and ends the Sender. When ctx ends first, what is left gets ErrStopped; of the messages of a
// request that was under way it is not known whether they were written.
func (s *Sender) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.ring()
	s.mu.Unlock()
	defer s.stop()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
	}
	s.stop()
	<-s.done
	return ctx.Err()
}

// Stats returns the counters.
func (s *Sender) Stats() SenderStats {
	c := &s.count
	return SenderStats{
		Posted: c.posted.Load(), Written: c.written.Load(), Refused: c.refused.Load(), Expired: c.expired.Load(),
		Dropped: c.dropped.Load(), Requests: c.requests.Load(), Retries: c.retries.Load(),
	}
}

func (s *Sender) ring() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// encodeMessage writes a message as one line of JSON (docs/PROTOCOL.md, section 3).
func encodeMessage(m *Message) ([]byte, error) {
	to, err := address(m.To)
	switch {
	case err != nil:
		return nil, err
	case m.Offline && !strings.HasPrefix(to, "user:"):
		return nil, fmt.Errorf("%w: only users have messages stored", ErrTarget)
	case len(m.Payload) > maxItem || len(m.MsgID) > math.MaxUint8:
		return nil, ErrTooLarge
	case !utf8.ValidString(to) || !utf8.ValidString(m.MsgID):
		return nil, ErrText
	case m.Ack < AckNone || m.Ack > AckSampled:
		return nil, ErrAck
	}
	if m.MsgID == "" {
		m.MsgID = newMsgID()
	}
	if m.Payload == nil {
		m.Payload = []byte{} // nil would become null
	}
	b, err := json.Marshal(messageLine{
		To: to, Payload: m.Payload, MsgID: m.MsgID, Ack: [...]string{"none", "required", "sampled"}[m.Ack],
		Offline: m.Offline, TTLMs: millis(m.TTL), Gzip: m.AllowGzip,
	})
	return append(b, '\n'), err
}

// messageLine is a message as the queue layer reads it.
type messageLine struct {
	To      string `json:"to"`
	Payload []byte `json:"payload"` // base64
	MsgID   string `json:"msg_id"`
	Ack     string `json:"ack"`
	Offline bool   `json:"offline"`
	TTLMs   uint32 `json:"ttl_ms"`
	Gzip    bool   `json:"gzip"`
}

// address writes a target as the queue layer reads it.
func address(t Target) (string, error) {
	switch t.Kind {
	case ToUser("").Kind:
		if t.User != "" {
			return "user:" + t.User, nil
		}
	case ToDevice("", "").Kind:
		if t.User != "" && t.Device != "" && !strings.Contains(t.User, "/") {
			return "device:" + t.User + "/" + t.Device, nil
		}
	case ToRoom("").Kind:
		if t.Room != "" {
			return "room:" + t.Room, nil
		}
	case ToEveryone().Kind:
		return "everyone", nil
	}
	return "", ErrTarget
}
