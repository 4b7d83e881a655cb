package registry

// account is the links of one user. Its owner is the part of the Directory that holds it.
type account struct {
	seats []Seat
	index map[string]int // device → its place in seats; nil while there are few
}

// Seat is one device of a user and its link.
type Seat struct {
	Device string
	Link   Link
}

// fewSeats is up to how many devices are searched one by one. People have few; a service that binds all its clients as one
// user has a hundred thousand.
const fewSeats = 32

func (a *account) find(device []byte) (int, bool) {
	if a.index != nil {
		i, ok := a.index[string(device)]
		return i, ok
	}
	for i := range a.seats {
		if a.seats[i].Device == string(device) {
			return i, true
		}
	}
	return 0, false
}

func (a *account) add(s Seat) {
	a.seats = append(a.seats, s)
	switch {
	case a.index != nil:
		a.index[s.Device] = len(a.seats) - 1
	case len(a.seats) > fewSeats:
		a.index = make(map[string]int, 2*fewSeats)
		for i := range a.seats {
			a.index[a.seats[i].Device] = i
		}
	}
}

// remove fills seat i with the last one.
func (a *account) remove(i int) {
	last := len(a.seats) - 1
	if a.index != nil {
		delete(a.index, a.seats[i].Device)
		if i != last {
			a.index[a.seats[last].Device] = i
		}
	}
	a.seats[i] = a.seats[last]
	a.seats[last] = Seat{}
	a.seats = a.seats[:last]
	if last <= fewSeats/2 { // half of it, so that one device that comes and goes does not build the index each time
		a.index = nil
	}
}
