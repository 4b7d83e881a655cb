package client_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/sdk/client"
	"edged/wire"
)

// asked reads a request.
func (p *peer) asked() *edgedpb.Message {
	p.t.Helper()
	var m edgedpb.Message
	if err := proto.Unmarshal(p.want(wire.KindData), &m); err != nil {
		p.t.Fatal(err)
	}
	return &m
}

func (p *peer) answer(m *edgedpb.Message) {
	p.t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		p.t.Fatal(err)
	}
	p.send(wire.Append(nil, wire.KindData, b))
}

type answered struct {
	m   *edgedpb.Message
	err error
}

func ask(ctx context.Context, c *client.Client, m *edgedpb.Message) <-chan answered {
	done := make(chan answered, 1)
	go func() {
		m, err := c.Request(ctx, m)
		done <- answered{m, err}
	}()
	return done
}

func TestRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		l := newLog()
		c := newClient(t, options(f, l))
		p := f.welcomed()
		question := client.NewMessage(7, 1, map[uint32]*edgedpb.Value{0: client.String("how much?")})
		first := ask(t.Context(), c, question)
		m := p.asked()
		h := m.Header
		if h[1].GetInt() != 7 || h[2].GetInt() != 1 || h[3] == nil || m.Body[0].GetString_() != "how much?" {
			t.Errorf("%v", m)
		}
		if len(question.Header) != 2 {
			t.Errorf("the caller's message was changed: %v", question)
		}
		second := ask(t.Context(), c, question)
		m2 := p.asked()
		if m2.Header[3].GetInt() == h[3].GetInt() {
			t.Error("two requests with one number")
		}
		// What is no answer to them goes to OnData: another number, another tag, no number, no Message.
		wrong := client.NewMessage(7, 1, nil)
		wrong.Header[3] = client.Int(999)
		p.answer(wrong)
		wrong = client.NewMessage(7, 2, nil)
		wrong.Header[3] = h[3]
		p.answer(wrong)
		p.answer(client.NewMessage(7, 1, nil))
		p.data("\xff")

		for _, m := range []*edgedpb.Message{m2, m} {
			m.Body = map[uint32]*edgedpb.Value{0: client.Int(m.Header[3].GetInt())}
			p.answer(m)
		}
		for i, done := range []<-chan answered{first, second} {
			a := <-done
			if a.err != nil || a.m.Body[0].GetInt() != int64(i+1) {
				t.Errorf("request %d: %v, %v", i, a.m, a.err)
			}
		}
		p.answer(m) // once more: nobody waits for it now
		synctest.Wait()
		if n := strings.Count(l.String(), "data"); n != 5 {
			t.Errorf("OnData was called %d times: %q", n, l)
		}
	})
}

func TestRequestsByMany(t *testing.T) {
	f := newFake(t)
	c := newClient(t, options(f, newLog()))
	p := f.welcomed()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			m, err := c.Request(t.Context(), client.NewMessage(1, 0, map[uint32]*edgedpb.Value{0: client.Int(int64(i))}))
			if err != nil || m.Body[0].GetInt() != int64(i) {
				t.Errorf("%d: %v, %v", i, m, err)
			}
		})
	}
	for range 50 {
		p.answer(p.asked())
	}
	wg.Wait()
}

func TestRequestThatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := newClient(t, options(f, newLog()))
		p := f.welcomed()
		sent := ask(t.Context(), c, client.NewMessage(1, 0, nil))
		p.asked()
		_ = p.conn.Close()
		if a := <-sent; !errors.Is(a.err, client.ErrLost) {
			t.Errorf("%v", a.err)
		}
		// One that is asked while there is no link goes over the next one.
		kept := ask(t.Context(), c, client.NewMessage(1, 0, nil))
		synctest.Wait()
		p = f.welcomed()
		p.answer(p.asked())
		if a := <-kept; a.err != nil {
			t.Error(a.err)
		}
	})
}

func TestRequestIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := newClient(t, options(f, newLog()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Request(ctx, client.NewMessage(1, 0, nil)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		p := f.welcomed()
		closing := ask(t.Context(), c, &edgedpb.Message{})
		p.asked() // the one that was given up
		p.asked()
		c.Close()
		if a := <-closing; a.err == nil {
			t.Errorf("answered by nobody: %v", a.m)
		}
	})
}

func TestRequestThatCannotBeSent(t *testing.T) {
	f := newFake(t)
	o := options(f, newLog())
	o.QueueBytes = 10
	c := newClient(t, o)
	if _, err := c.Request(t.Context(), client.NewMessage(1, 0, map[uint32]*edgedpb.Value{0: client.String("\xff")})); err == nil {
		t.Error("a text that is not UTF-8 is sent")
	}
	if _, err := c.Request(t.Context(), client.NewMessage(1, 0, map[uint32]*edgedpb.Value{0: client.Bytes(make([]byte, 70000))})); !errors.Is(err, client.ErrTooLong) {
		t.Errorf("%v", err)
	}
	_ = c.Send(make([]byte, 20))
	if _, err := c.Request(t.Context(), client.NewMessage(1, 0, nil)); !errors.Is(err, client.ErrFull) {
		t.Errorf("%v", err)
	}
}
