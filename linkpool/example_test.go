package linkpool_test

import (
	"fmt"
	"time"

	"edged/linkpool"
)

// The timer of links that are closed after 30 seconds without a word. Link 0 stays
// silent, link 1 speaks once, after 20 seconds.
func ExampleDeadlines() {
	const idle = 30 * time.Second
	type link struct{ lastRead linkpool.Millis }
	links := linkpool.New[link](2, 4711)
	deadlines := linkpool.NewDeadlines(links.Cap())

	opened := linkpool.MillisAt(0)
	for range links.Cap() {
		place, _, l, _ := links.Add()
		l.lastRead = opened
		deadlines.Set(place, opened.Deadline(idle))
	}

	for clock := time.Duration(0); links.Len() > 0; clock += time.Second {
		now := linkpool.MillisAt(clock)
		if clock == 20*time.Second {
			l, _ := links.At(1)
			l.lastRead = now // all that a heartbeat costs
		}
		for {
			place, ok := deadlines.Due(now)
			if !ok {
				break
			}
			l, uniq := links.At(place)
			if at := l.lastRead.Deadline(idle); now.Before(at) {
				deadlines.Set(place, at)
				continue
			}
			deadlines.Remove(place)
			links.Del(place, uniq)
			fmt.Println("link", place, "closed after", clock)
		}
	}
	// Output:
	// link 0 closed after 31s
	// link 1 closed after 51s
}
