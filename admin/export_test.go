package admin

import (
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/common/expfmt"
)

// Limits lets tests shorten what a Server waits for; a zero stays as it is.
type Limits struct {
	Source, Header, Read, Write, Grace, Beat time.Duration
	Conns                                    int
}

// NewLimited is New with other limits.
func NewLimited(cfg Config, src Source, log *slog.Logger, l Limits) (*Server, error) {
	d := defaultLimits()
	set(&d.source, l.Source)
	set(&d.header, l.Header)
	set(&d.read, l.Read)
	set(&d.write, l.Write)
	set(&d.grace, l.Grace)
	set(&d.beat, l.Beat)
	set(&d.conns, l.Conns)
	return newServer(cfg, src, log, d, nil)
}

func set[T comparable](to *T, v T) {
	var zero T
	if v != zero {
		*to = v
	}
}

// ParseDrain is what POST /v1/drain makes of a body.
var ParseDrain = parseDrain

// ParsePush is what POST /v1/push makes of a body.
var ParsePush = parsePush

// MaxWatcher and MaxAsking are how many may follow presence, and ask, at a time.
const (
	MaxWatcher = maxWatcher
	MaxAsking  = maxAsking
)

// SetSilence shortens after what time a Client gives a stream up.
func (c *Client) SetSilence(d time.Duration) { c.silence = d }

// Scrape is the work of one scrape.
func Scrape(w io.Writer, metrics []Metric) error {
	families, err := gather(runtimeRegistry(), metrics)
	if err != nil {
		return err
	}
	b, err := encode(families, expfmt.NewFormat(expfmt.TypeTextPlain))
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// Name is the address in a Client's errors.
func (c *Client) Name() string { return c.name() }
