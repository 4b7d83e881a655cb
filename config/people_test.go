package config

import (
	"strings"
	"testing"
	"time"

	"edged/offline"
)

// TestOffline: a gateway's file that says nothing reads logs as the queue layer writes them.
func TestOffline(t *testing.T) {
	c := defaultOffline()
	if err := c.Validate(); err != nil || c.Log() != offline.Default() {
		t.Errorf("%+v, %v", c.Log(), err)
	}
	c.Age = time.Hour
	if l := c.Log(); l.Age != time.Hour || l.Count != offline.Default().Count {
		t.Errorf("%+v", l)
	}
	c.Age = 0
	if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "age: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
}
