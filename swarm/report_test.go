package swarm_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"edged/swarm"
)

// faultless is a report of a swarm in which all went well.
func faultless() swarm.Report {
	r := swarm.Report{
		Target: []string{"gate:7000"}, Links: 10, RampS: 0.5, RunS: 2,
		Connections: swarm.Connections{Opened: 10, Up: 10, PerS: 20},
		Messages:    swarm.Messages{Sent: 100, Answered: 100, PerS: 50},
		Latency:     &swarm.Histogram{}, Connect: &swarm.Histogram{}, Lag: &swarm.Histogram{},
		Check: &swarm.Checks{Reports: 10},
	}
	for i := range 100 {
		r.Latency.Record(time.Duration(i+1) * time.Millisecond)
	}
	return r
}

func TestVerdict(t *testing.T) {
	list := swarm.List{Total: 3, First: []swarm.Fault{{Link: "swarm-5", Count: 3, Numbers: []uint32{7, 8, 9}}}}
	for name, tc := range map[string]struct {
		change func(*swarm.Report)
		want   string // problem; "": none
	}{
		"faultless":     {func(*swarm.Report) {}, ""},
		"no checker":    {func(r *swarm.Report) { r.Check = nil }, ""},
		"interrupted":   {func(r *swarm.Report) { r.Interrupted = true }, ""},
		"renumbered":    {func(r *swarm.Report) { r.Messages.Renumbered = 5 }, ""},
		"links missing": {func(r *swarm.Report) { r.Connections.Up = 8 }, "2 links were not up at the end"},
		"not opened":    {func(r *swarm.Report) { r.Connections.Errors = map[string]uint64{"refused": 2} }, "2 links could not be opened"},
		"bye":           {func(r *swarm.Report) { r.Connections.Byes = map[string]uint64{"kicked": 2} }, "2 links were ended by the gateway"},
		"lost":          {func(r *swarm.Report) { r.Connections.Lost = map[string]uint64{"reset": 2, "silent": 1} }, "3 links broke"},
		"came back": {func(r *swarm.Report) {
			r.Connections.Byes = map[string]uint64{"draining": 2}
			r.Connections.Retries = 2
		}, ""},
		"unanswered":       {func(r *swarm.Report) { r.Messages.Unanswered = 4 }, "4 messages were not answered"},
		"unsent":           {func(r *swarm.Report) { r.Messages.Unsent = 4 }, "4 messages could not be sent at their time"},
		"corrupt":          {func(r *swarm.Report) { r.Corrupt = list }, "3 answers were corrupt"},
		"answers missing":  {func(r *swarm.Report) { r.Check.Answers.Missing = list }, "3 answers missing"},
		"messages doubled": {func(r *swarm.Report) { r.Check.Messages.Doubled = list }, "3 messages at the Manager doubled"},
		"manager missing":  {func(r *swarm.Report) { r.Check.Manager.Missing = list }, "3 of the Manager's numbers missing"},
		"out of order":     {func(r *swarm.Report) { r.Check.Messages.Disordered = list }, "3 messages at the Manager out of order"},
		"no account":       {func(r *swarm.Report) { r.Check.NoReport = list }, "3 links without the Manager's account"},
	} {
		t.Run(name, func(t *testing.T) {
			r := faultless()
			tc.change(&r)
			if got := strings.Join(r.Problems(), "; "); got != tc.want || r.OK() != (tc.want == "") {
				t.Errorf("problems %q, OK %v, want %q", got, r.OK(), tc.want)
			}
			var b strings.Builder
			if err := r.WriteText(&b); err != nil {
				t.Fatal(err)
			}
			text := b.String()
			if strings.Contains(text, "NOT OK") != (tc.want != "") || !strings.Contains(text, tc.want) {
				t.Errorf("text:\n%s", text)
			}
			if strings.Contains(tc.want, "3 ") && name != "lost" && !strings.Contains(text, "    swarm-5: 3, numbers 7 8 9\n") {
				t.Errorf("the list is not in the text:\n%s", text)
			}
		})
	}
}

// TestFaults counts what was wrong on links that lived on.
func TestFaults(t *testing.T) {
	r := faultless()
	if n := r.Faults(); n != 0 {
		t.Errorf("%d faults in a report without any", n)
	}
	r.Check.Answers.Missing.Total, r.Check.Unheard.Total = 5, 5
	if n := r.Faults(); n != 0 {
		t.Errorf("%d faults where links ended with answers on their way", n)
	}
	r.Check.Manager.Doubled.Total, r.Corrupt.Total, r.Messages.Unsent, r.Check.NoReport.Total, r.Check.Messages.Disordered.Total = 1, 20, 300, 4000, 50000
	if n := r.Faults(); n != 54321 {
		t.Errorf("%d faults, want 54321", n)
	}
	r.Check, r.Messages.Unanswered = nil, 600000
	if n := r.Faults(); n != 600320 {
		t.Errorf("%d faults without Checker, want 600320", n)
	}
}

func TestText(t *testing.T) {
	r := faultless()
	r.Connections.Byes = map[string]uint64{"kicked": 1, "draining": 2}
	r.Connections.Retries = 3
	r.Interrupted = true
	r.Pause = swarm.Pause{Took: 100 * time.Millisecond, At: 1500 * time.Millisecond, Link: "swarm-5"}
	r.Away = &swarm.Histogram{}
	for range 3 {
		r.Away.Record(1500 * time.Millisecond)
	}
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	const want = `target      gate:7000
links       10 of 10 up, 10 opened, 20/s in a ramp of 0.5 s
bye         2 draining
bye         1 kicked
messages    100 sent, 100 answered, 50/s in 2.0 s
latency     p50 50.33ms, p90 90.18ms, p99 99.61ms, p99.9 100ms, max 100ms
pause       100ms at most, of swarm-5, over 1.5s after the beginning
connect     none
away        3 links came back, p50 1.5s, p90 1.5s, p99 1.5s, p99.9 1.5s, max 1.5s
also        0 pushes, 0 acks, 0 heartbeats, 0 bytes out, 0 bytes in
checked     10 accounts of the Manager
interrupted before its time
result      OK
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	if err := r.WriteText(broken{}); !errors.Is(err, errBroken) {
		t.Errorf("error %v", err)
	}
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestReportJSON(t *testing.T) {
	r := faultless()
	r.Check.Answers.Missing = swarm.List{Total: 1, First: []swarm.Fault{{Link: "swarm-5", Count: 1, Numbers: []uint32{7}}}}
	b, err := json.Marshal(&r)
	if err != nil {
		t.Fatal(err)
	}
	var back swarm.Report
	if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, r) {
		t.Errorf("%v\n%+v\n%+v", err, back, r)
	}
	for _, key := range []string{`"p99_ns":`, `"links":10`, `"per_s":50`, `"missing":{"total":1`} {
		if !strings.Contains(string(b), key) {
			t.Errorf("%s is not in %s", key, b)
		}
	}
}
