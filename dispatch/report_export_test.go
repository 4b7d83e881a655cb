package dispatch

import (
	"context"
	"log/slog"
	"time"

	"edged/redisconn"

	"github.com/redis/rueidis"
)

// The scripts, for tests that call them out of order.
const (
	WriteScript  = writeScript
	RemoveScript = removeScript
)

// ReportFields is the hash that a Reporter writes.
func ReportFields(r Report, boot string, seq uint64) map[string]string {
	list, fields := r.fields(boot, seq, time.UnixMilli(1)), make(map[string]string)
	for i := 0; i < len(list); i += 2 {
		fields[list[i]] = list[i+1]
	}
	return fields
}

// CountedReader is a FleetReader that counts its calls of Redis: each is one round trip, or one to each node of a Cluster.
func CountedReader(c *redisconn.Client, interval time.Duration, calls *int) *FleetReader {
	return newFleetReader(&counted{c, calls}, interval, slog.New(slog.DiscardHandler))
}

type counted struct {
	*redisconn.Client
	calls *int
}

func (c *counted) Do(ctx context.Context, f func(rueidis.Builder) rueidis.Completed) rueidis.RedisResult {
	*c.calls++
	return c.Client.Do(ctx, f)
}

func (c *counted) DoMulti(ctx context.Context, f func(rueidis.Builder) rueidis.Commands) []rueidis.RedisResult {
	*c.calls++
	return c.Client.DoMulti(ctx, f)
}
