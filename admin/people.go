package admin

import (
	"context"
	"time"
)

// People is what a Source of a daemon with links has beside: who is here, and a way to push to them. A Server whose Source
// has it serves /v1/push, /v1/users and /v1/presence. The methods may be called by several goroutines at once. Their contexts
// end after one and a half seconds, and half a second later they are given up. Errors other than a *NotOnlineError and an *InvalidError
// mean that it cannot be done now.
type People interface {
	// Push carries out one push and says where it went.
	Push(ctx context.Context, r PushRequest) (Pushed, error)
	// Users counts who is on this gateway.
	Users(ctx context.Context) (Users, error)
	// Devices returns the devices of a user that are online, of the whole fleet; none where there is none.
	Devices(ctx context.Context, user string) ([]Device, error)
	// Presence returns events after the one with the ID after, oldest first, and the ID to go on from: "$" is behind
	// all there are, "0" before them. It waits up to wait for the first.
	Presence(ctx context.Context, after string, wait time.Duration) (events []PresenceEvent, next string, err error)
}

// NotOnlineError says that nobody is there whom a push could reach.
type NotOnlineError struct{ Who string }

func (e *NotOnlineError) Error() string { return e.Who + " is not online" }

// InvalidError says what is wrong with a request.
type InvalidError struct{ Reason string }

func (e *InvalidError) Error() string { return e.Reason }

// Pushed is what became of a push.
type Pushed struct {
	MsgID string `json:"msg_id,omitempty"`
	// Gateways are those that it was given to. Empty where it went to every gateway.
	Gateways []string `json:"gateways"`
	// Unheard are those of them that seem not to listen: the push is lost there.
	Unheard []string `json:"unheard,omitempty"`
	// Devices is how many devices are online, of a user; 0 where nobody knows.
	Devices int `json:"devices"`
	// Heard is how many gateways Redis gave a push to every gateway to. In a Cluster it is a guess.
	Heard int64 `json:"heard,omitempty"`
}

// Users counts who is on one gateway.
type Users struct {
	Users   int `json:"users"`
	Devices int `json:"devices"`
}

// Device is one device of a user that is online.
type Device struct {
	Device  string `json:"device"`
	Gateway string `json:"gateway"`
	Epoch   string `json:"epoch"` // decimal, and a string as it needs more bits than numbers of JSON are sure to have
	Link    string `json:"link"`
	Here    bool   `json:"here"` // on the gateway that was asked
}

// PresenceEvent is a line of /v1/presence: a device that came or went.
type PresenceEvent struct {
	ID      string    `json:"id,omitempty"` // to read on from
	At      time.Time `json:"at,omitzero"`
	Event   string    `json:"event,omitempty"` // EventOnline or EventOffline
	User    string    `json:"user"`
	Device  string    `json:"device"`
	Gateway string    `json:"gateway,omitempty"`
	Epoch   string    `json:"epoch,omitempty"`
	Uniq    uint32    `json:"uniq"`
	// Error says why events do not come for the time being. It stands in a line of its own, and none is lost by that.
	Error string `json:"error,omitempty"`
}

// The events that PresenceEvent.Event names.
const (
	EventOnline  = "online"
	EventOffline = "offline"
)
