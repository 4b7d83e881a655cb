package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"edged/packaging/mantest"
	"edged/tuning"
)

// documents are what tells people what to type.
func documents(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../examples/*.md", "../../examples/*/*.md", manuals + "*.[1-8]"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	if len(all) < 10 {
		t.Fatalf("only %d documents: %v", len(all), all)
	}
	return all
}

var (
	// A call in a block of its own, and one within a text.
	calls  = regexp.MustCompile(`(?m)^(?:\.Dl |    .*; |    +(?:[A-Z_]+=\S+ )?)(?:bin/|/usr/bin/)?edged ([a-z]+(?: .*)?)$`)
	block  = regexp.MustCompile(`(?s)\.Bd.*?\.Ed`) // of a manual page, which is not indented
	inline = regexp.MustCompile("`(?:bin/)?edged ([a-z]+(?:\\s[^`]*)?)`")
	// metricNames are those of the gateway and the other roles; a star stands for several.
	metricNames = regexp.MustCompile("`(edged_[a-z_]+[a-z])(\\*|_\\*)?")
)

// TestDocumentsCalls: every call of edged in a document is one that edged understands.
func TestDocumentsCalls(t *testing.T) {
	n := 0 // calls
	for _, file := range documents(t) {
		text := block.ReplaceAllStringFunc(mantest.Text(t, file), func(s string) string { return strings.ReplaceAll(s, "\n", "\n    ") })
		for _, m := range append(calls.FindAllStringSubmatch(text, -1), inline.FindAllStringSubmatch(text, -1)...) {
			checkCall(t, file, m[1])
			n++
		}
	}
	if n < 50 {
		t.Errorf("only %d calls were found", n)
	}
}

// checkCall looks for the command and the flags of one call, up to what a shell would take for itself.
func checkCall(t *testing.T, file, call string) {
	t.Helper()
	call = strings.ReplaceAll(strings.ReplaceAll(call, "\n", " "), `\e`, "")
	if end := strings.IndexAny(call, "#|&;<>"); end >= 0 {
		call = call[:end]
	}
	root, _ := newRoot(tuning.Box{})
	root.InitDefaultHelpCmd()
	words := strings.Fields(call)
	c, rest, err := root.Find(words)
	if err != nil || c == root {
		t.Errorf("%s: there is no edged %s", file, call)
		return
	}
	c.InitDefaultHelpFlag()
	for _, word := range rest {
		name, isFlag := strings.CutPrefix(word, "--")
		name, _, _ = strings.Cut(strings.TrimRight(name, "]}"), "=")
		if isFlag && c.Flags().Lookup(name) == nil && c.InheritedFlags().Lookup(name) == nil {
			t.Errorf("%s: edged %s has no --%s", file, c.CommandPath(), name)
		}
	}
	if c.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") && regexp.MustCompile(`^[a-z]+$`).MatchString(rest[0]) {
		t.Errorf("%s: %s has no %s", file, c.CommandPath(), rest[0])
	}
}

// TestDocumentsMetrics: every metric that a document names is told by some role.
func TestDocumentsMetrics(t *testing.T) {
	var code strings.Builder
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	}
	for _, file := range documents(t) {
		for _, m := range metricNames.FindAllStringSubmatch(mantest.Text(t, file), -1) {
			want := `"` + m[1] + `"`
			if m[2] != "" {
				want = `"` + m[1]
			}
			if !strings.Contains(code.String(), want) {
				t.Errorf("%s: there is no metric %s%s", file, m[1], m[2])
			}
		}
	}
}

// TestDocumentsLinks: what a document points to is there, and so is every target of make that it names.
func TestDocumentsLinks(t *testing.T) {
	links := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	makes := regexp.MustCompile("(?m)(?:`|^    )make ([a-z][a-z -]*)")
	targets := regexp.MustCompile(`(?m)^([a-z][a-z -]*):`)
	known := map[string]bool{}
	for _, m := range targets.FindAllStringSubmatch(mantest.Text(t, "../../Makefile"), -1) {
		for target := range strings.FieldsSeq(m[1]) {
			known[target] = true
		}
	}
	for _, file := range documents(t) {
		text := mantest.Text(t, file)
		for _, m := range links.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil && strings.HasSuffix(file, ".md") {
				t.Errorf("%s: a link to %s leads nowhere", file, m[1])
			}
		}
		for _, m := range makes.FindAllStringSubmatch(text, -1) {
			first, _, _ := strings.Cut(m[1], " ")
			if !known[first] {
				t.Errorf("%s: there is no make %s", file, first)
			}
		}
	}
}
