//go:build race

package relay

// raceEnabled says that sync.Pool drops things at random.
const raceEnabled = true
