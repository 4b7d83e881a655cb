package queue_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edged/queue"
)

// TestConfig: each setting has its bounds, and what is wrong is said by its key.
func TestConfig(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, short, long := file("good", token+"\n"), file("short", "x"), file("long", strings.Repeat("x", 5000))
	for _, tt := range []struct {
		name   string
		change func(*queue.Config)
		want   string
	}{
		{"the default", func(*queue.Config) {}, ""},
		{"the least", func(c *queue.Config) {
			c.Batch, c.InFlight, c.ClaimAfter, c.MaxLen, c.PayloadMax, c.DeadMax = 1, 1, time.Second, 1, 1, 1
		}, ""},
		{"the most", func(c *queue.Config) {
			c.Batch, c.InFlight, c.ClaimAfter, c.MaxLen, c.PayloadMax, c.DeadMax = 10_000, 1_000_000, time.Hour, 1_000_000_000, 1<<20, 100_000_000
		}, ""},
		{"batch", func(c *queue.Config) { c.Batch, c.InFlight = 10_001, 20_000 }, "batch: 10001 is not between 1 and 10000"},
		{"in_flight", func(c *queue.Config) { c.InFlight = 1_000_001 }, "in_flight: 1000001 is not between"},
		{"in_flight by batch", func(c *queue.Config) { c.InFlight = 511 }, "in_flight: 511 is less than batch (512)"},
		{"claim_after", func(c *queue.Config) { c.ClaimAfter = time.Second - 1 }, "claim_after: 999.999999ms is not between 1s and 1h0m0s"},
		{"claim_after, long", func(c *queue.Config) { c.ClaimAfter = time.Hour + 1 }, "claim_after: "},
		{"max_len", func(c *queue.Config) { c.MaxLen = 0 }, "max_len: 0 is not between"},
		{"payload_max", func(c *queue.Config) { c.PayloadMax = 1<<20 + 1 }, "payload_max: 1048577 is not between 1 and 1048576"},
		{"dead_max", func(c *queue.Config) { c.DeadMax = -1 }, "dead_max: -1 is not between"},
		{"group", func(c *queue.Config) { c.Group = "" }, `group: "" is no name`},
		{"consumer", func(c *queue.Config) { c.Consumer = strings.Repeat("x", 129) }, `consumer: "xxx`},
		{"a socket and TCP", func(c *queue.Config) { c.Listen, c.TokenFile = []string{"unix:/a", "[::1]:1"}, good }, ""},
		{"TCP without a token", func(c *queue.Config) { c.Listen = []string{"[::1]:1"} }, `listen: "[::1]:1" is reached by TCP and needs a token`},
		{"a port", func(c *queue.Config) { c.Listen = []string{"127.0.0.1:65536"} }, `listen: "127.0.0.1:65536" is neither`},
		{"a long path", func(c *queue.Config) { c.Listen = []string{"unix:/" + strings.Repeat("x", 107)} }, "is not unix: and an absolute path of at most 107 bytes"},
		{"twice", func(c *queue.Config) { c.Listen = []string{"unix:/a", "unix:/a"} }, `listen: "unix:/a" stands there twice`},
		{"both tokens", func(c *queue.Config) { c.Token, c.TokenFile = token, good }, "token: token and token_file exclude each other"},
		{"a short token", func(c *queue.Config) { c.Token = "x" }, "token: shorter than 16 characters"},
		{"a token with a blank", func(c *queue.Config) { c.Token = token + " x" }, "token: holds a blank or a character outside printable ASCII"},
		{"a short one in a file", func(c *queue.Config) { c.TokenFile = short }, "token_file: shorter than 16 characters"},
		{"a long file", func(c *queue.Config) { c.TokenFile = long }, "is not a file of at most 4096 bytes"},
		{"a directory", func(c *queue.Config) { c.TokenFile = dir }, "is not a file of at most 4096 bytes"},
		{"no file", func(c *queue.Config) { c.TokenFile = dir + "/none" }, "token_file: stat "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := queue.Default()
			tt.change(&c)
			err := c.Validate()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), token) {
				t.Errorf("the token is told: %v", err)
			}
		})
	}
	c := queue.Default()
	c.TokenFile = short
	if _, err := queue.NewHandler(nil, c); err == nil {
		t.Error("a handler without its token")
	}
}
