package queue_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"edged/queue"
	"edged/redisconn"
	"edged/redisconn/redistest"

	"github.com/redis/rueidis"
)

// BenchmarkLayer has one process handle entries of 100 bytes for 100,000 users, half of which are online at one of four gateways.
// cpu-us/message is what this process takes (getrusage), redis-us/message what Redis does; the gateways are a process of their own.
func BenchmarkLayer(b *testing.B) {
	for _, stored := range []string{"1", "0"} {
		b.Run("offline="+stored, func(b *testing.B) {
			s := redistest.Start(b)
			gateways := []string{"10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.3:7000", "10.0.0.4:7000"}
			spawn(b, "ears", strings.Join(gateways, ","), s.Addr)
			client := dial(b, s.Addr)
			users := min(100_000, b.N)
			fill(b, client, users, gateways, b.N, stored)
			c := queue.Default()
			l := newLayer(client, c, nil)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			go l.stream.Keep(ctx)
			before, server := cpu(b), serverCPU(b, s)
			b.ReportAllocs()
			b.ResetTimer()
			ended := make(chan struct{})
			go func() { l.service.Run(ctx); close(ended) }()
			for l.service.Stats().Finished < uint64(b.N) {
				time.Sleep(time.Millisecond)
			}
			b.StopTimer()
			used := cpu(b) - before
			cancel()
			<-ended
			st := l.service.Stats()
			if st.Unheard > 0 || st.Outcomes["dead"] > 0 || st.Retries > 0 {
				b.Errorf("%+v", st)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-us/message")
			b.ReportMetric(1e6*(serverCPU(b, s)-server)/float64(b.N), "redis-us/message")
		})
	}
}

// fill writes leases, routes and n entries.
func fill(b *testing.B, client *redisconn.Client, users int, gateways []string, n int, stored string) {
	b.Helper()
	many(b, client, len(gateways), func(x rueidis.Builder, i int) rueidis.Completed {
		return x.Set().Key("edged:lease:{" + gateways[i] + "}").Value("7").Build()
	})
	many(b, client, users/2, func(x rueidis.Builder, i int) rueidis.Completed {
		return x.Hset().Key(fmt.Sprintf("edged:route:{user-%d}", 2*i)).FieldValue().
			FieldValue("phone", fmt.Sprintf("%s 7 %[1]s:%d:1", gateways[i%len(gateways)], i)).Build()
	})
	payload := strings.Repeat("x", 100)
	many(b, client, n, func(x rueidis.Builder, i int) rueidis.Completed {
		return x.Xadd().Key("edged:in").Id("*").FieldValue().FieldValue("to", fmt.Sprintf("user:user-%d", i*7919%users)).
			FieldValue("payload", payload).FieldValue("offline", stored).FieldValue("msg_id", fmt.Sprint("message-", i)).Build()
	})
}

// many carries out n commands in pipelines.
func many(t testing.TB, client *redisconn.Client, n int, build func(x rueidis.Builder, i int) rueidis.Completed) {
	t.Helper()
	for at := 0; at < n; at += 1000 {
		results := client.DoMulti(soon(t), func(x rueidis.Builder) rueidis.Commands {
			var list rueidis.Commands
			for i := at; i < min(at+1000, n); i++ {
				list = append(list, build(x, i))
			}
			return list
		})
		for _, r := range results {
			if err := r.Error(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func cpu(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serverCPU is the seconds that Redis has worked.
func serverCPU(t testing.TB, s *redistest.Server) (sum float64) {
	t.Helper()
	for _, line := range strings.Split(s.Do("INFO", "cpu"), "\n") {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

// BenchmarkPost takes messages of 100 bytes by HTTP, 100 in a request, from four clients.
func BenchmarkPost(b *testing.B) {
	s := redistest.Start(b)
	c := queue.Default()
	c.MaxLen = 1_000_000_000
	h, err := queue.NewHandler(queue.NewWriter(dial(b, s.Addr), c), c)
	if err != nil {
		b.Fatal(err)
	}
	const perPost = 100
	line := `{"to":"user:42","text":"` + strings.Repeat("x", 100) + `","msg_id":"0123456789abcdef","ack":"required","offline":true}` + "\n"
	body := strings.Repeat(line, perPost)
	unix := context.WithValue(context.Background(), http.LocalAddrContextKey, net.Addr(&net.UnixAddr{Net: "unix"}))
	b.SetParallelism(4)
	before := cpu(b)
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for more := p.Next(); more; {
			r := httptest.NewRequestWithContext(unix, "POST", "/v1/messages", strings.NewReader(body))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != 200 {
				b.Errorf("%d %s", w.Code, w.Body)
				return
			}
			for range perPost {
				if more = p.Next(); !more {
					break
				}
			}
		}
	})
	b.StopTimer()
	_, messages := h.Answers()
	b.ReportMetric(float64(messages)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(messages), "cpu-us/message")
}
