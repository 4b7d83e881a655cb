package offline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"edged/offline"
	"edged/redisconn"
	"edged/redisconn/redistest"
)

// limit bounds every wait.
const limit = 20 * time.Second

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func dial(t testing.TB, addrs ...string) *redisconn.Client {
	t.Helper()
	client := redisconn.New(redisconn.Config{Addresses: addrs}, slog.New(slog.DiscardHandler))
	t.Cleanup(client.Close)
	eventually(t, "a connection", client.Connected)
	return client
}

// open starts a server and returns a Log over it.
func open(t testing.TB, change ...func(*offline.Config)) (*redistest.Server, *offline.Log) {
	t.Helper()
	s := redistest.Start(t)
	c := offline.Default()
	for _, f := range change {
		f(&c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return s, offline.New(dial(t, s.Addr), c)
}

func msg(user, id, payload string) offline.Message {
	return offline.Message{User: user, MsgID: id, Payload: []byte(payload)}
}

// several returns n messages for one user, with msg_ids and payloads from 1.
func several(user string, n int) []offline.Message {
	var list []offline.Message
	for i := range n {
		list = append(list, msg(user, fmt.Sprintf("%s-%d", user, i+1), fmt.Sprint("text ", i+1)))
	}
	return list
}

// store returns the versions, negative for duplicates. An error fails the test.
func store(t testing.TB, l *offline.Log, messages ...offline.Message) []int {
	t.Helper()
	var versions []int
	for i, r := range l.Store(soon(t), messages) {
		if r.Err != nil {
			t.Fatalf("message %d: %v", i, r.Err)
		}
		if r.Duplicate {
			versions = append(versions, -int(r.Version))
		} else {
			versions = append(versions, int(r.Version))
		}
	}
	return versions
}

func pull(t testing.TB, l *offline.Log, user, device string, after uint64, most int) offline.Pulled {
	t.Helper()
	p, err := l.Pull(soon(t), user, device, after, most)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func synced(t testing.TB, l *offline.Log, user, device string, version uint64) {
	t.Helper()
	if err := l.Sync(soon(t), []offline.Point{{User: user, Device: device, Version: version}})[0]; err != nil {
		t.Fatal(err)
	}
}

// brief writes entries as "1=text 1, 2=text 2".
func brief(entries []offline.Entry) string {
	var parts []string
	for _, e := range entries {
		parts = append(parts, fmt.Sprintf("%d=%s", e.Version, e.Payload))
	}
	return strings.Join(parts, ", ")
}

// unixMS is the server's clock.
func unixMS(s *redistest.Server) int64 {
	seconds, micros, _ := strings.Cut(s.Do("TIME"), "\n")
	a, _ := strconv.ParseInt(seconds, 10, 64)
	b, _ := strconv.ParseInt(micros, 10, 64)
	return a*1000 + b/1000
}

// forge puts an entry into a log as another program would, stored some time ago, and returns when that was, in Unix ms.
func forge(s *redistest.Server, user string, version uint64, ago time.Duration) int64 {
	at := unixMS(s) - ago.Milliseconds()
	e := offline.Entry{Version: version, Stored: time.UnixMilli(at), Payload: []byte("forged")}
	s.Do("ZADD", "edged:log:{"+user+"}", strconv.FormatUint(version, 10), string(offline.AppendEntry(nil, &e)))
	return at
}

// isClash tells a ClashError about a key.
func isClash(err error, user, key string) bool {
	var clash *offline.ClashError
	return errors.As(err, &clash) && clash.User == user && clash.Key == key && strings.HasPrefix(clash.What, "is no ")
}

// seeded returns a source whose seed is in the test's output.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// redisconnAway returns a client of a server that is not there.
func redisconnAway(t testing.TB) *redisconn.Client {
	t.Helper()
	client := redisconn.New(redisconn.Config{Addresses: []string{"127.0.0.1:1"}}, slog.New(slog.DiscardHandler))
	t.Cleanup(client.Close)
	return client
}
