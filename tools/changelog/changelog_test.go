package main

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

var built = building{version: "1.3.0+2.gabc", release: "1", maintainer: "X <x@example.org>", made: time.Unix(86400, 0).UTC()}

func TestParse(t *testing.T) {
	const content = `# Changelog

Newest first.

## Unreleased

- One that is
  longer, with ` + "`code`" + `
- Two

## 1.2.0 - 2026-10-01
- **Three**
`
	got, err := built.parse(content)
	if err != nil {
		t.Fatal(err)
	}
	want := []entry{
		{"1.3.0+2.gabc-1", built.made, built.maintainer, []change{{"One that is longer, with code"}, {"Two"}}},
		{"1.2.0-1", time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), built.maintainer, []change{{"Three"}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseAddsTheVersionThatIsBuilt(t *testing.T) {
	for _, content := range []string{"", "# Changelog\n", "## 1.2.0 - 2026-10-01\n- x\n"} {
		got, err := built.parse(content)
		if err != nil || got[0].Version != "1.3.0+2.gabc-1" || len(got[0].Changes) != 1 {
			t.Errorf("%q: %+v, %v", content, got, err)
		}
	}
	at := built
	at.version = "1.2.0"
	if got, err := at.parse("## 1.2.0 - 2026-10-01\n- x\n"); err != nil || len(got) != 1 {
		t.Errorf("a version that has its heading: %+v, %v", got, err)
	}
}

func TestParseErrors(t *testing.T) {
	for content, want := range map[string]string{
		"## 1.2.0\n- x\n":         "line 1",
		"## 1.2.0 - yesterday\n":  "line 1",
		"\n## Unreleased\nloose ": "line 3",
	} {
		if _, err := built.parse(content); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", content, err, want)
		}
	}
}

func TestDebian(t *testing.T) {
	long := strings.TrimSpace(strings.Repeat("word ", 20))
	got := debian([]entry{{"1.2.0-1", built.made, built.maintainer, []change{{long}, {"short"}}}, {"1.1.0-1", built.made, built.maintainer, []change{{"x"}}}})
	want := `edged (1.2.0-1) stable; urgency=medium

  * word word word word word word word word word word word word word word word
    word word word word word
  * short

 -- X <x@example.org>  Fri, 02 Jan 1970 00:00:00 +0000

edged (1.1.0-1) stable; urgency=medium

  * x

 -- X <x@example.org>  Fri, 02 Jan 1970 00:00:00 +0000
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
