package registry

import "time"

// secondPass is how long after the lease was found lost all routes are looked after once more. A reader that saw no lease just
// before removes what it found within that time.
const secondPass = 5 * time.Second

// walk goes round the Directory and says whose routes to look after. It has no clock; its owner is the writer's goroutine.
type walk struct {
	// Static after newWalk.
	dir    *Directory
	rate   float64       // names a second, at most
	period time.Duration // of a round while nothing is wrong

	names  []Name // of the part that is being walked
	part   int    // the next one
	hurry  int    // parts still to be walked at full rate, and one: the last has been walked when the next one begins
	again  time.Time
	last   time.Time
	credit float64 // names that are due
}

func newWalk(dir *Directory, rate int, period time.Duration, now time.Time) *walk {
	return &walk{dir: dir, rate: float64(rate), period: period, hurry: parts + 1, last: now}
}

// restart has all routes looked after at full rate, now and once more later.
func (w *walk) restart(now time.Time) {
	w.hurry = parts + 1
	w.again = now.Add(secondPass)
}

// due appends the names whose turn has come since it was called last to dst.
func (w *walk) due(now time.Time, dst []Name) []Name {
	if !w.again.IsZero() && !now.Before(w.again) {
		w.hurry, w.again = parts+1, time.Time{}
	}
	speed := w.rate
	if w.hurry == 0 {
		speed = min(speed, float64(w.dir.Devices())/w.period.Seconds())
	}
	const burst = 0.5 // seconds of full speed that may come at once, however long nobody called
	w.credit = min(w.credit+speed*now.Sub(w.last).Seconds(), max(burst*speed, 1))
	w.last = now
	for visited := 0; w.credit >= 1; {
		if len(w.names) > 0 {
			last := len(w.names) - 1
			dst = append(dst, w.names[last])
			w.names[last] = Name{}
			w.names = w.names[:last]
			w.credit--
			continue
		}
		if visited++; visited > parts {
			break // nobody is here
		}
		w.names = w.dir.names(w.part, w.names)
		w.part = (w.part + 1) % parts
		if w.hurry > 0 {
			if w.hurry--; w.hurry == 0 {
				w.credit = 0 // which was earned at full rate
			}
		}
	}
	return dst
}

// hurrying reports whether a round at full rate is under way.
func (w *walk) hurrying() bool { return w.hurry > 0 }
