package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"edged/config"
)

const queueExample = "../etc/queue.toml"

// TestQueueExampleIsDefault proves that the file which is installed changes nothing, and that each setting stands in it, once, in
// its section, with a comment.
func TestQueueExampleIsDefault(t *testing.T) {
	got, err := config.LoadQueue(queueExample)
	if err != nil {
		t.Fatal(err)
	}
	if want := config.DefaultQueue(); !reflect.DeepEqual(got, want) {
		t.Errorf("etc/queue.toml means\n%+v\nthe defaults are\n%+v", got, want)
	}
	text, err := os.ReadFile(queueExample)
	if err != nil {
		t.Fatal(err)
	}
	seen := commented(t, string(text))
	walk(reflect.ValueOf(*got), "", func(path string, _ reflect.Value) {
		if seen[path] != 1 {
			t.Errorf("%s stands %d times in etc/queue.toml", path, seen[path])
		}
	})
}

// TestQueueDesignFile reads the file as the design has it.
func TestQueueDesignFile(t *testing.T) {
	const text = "[queue]\nlisten = []                     # HTTP, POST /v1/messages\ngroup = \"edged\"\n[redis]\naddresses = [\"127.0.0.1:6379\"]\n[admin]\nlisten = []\n"
	c, err := config.ParseQueue("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if want := config.DefaultQueue(); !reflect.DeepEqual(c, want) {
		t.Errorf("the file means\n%+v\nwant\n%+v", c, want)
	}
}

// TestQueueProblems pins what an operator is told.
func TestQueueProblems(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"a Unix socket", "[queue]\nlisten = [\"unix:/run/edged/queue.sock\"]\n", ""},
		{"TCP with a token", "[queue]\nlisten = [\"127.0.0.1:7090\"]\ntoken = \"0123456789abcdef\"\n", ""},
		{"TCP without a token", "[queue]\nlisten = [\"127.0.0.1:7090\"]\n", `f:2: queue.listen: "127.0.0.1:7090" is reached by TCP and needs a token`},
		{"a short token", "[queue]\ntoken = \"short\"\n", "f:2: queue.token: shorter than 16 characters"},
		{"two tokens", "[queue]\ntoken = \"0123456789abcdef\"\ntoken_file = \"/run/none\"\n", "f:2: queue.token: token and token_file exclude each other"},
		{"no token file", "[queue]\ntoken_file = \"/run/none/none\"\n", "f:2: queue.token_file: stat /run/none/none: no such file"},
		{"a relative socket", "[queue]\nlisten = [\"unix:q.sock\"]\n", `f:2: queue.listen: "unix:q.sock" is not unix: and an absolute path`},
		{"no port", "[queue]\nlisten = [\"localhost\"]\n", `f:2: queue.listen: "localhost" is neither host:port nor unix:/absolute/path`},
		{"twice", "[queue]\nlisten = [\"unix:/a\",\n\"unix:/a\"]\n", `f:3: queue.listen: "unix:/a" stands there twice`},
		{"a gateway's section", "[queue]\n[gateway]\n", "f:2: gateway: unknown section"},
		{"mistyped", "[queue]\ngruop = \"x\"\n", `f:2: queue.gruop: unknown key; did you mean "group"?`},
		{"a group", "[queue]\ngroup = \"a b\"\n", `f:2: queue.group: "a b" is no name`},
		{"a consumer", "[queue]\nconsumer = \"é\"\n", `f:2: queue.consumer: "é" is no name`},
		{"in_flight", "[queue]\nbatch = 100\nin_flight = 10\n", "f:3: queue.in_flight: 10 is less than batch (100)"},
		{"numbers", "[queue]\nbatch = 0\nmax_len = 0\npayload_max = 2000000\ndead_max = 0\nclaim_after = \"1ms\"\n",
			"f:2: queue.batch: 0 is not between\nf:3: queue.max_len: 0 is not between\nf:4: queue.payload_max: 2000000 is not between 1 and 1048576\n" +
				"f:5: queue.dead_max: 0 is not between\nf:6: queue.claim_after: 1ms is not between 1s and 1h0m0s"},
		{"offline", "[offline]\ncount = 0\n", "f:2: offline.count: 0 is not between"},
		{"bus", "[bus]\nqueue_batches = 0\n", "f:2: bus.queue_batches: 0 is not between"},
		{"no Redis", "[redis]\naddresses = []\n", "f:2: redis.addresses: the list is empty, but messages come by Redis alone"},
		{"admin", "[queue]\nlisten = [\"unix:/run/q\"]\n[admin]\nlisten = [\"unix:/run/q\"]\n", `f:4: admin.listen: "unix:/run/q" is an address of queue.listen too`},
		{"syntax", "[queue\n", "f:1: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := config.ParseQueue("f", []byte(tt.text))
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("error %v", err)
			case tt.want != "" && (err == nil || !hasLines(err.Error(), tt.want)):
				t.Errorf("got\n%v\nwant\n%s", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "short\"") {
				t.Errorf("the token is told: %v", err)
			}
		})
	}
}

// TestCheckQueue: the file of a queue layer is looked at as what it is.
func TestCheckQueue(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"its own", "[queue]\ngroup = \"edged\"\n[offline]\ncount = 5\n", ""},
		{"wrong", "[queue]\nbatch = 0\n", ":2: queue.batch: 0 is not between"},
		{"with a gateway's section", "[queue]\n[manager]\n", ":2: manager: unknown section"},
		{"a section twice", "[[queue]]\n", ":1: queue: there is one such section only"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f.toml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			err := config.Check(path)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := config.LoadQueue(t.TempDir()); err == nil {
		t.Error("a directory is no file")
	}
}
