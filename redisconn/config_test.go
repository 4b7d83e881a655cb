package redisconn_test

import (
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"edged/redisconn"
)

func TestDefault(t *testing.T) {
	c := redisconn.Default()
	if c.Enabled() {
		t.Error("there is a Redis by default")
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	one, two := "addresses = ['127.0.0.1:6379']\n", "addresses = ['a:1', '[::1]:2']\n"
	for _, c := range []struct {
		name, text string
		want       []string // keys that are complained about, in order
	}{
		{"nothing", "", nil},
		{"one", one, nil},
		{"cluster", two, nil},
		{"name", "addresses = ['redis.example.org:6379']", nil},
		{"sentinel", two + "sentinel = 'm'\ndatabase = 3", nil},
		{"all", one + "username = 'u'\npassword = 'p'\ndatabase = 1\ntls = true\nca = 'a'\ncert = 'c'\nkey = 'k'\nserver_name = 'n'", nil},
		{"no port", "addresses = ['127.0.0.1']", []string{"addresses"}},
		{"no host", "addresses = [':6379']", []string{"addresses"}},
		{"port 0", "addresses = ['a:0']", []string{"addresses"}},
		{"port too large", "addresses = ['a:65536']", []string{"addresses"}},
		{"each address", "addresses = ['a', 'b:1', 'redis://c:1']", []string{"addresses", "addresses"}},
		{"sentinel without addresses", "sentinel = 'm'", []string{"sentinel"}},
		{"sentinel with a space", one + "sentinel = 'a b'", []string{"sentinel"}},
		{"two passwords", one + "password = 'p'\npassword_file = 'f'", []string{"password_file"}},
		{"negative database", one + "database = -1", []string{"database"}},
		{"database of a cluster", two + "database = 1", []string{"database"}},
		{"cert without key", one + "tls = true\ncert = 'c'", []string{"cert"}},
		{"key without cert", one + "tls = true\nkey = 'c'", []string{"cert"}},
		{"tls off", one + "ca = 'a'\ncert = 'c'\nkey = 'k'\nserver_name = 'n'", []string{"ca", "cert", "key", "server_name"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := redisconn.Default()
			if _, err := toml.Decode(c.text, &config); err != nil {
				t.Fatal(err)
			}
			var got []string
			if err := config.Validate(); err != nil {
				for _, line := range strings.Split(err.Error(), "\n") {
					key, _, _ := strings.Cut(line, ":")
					got = append(got, key)
				}
			}
			if strings.Join(got, " ") != strings.Join(c.want, " ") {
				t.Errorf("complains about %q, not %q", got, c.want)
			}
		})
	}
}
