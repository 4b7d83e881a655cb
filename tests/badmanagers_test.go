//go:build e2e

package tests

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	"edged/api/edgedpb"
	"edged/wire"
)

// rawCodec sends a []byte as it is, and does with other messages what the usual codec does.
type rawCodec struct{ encoding.CodecV2 }

func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.([]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// newRaw is a plain Manager that can also send bytes that are no message.
func newRaw(t *testing.T, options ...grpc.ServerOption) *plain {
	t.Helper()
	codec := rawCodec{encoding.GetCodecV2("proto")}
	return newPlain(t, nil, append(options, grpc.ForceServerCodecV2(codec), grpc.MaxSendMsgSize(64<<20))...)
}

// junk sends bytes as one message of a stream.
func (s *plainStream) junk(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.call.SendMsg(b)
}

// waitOther waits until another stream of reactor 0 is there than old.
func (p *plain) waitOther(old *plainStream) {
	p.t.Helper()
	waitFor(p.t, "a new stream", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, s := range p.streams {
			if s != old && s.hello.GetReactor() == old.hello.GetReactor() {
				return true
			}
		}
		return false
	})
}

// TestManagerJunk has a Manager break the protocol on its stream: the stream ends and comes back, the links stay.
func TestManagerJunk(t *testing.T) {
	t.Parallel()
	r := random(t)
	p := newRaw(t)
	g := start(t, setup{managers: []string{p.address}})
	c := dialIn(t, g.address(), "ann/phone")
	good := beside(t, g.address(), 5, 50*time.Millisecond)
	good.end() // a broken stream without receipts loses what is on its way: they only have to live
	type fault struct {
		reason string
		send   func(*plainStream) error
	}
	message := func(d *edgedpb.Downstream) func(*plainStream) error {
		return func(s *plainStream) error {
			return s.junk(must(encoding.GetCodecV2("proto").Marshal(d))(t).Materialize())
		}
	}
	faults := []fault{
		{"garbage", func(s *plainStream) error { return s.junk([]byte{0xff, 0xff, 0xff}) }},
		{"garbage", func(s *plainStream) error { return s.junk(append([]byte{7}, randomBytes(r, 1000)...)) }},
		{"hole", message(&edgedpb.Downstream{Seq: 1 << 40})},
		{"too_large", message(&edgedpb.Downstream{Items: []*edgedpb.DownItem{dataItem(p.opened(c.link).GetLink(), make([]byte, 10<<20))}})},
	}
	want := map[string]float64{}
	for i, f := range faults {
		s := p.stream(0)
		if f.reason == "hole" {
			check(t, message(&edgedpb.Downstream{Seq: 1})(s)) // a stream's first number may be any
		}
		want[f.reason]++
		check(t, f.send(s))
		p.waitOther(s)
		g.waitMetric("edged_manager_stream_faults_total", want[f.reason], "reason", f.reason)
		waitFor(t, "the stream is up again", func() bool { return g.metric("edged_manager_stream_up") == 1 })
		if err := c.exchange(fmt.Appendf(nil, "after fault %d", i)); err != nil {
			t.Fatalf("after fault %d, %s: %v", i, f.reason, err)
		}
	}
	if n := len(g.log.lines("ResourceExhausted")); n != 1 {
		t.Errorf("the log tells %d times of the batch that was too large", n)
	}
	g.waitMetric("edged_links_closed_total", 5, "reason", "client_bye") // the five that left by themselves
	g.waitMetric("edged_links", 1)
	g.balanced()
}

// TestManagerLies has a Manager that promised receipts give one for what was never sent.
func TestManagerLies(t *testing.T) {
	t.Parallel()
	p := newRaw(t)
	p.hello = &edgedpb.ManagerHello{ManagerId: "liar", Protocol: 1, Receipts: true}
	g := start(t, setup{managers: []string{p.address}})
	c := dialIn(t, g.address(), "ann/phone")
	s := p.stream(0)
	check(t, s.junk(must(encoding.GetCodecV2("proto").Marshal(&edgedpb.Downstream{Received: 1 << 40}))(t).Materialize()))
	p.waitOther(s)
	g.waitMetric("edged_manager_stream_faults_total", 1, "reason", "garbage")
	waitFor(t, "the stream is up again", func() bool { return g.metric("edged_manager_stream_up") == 1 })
	check(t, c.write(wire.AppendHeartbeat(nil)))
	c.want(0)
	if n := g.metric("edged_manager_resent_batches_total"); n == 0 {
		t.Error("what lacks a receipt was not sent again")
	}
	g.balanced()
}

