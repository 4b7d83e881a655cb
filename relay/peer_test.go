package relay

import (
	"testing"

	"edged/batch"
)

func TestPeerMeets(t *testing.T) {
	a := &batch.ManagerHello{ID: "a"}
	var (
		stranger = peer{}
		mute     = peer{met: true}
		named    = peer{met: true, named: true, id: "a"}
		changed  = peer{met: true, changed: true}
	)
	tests := []struct {
		name  string
		from  peer
		hello *batch.ManagerHello
		whole bool
		other bool
		to    peer
	}{
		{"a stranger without a word", stranger, nil, true, false, mute},
		{"a stranger with a name", stranger, a, true, false, named},
		{"mute and mute again", mute, nil, false, false, mute},
		{"mute gets a name before anything is forgotten", mute, a, true, false, named},
		{"mute gets a name in the middle", mute, a, false, true, named},
		{"the same name", named, a, false, false, named},
		{"another name", peer{met: true, named: true, id: "b"}, a, true, true, named},
		{"named and then mute", named, nil, false, true, mute},
		{"changed and then named", changed, a, true, true, named},
		{"changed and then mute", changed, nil, true, true, mute},
		{"the empty name is a name", peer{met: true, named: true}, a, false, true, named},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := tt.from
			if other := p.meet(tt.hello, tt.whole); other != tt.other || p != tt.to {
				t.Errorf("other %v, then %+v; want %v, %+v", other, p, tt.other, tt.to)
			}
		})
	}
}

func TestPeerGreets(t *testing.T) {
	a := &batch.ManagerHello{ID: "a"}
	named := peer{met: true, named: true, id: "a"}
	tests := []struct {
		name  string
		from  peer
		whole bool
		err   error
		to    peer
	}{
		{"the same name", named, false, nil, named},
		{"another name on one stream", peer{met: true, named: true, id: "b"}, true, errGarbage, peer{met: true, named: true, id: "b"}},
		{"mute from the first number", peer{met: true}, true, nil, named},
		{"mute in the middle", peer{met: true}, false, errRenewed, peer{met: true, changed: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := tt.from
			if err := p.greet(a, tt.whole); err != tt.err || p != tt.to {
				t.Errorf("error %v, then %+v; want %v, %+v", err, p, tt.err, tt.to)
			}
			if !p.introduces() {
				t.Error("the next stream would not wait for a hello")
			}
		})
	}
}
