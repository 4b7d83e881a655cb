package dispatch

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/redis/rueidis"
)

// WriteSum replaces edged:sum, for readers other than the dispatch services: load balancer → its availability and the time of
// the server in ms since 1970, with a blank between them.
func (r *FleetReader) WriteSum(ctx context.Context, sum map[string]float64) error {
	args := make([]string, 0, 2*len(sum))
	for _, name := range slices.Sorted(maps.Keys(sum)) {
		args = append(args, name, formatSum(sum[name]))
	}
	err := r.client.Do(ctx, func(b rueidis.Builder) rueidis.Completed { return eval(b, sumScript, sumKey, args...) }).Error()
	if err != nil {
		return fmt.Errorf("write %s: %w", sumKey, err)
	}
	return nil
}

// Dispatchers lists self among the live dispatch services and returns how many there are, self included: those that called
// this within the life of a report. The guards scale by the number.
func (r *FleetReader) Dispatchers(ctx context.Context, self string) (live int, err error) {
	n, err := r.client.Do(ctx, func(b rueidis.Builder) rueidis.Completed {
		return eval(b, liveScript, dispatchersKey, self, milliseconds(r.life))
	}).AsInt64()
	if err != nil {
		return 0, fmt.Errorf("count %s: %w", dispatchersKey, err)
	}
	return int(n), nil
}

// Leave takes self out of the live dispatch services.
func (r *FleetReader) Leave(ctx context.Context, self string) error {
	err := r.client.Do(ctx, func(b rueidis.Builder) rueidis.Completed {
		return b.Zrem().Key(dispatchersKey).Member(self).Build()
	}).Error()
	if err != nil {
		return fmt.Errorf("leave %s: %w", dispatchersKey, err)
	}
	return nil
}
