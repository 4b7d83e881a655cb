package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// MaxWithin bounds DrainRequest.Within: a drain that lasts longer than a day is
// a slip of the pen.
const MaxWithin = 24 * time.Hour

// DrainRequest asks a daemon to send its links away, or to stop doing so.
type DrainRequest struct {
	Within time.Duration // over how long the links are told to leave; 0: as configured
	Undo   bool          // end the drain and take links again
	Exit   bool          // leave the process once no link is left
	Share  float64       // of the links, chosen at random, to send away while new ones are taken; 0: all, and none is
}

// drainJSON is a DrainRequest on the wire. Durations are strings there, as in
// the configuration file.
type drainJSON struct {
	Within string  `json:"within,omitempty"`
	Undo   bool    `json:"undo,omitempty"`
	Exit   bool    `json:"exit,omitempty"`
	Share  float64 `json:"share,omitempty"`
}

// Validate says what is wrong with a request.
func (r DrainRequest) Validate() error {
	if r.Within < 0 || r.Within > MaxWithin {
		return fmt.Errorf("within: %v is not between 0s and %v", r.Within, MaxWithin)
	}
	if !(r.Share >= 0 && r.Share <= 1) {
		return fmt.Errorf("share: %v is not between 0 and 1", r.Share)
	}
	if r.Undo && (r.Exit || r.Within != 0 || r.Share != 0) {
		return errors.New("undo goes with neither within nor exit nor share")
	}
	if r.Share != 0 && r.Exit {
		return errors.New("share goes not with exit: the other links stay")
	}
	return nil
}

// MarshalJSON writes the form that POST /v1/drain takes.
func (r DrainRequest) MarshalJSON() ([]byte, error) {
	w := drainJSON{Undo: r.Undo, Exit: r.Exit, Share: r.Share}
	if r.Within != 0 {
		w.Within = r.Within.String()
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads that form. An unknown field is refused: whoever misspells
// "undo" must not start a drain.
func (r *DrainRequest) UnmarshalJSON(b []byte) error {
	var w drainJSON
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		return drainError(err)
	}
	within := time.Duration(0)
	if w.Within != "" {
		var err error
		if within, err = time.ParseDuration(w.Within); err != nil {
			return fmt.Errorf("within: %q is not a duration such as \"30s\"", w.Within)
		}
	}
	*r = DrainRequest{Within: within, Undo: w.Undo, Exit: w.Exit, Share: w.Share}
	return nil
}

// parseDrain reads the body of POST /v1/drain. An empty body is the plain drain.
func parseDrain(body []byte) (DrainRequest, error) {
	var r DrainRequest
	if len(bytes.TrimSpace(body)) == 0 {
		return r, nil
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return r, drainError(err)
	}
	return r, r.Validate()
}

// drainError turns what encoding/json says into a sentence for an operator.
func drainError(err error) error { return jsonError(err, "a drain takes within, undo, exit and share") }
