package handover_test

import (
	"errors"
	"strings"
	"testing"

	"edged/handover"
)

func part(name string, oldest, version uint16, optional bool) handover.Part {
	return handover.Part{Name: name, Oldest: oldest, Version: version, Optional: optional, Append: func(b []byte, v uint16) ([]byte, error) {
		return append(b, byte(v)), nil
	}}
}

func TestCollectChoosesVersions(t *testing.T) {
	for _, tc := range []struct {
		name  string
		part  handover.Part
		reads handover.Format
		want  string // the version written, "" for none, else a part of the error
	}{
		{"the same", part("a", 1, 3, false), handover.Format{Kind: "a", Oldest: 1, Newest: 3}, "3"},
		{"the reader is newer", part("a", 1, 3, false), handover.Format{Kind: "a", Oldest: 2, Newest: 4}, "3"},
		{"the reader is older", part("a", 1, 3, false), handover.Format{Kind: "a", Oldest: 1, Newest: 2}, "2"},
		{"the reader is too old", part("a", 2, 3, false), handover.Format{Kind: "a", Oldest: 1, Newest: 1}, "reads version 1 to 1 of the state's part \"a\", and this one writes 2 to 3"},
		{"the reader is too new", part("a", 1, 3, false), handover.Format{Kind: "a", Oldest: 4, Newest: 5}, "reads version 4 to 5"},
		{"one of many", part("a/12", 1, 1, false), handover.Format{Kind: "a", Oldest: 1, Newest: 1}, "1"},
		{"unknown", part("a", 1, 1, false), handover.Format{Kind: "b", Oldest: 1, Newest: 1}, "does not know the state's part \"a\""},
		{"unknown, but dispensable", part("a", 1, 1, true), handover.Format{Kind: "b", Oldest: 1, Newest: 1}, ""},
		{"unreadable, but dispensable", part("a", 1, 1, true), handover.Format{Kind: "a", Oldest: 2, Newest: 2}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file, err := handover.Collect([]handover.Part{tc.part}, handover.Formats{tc.reads})
			if err != nil {
				if len(tc.want) < 2 || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want %q", err, tc.want)
				}
				return
			}
			sections, err := handover.Parse(file)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, s := range sections {
				got += string('0' + rune(s.Version))
				if s.Name != tc.part.Name || len(s.Bytes) != 1 || uint16(s.Bytes[0]) != s.Version {
					t.Errorf("%+v", s)
				}
			}
			if got != tc.want {
				t.Errorf("version %q, want %q", got, tc.want)
			}
		})
	}
}

func TestCollectRefuses(t *testing.T) {
	reads := handover.Formats{{Kind: "a", Oldest: 1, Newest: 9}}
	fails := part("a", 1, 1, false)
	fails.Append = func([]byte, uint16) ([]byte, error) { return nil, errors.New("out of ink") }
	silent := part("a", 1, 1, false)
	silent.Append = nil
	for want, parts := range map[string][]handover.Part{
		"two parts a":              {part("a", 1, 1, false), part("a", 1, 1, false)},
		"part a writes version 0":  {part("a", 0, 1, false)},
		"writes version 3 to 2":    {part("a", 3, 2, false)},
		"writes version 1 to 1":    {silent},
		`part "" is not 1 to 39`:   {part("", 1, 1, false)},
		`part "a b" is not 1 to 3`: {part("a b", 1, 1, false)},
		"a: out of ink":            {fails},
	} {
		if _, err := handover.Collect(parts, reads); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestCheckFormats(t *testing.T) {
	reads := handover.Formats{{Kind: "a", Oldest: 2, Newest: 3}, {Kind: "b", Oldest: 1, Newest: 1}}
	if err := handover.CheckFormats(reads); err != nil {
		t.Errorf("nobody asked: %v", err)
	}
	for asked, want := range map[string]string{
		"":                            "",
		"a=1-2":                       "",
		"a=1-2 b=1-4 handover=1-1":    "",
		"a=1-2,later,additions b=1-1": "",
		"a=4-5":                       "reads version 2 to 3 of the state's part \"a\", and this one writes 4 to 5",
		"c=1-1":                       "does not know the state's part \"c\"",
		"a=0-1":                       "is no format",
		"a=2-1":                       "is no format",
		"a=1":                         "is no format",
		"=1-1":                        "is no format",
		"a=1-70000":                   "is no format",
	} {
		t.Setenv("EDGED_HANDOVER_FORMATS", asked)
		err := handover.CheckFormats(reads)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", asked, err, want)
		}
	}
}
