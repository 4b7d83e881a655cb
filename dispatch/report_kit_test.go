package dispatch_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/dispatch"
	"edged/redisconn"
	"edged/redisconn/redistest"
)

const (
	// interval is a report interval of tests: a report lives three of them.
	interval = 300 * time.Millisecond
	// limit bounds every wait.
	limit = 20 * time.Second
)

// eventually polls until ok, and fails the test after the limit.
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

// dial returns a client of its own for the server.
func dial(t testing.TB, c redisconn.Config) *redisconn.Client {
	t.Helper()
	client := redisconn.New(c, slog.New(slog.DiscardHandler))
	t.Cleanup(client.Close)
	return client
}

func standalone(s *redistest.Server) redisconn.Config {
	return redisconn.Config{Addresses: []string{s.Addr}}
}

// report starts a Reporter that ends with the test.
func report(t testing.TB, c redisconn.Config, id string, every time.Duration, log *slog.Logger) *dispatch.Reporter {
	t.Helper()
	r := dispatch.NewReporter(dial(t, c), id, every, log)
	t.Cleanup(func() { r.Stop(context.Background()) })
	return r
}

func reader(t testing.TB, c redisconn.Config, log *slog.Logger) *dispatch.FleetReader {
	t.Helper()
	return dispatch.NewFleetReader(dial(t, c), interval, log)
}

// up is the report of a gateway that is well.
func up(address, slb string, availability float64) dispatch.Report {
	return dispatch.Report{
		Address: address, SLB: slb, State: dispatch.StateUp, Reason: "pps", Version: "v1.2.3",
		Availability: availability, Raw: 0.875, PPS: 1234.4, PPSLimit: 10000, Bytes: 5e9, BytesLimit: 1.25e10,
		Links: 321, Capacity: 1000, Epoch: 7, Sharded: true,
	}
}

// with returns the report with another state.
func with(r dispatch.Report, state string) dispatch.Report {
	r.State = state
	return r
}

// written waits for the first success.
func written(t testing.TB, r *dispatch.Reporter) {
	t.Helper()
	eventually(t, "a report", func() bool { return r.Stats().OK })
}

// hash is a report as the server has it; empty when there is none.
func hash(s *redistest.Server, id string) map[string]string {
	lines := strings.Split(s.Do("HGETALL", "edged:gw:{"+id+"}"), "\n")
	fields := make(map[string]string)
	for i := 0; i+1 < len(lines); i += 2 {
		fields[lines[i]] = lines[i+1]
	}
	return fields
}

// names returns the IDs of a fleet.
func names(f dispatch.Fleet) (ids []string) {
	for _, g := range f.Gateways {
		ids = append(ids, g.ID)
	}
	return ids
}

// book is a log that tests read.
type book struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *book) log() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// lines returns those that hold text.
func (b *book) lines(text string) (found []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(b.text.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}