// TestManagerNonsense sends items that no link fits, and items that are no items.
func TestManagerNonsense(t *testing.T) {
	t.Parallel()
	r := random(t)
	p := newRaw(t)
	g := start(t, setup{gateway: "reactors = 2", managers: []string{p.address}})
	c := dialIn(t, g.address(), "ann/phone")
	l := p.opened(c.link).GetLink()
	var items []*edgedpb.DownItem
	add := func(it *edgedpb.DownItem) { items = append(items, withRef(uint64(len(items)+1), it)) }
	for _, index := range []uint32{l.GetIndex() + 1, 1<<24 - 1, 1 << 25, 2 << 24, 255 << 24, 1<<32 - 1} {
		add(dataItem(&edgedpb.LinkRef{Index: index, Uniq: l.GetUniq()}, []byte("nobody")))
	}
	for _, uniq := range []uint32{l.GetUniq() + 1, l.GetUniq() - 1, 0, r.Uint32()} {
		add(dataItem(&edgedpb.LinkRef{Index: l.GetIndex(), Uniq: uniq}, []byte("nobody")))
	}
	stale := len(items)
	add(&edgedpb.DownItem{Target: &edgedpb.DownItem_User{User: "nobody"}, What: &edgedpb.DownItem_Data{Data: []byte("for nobody")}})
	add(&edgedpb.DownItem{What: &edgedpb.DownItem_Data{Data: []byte("no target")}})
	p.send(items...)
	check(t, p.stream(0).junk([]byte{0x0a, 3, 0x0a, 0xff, 0xff})) // an item of a link of garbage
	p.send(dataItem(l, []byte("for ann")))
	if got := c.want(wire.KindData); string(got) != "for ann" {
		t.Fatalf("%q was delivered", got)
	}
	for i := range items {
		code := edgedpb.Refused_STALE_LINK
		if i >= stale {
			code = []edgedpb.Refused_Code{edgedpb.Refused_NOT_HERE, edgedpb.Refused_INVALID}[i-stale]
		}
		p.wantRefused(uint64(i+1), code)
	}
	g.waitMetric("edged_operations_refused_total", float64(stale), "reason", "stale_link")
	g.waitMetric("edged_items_dropped_total", 1, "reason", "malformed")
	fuzz(t, p, r)
	check(t, c.exchange([]byte("still here")))
	if status, text := g.probe("/healthz"); status != 200 {
		t.Errorf("/healthz: %d %s", status, text)
	}
}

// fuzz sends random items under a correct outer level: none of them may do harm.
func fuzz(t *testing.T, p *plain, r interface {
	IntN(int) int
	Uint32() uint32
}) {
	t.Helper()
	for range 300 {
		var b []byte
		for range 1 + r.IntN(20) {
			item := make([]byte, r.IntN(60))
			for i := range item {
				item[i] = byte(r.Uint32())
			}
			if len(item) > 2 && item[0]&1 == 0 {
				item[0], item[1] = 0x32, byte(len(item)-2) // data, to nobody
			}
			b = append(append(b, 0x0a, byte(len(item))), item...)
		}
		check(t, p.stream(0).junk(b))
	}
}

// TestManagerAsleep freezes the Manager while links go on sending: it costs bounded memory, nothing is lost, and links that
// have nothing to say to it are served meanwhile.
func TestManagerAsleep(t *testing.T) {
	t.Parallel()
	var asleep atomic.Pointer[chan struct{}]
	p := newPlain(t, func(it *edgedpb.UpItem) []*edgedpb.DownItem {
		if gate := asleep.Load(); gate != nil {
			<-*gate
		}
		if it.GetMessage().GetKind() == edgedpb.ClientMessage_HELLO {
			return echo(it)
		}
		return nil
	})
	g := start(t, setup{gateway: "reactors = 2", managers: []string{p.address}})
	var talkers, quiet []*client
	for i := range 20 {
		talkers = append(talkers, dialIn(t, g.address(), fmt.Sprintf("talker-%d/x", i)))
		quiet = append(quiet, dialIn(t, g.address(), fmt.Sprintf("quiet-%d/x", i)))
	}
	gate := make(chan struct{})
	wake := func() {
		if asleep.Swap(nil) != nil {
			close(gate)
		}
	}
	t.Cleanup(wake)
	before := g.procStatus("VmRSS")
	asleep.Store(&gate)
	const messages, size = 400, 4 << 10 // 32 MB in all
	errs := make(chan error, len(talkers))
	for i, c := range talkers {
		go func() { errs <- talk(c, i, messages, size) }()
	}
	waitFor(t, "links wait for room", func() bool { return g.metric("edged_links_waiting") > 0 })
	slowest := heartbeats(t, quiet, 4*time.Second)
	if slowest > time.Second {
		t.Errorf("a heartbeat was answered after %v", slowest)
	}
	grown := g.procStatus("VmRSS") - before
	t.Logf("asleep: RSS grew by %d KiB from %d KiB, heartbeats answered within %v", grown>>10, before>>10, slowest)
	if grown > 64<<20 {
		t.Errorf("RSS grew by %d MiB while the Manager slept", grown>>20)
	}
	if n := g.metric("edged_links"); n != 40 {
		t.Errorf("%v links while the Manager slept, want 40", n)
	}
	wake()
	for range talkers {
		check(t, <-errs)
	}
	nothingLost(t, p, len(talkers), messages)
	g.waitMetric("edged_links_waiting", 0)
	g.balanced()
}

