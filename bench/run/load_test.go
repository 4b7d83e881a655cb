package main

import (
	"strings"
	"testing"
)

const goodReport = `{"links":100,"seconds":0.500,"frames":81979,"rate":163908,"mb_per_s":11.0,"p50_us":524.3,"p99_us":1867.8,"p999_us":3735.6,` +
	`"errors":0,"mismatches":0,"silent":0,"connects_per_s":21328,"servers":[{"cpu":0.56945,"us_per_frame":3.4742},{"cpu":0.22809,"us_per_frame":1.3916}],` +
	`"client_cpu":0.290,"other_cpu":0.892}` + "\n"

func TestParseReport(t *testing.T) {
	r, err := parseReport([]byte(goodReport))
	if err != nil {
		t.Fatal(err)
	}
	if r.Links != 100 || r.Frames != 81979 || r.OtherCPU != 0.892 || len(r.Servers) != 2 || r.Servers[1].PerFrameUs != 1.3916 || r.Servers[0].CPU != 0.56945 {
		t.Errorf("got %+v", r)
	}
	for _, bad := range []string{"", "usage: see the head", goodReport[:60]} {
		if _, err := parseReport([]byte(bad)); err == nil {
			t.Errorf("%q is a report", bad)
		}
	}
}

// TestReportCheck: whatever went wrong makes the row fail.
func TestReportCheck(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(*report)
		answers bool
		want    string
	}{
		{"good", func(*report) {}, true, ""},
		{"silent and meant to be", func(r *report) { r.Frames = 0 }, false, ""},
		{"silent", func(r *report) { r.Frames = 0 }, true, "nothing was answered"},
		{"mismatch", func(r *report) { r.Mismatches = 1 }, true, "not what was sent"},
		{"error", func(r *report) { r.Errors = 2 }, true, "2 links"},
		{"a link without answers", func(r *report) { r.Silent = 3 }, true, "3 links never"},
		{"links missing", func(r *report) { r.Links = 99 }, true, "99 of 100"},
		{"a process missing", func(r *report) { r.Servers = r.Servers[:1] }, true, "1 processes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := parseReport([]byte(goodReport))
			if err != nil {
				t.Fatal(err)
			}
			tt.change(&r)
			err = r.check(100, 2, tt.answers)
			if got := errText(err); (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q in it", got, tt.want)
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
