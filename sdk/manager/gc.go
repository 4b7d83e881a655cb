package manager

import (
	"context"

	"edged/gcpace"
)

// PaceGC keeps the garbage collector from running all the time in a Manager in which little lives, until ctx ends: garbage may grow
// to 64 MB before it is collected, or to the size of what lives if that is more. A small Manager collects a dozen times a second at
// 100,000 messages a second otherwise, and the slowest messages are those that wait for it. It concerns the whole process, and so it
// is the program's to call it; where GOGC is set in the environment it does nothing.
func PaceGC(ctx context.Context) { go gcpace.Run(ctx) }