// talk sends numbered messages as fast as they are taken.
func talk(c *client, who, messages, size int) error {
	for n := range messages {
		payload := fmt.Appendf(make([]byte, 0, size), "%d %d ", who, n)
		if err := c.send(wire.KindData, payload[:size]); err != nil {
			return fmt.Errorf("talker %d, message %d: %w", who, n, err)
		}
	}
	return nil
}

// heartbeats exchanges heartbeats on all clients for a time, and returns the longest wait for an answer.
func heartbeats(t *testing.T, clients []*client, during time.Duration) (slowest time.Duration) {
	t.Helper()
	for end := time.Now().Add(during); time.Now().Before(end); {
		for _, c := range clients {
			began := time.Now()
			check(t, c.write(wire.AppendHeartbeat(nil)))
			c.want(0)
			slowest = max(slowest, time.Since(began))
		}
	}
	return slowest
}

// nothingLost waits until the Manager has all messages, and looks that each came once and in its turn.
func nothingLost(t *testing.T, p *plain, talkers, messages int) {
	t.Helper()
	isData := func(it *edgedpb.UpItem) bool { return it.GetMessage().GetKind() == edgedpb.ClientMessage_DATA }
	waitFor(t, "all messages", func() bool { return len(p.items.all(isData)) >= talkers*messages })
	next := make([]int, talkers)
	for _, it := range p.items.all(isData) {
		var who, n int
		if _, err := fmt.Sscanf(string(it.GetMessage().GetPayload()[:32]), "%d %d", &who, &n); err != nil {
			t.Fatal(err)
		}
		if n != next[who] {
			t.Fatalf("talker %d: message %d came in the place of %d", who, n, next[who])
		}
		next[who]++
	}
}

// TestManagerKilled kills the Manager's process and starts another one at its address: the links stay and go on.
func TestManagerKilled(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "m.sock")
	child := startManagerProcess(t, socket)
	g := start(t, setup{gateway: "reactors = 2", managers: []string{"unix:" + socket}, manager: `grace = "300ms"`})
	var clients []*client
	for i := range 20 {
		clients = append(clients, dialIn(t, g.address(), fmt.Sprintf("user-%d/x", i)))
	}
	for round := range 3 {
		killProcess(child)
		waitFor(t, "no Manager reachable", func() bool {
			status, text := g.probe("/readyz")
			return status == 503 && strings.Contains(text, "no Manager reachable")
		})
		heartbeats(t, clients, 0)
		if status, text := g.probe("/healthz"); status != 200 {
			t.Errorf("/healthz while the Manager is away: %d %s", status, text)
		}
		for _, c := range clients {
			check(t, c.send(wire.KindData, fmt.Appendf(nil, "said in between %d", round)))
		}
		child = startManagerProcess(t, socket)
		for i, c := range clients {
			if got := c.want(wire.KindData); string(got) != fmt.Sprintf("said in between %d", round) {
				t.Errorf("client %d got %q", i, got)
			}
			check(t, c.exchange([]byte("and after")))
		}
	}
	if n := g.metric("edged_links"); n != 20 {
		t.Errorf("%v links are left of 20", n)
	}
	if status, text := g.probe("/readyz"); status != 200 {
		t.Errorf("/readyz: %d %s", status, text)
	}
	g.balanced()
}

// TestNoManager is what clients are told who come while there is none.
func TestNoManager(t *testing.T) {
	t.Parallel()
	g := start(t, setup{gateway: `login_timeout = "700ms"`, managers: []string{freePort(t)}, manager: `grace = "200ms"`})
	waitFor(t, "no Manager reachable", func() bool { status, _ := g.probe("/readyz"); return status == 503 })
	began := time.Now()
	c := dial(t, g.address())
	check(t, c.send(wire.KindHello, []byte("ann/phone")))
	b := c.wantBye(wire.ByeNoManager)
	if b.RetryAfter <= 0 || b.RetryAfter > 30*time.Second {
		t.Errorf("retry after %v", b.RetryAfter)
	}
	wantLater(t, "the wait for a Manager", time.Since(began), 700*time.Millisecond)
	g.waitMetric("edged_links_closed_total", 1, "reason", "no_manager")
	if n := len(g.log.lines("manager not reachable")); n != 1 {
		t.Errorf("the log says %d times that the Manager is not reachable", n)
	}
}
