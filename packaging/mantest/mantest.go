// Package mantest is for tests that hold manual pages and documents against the program, and write them anew.
package mantest

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Current compares a file with what it should be, or writes it. A test that fails says how it is written: by the command hint.
func Current(t *testing.T, file, want string, write bool, hint string) {
	t.Helper()
	if write {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, should := strings.Split(Text(t, file), "\n"), strings.Split(want, "\n")
	for i := range should {
		if i >= len(have) || have[i] != should[i] {
			t.Fatalf("%s is not current from line %d on, which should be\n%s\nWrite it anew: %s", file, i+1, should[i], hint)
		}
	}
	if len(have) != len(should) {
		t.Fatalf("%s has more lines than it should. Write it anew: %s", file, hint)
	}
}

// Text is what a file holds.
func Text(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Fill puts made between the comments .\" begin NAME and .\" end NAME of a page.
func Fill(t *testing.T, page, name, made string) string {
	t.Helper()
	begin, end := ".\\\" begin "+name+"\n", ".\\\" end "+name+"\n"
	before, rest, ok := strings.Cut(page, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("the page has no place for %s", name)
	}
	return before + begin + made + end + after
}

// Roff sets text in lines of at most 78 bytes, each sentence on lines of its own, as mdoc(7) wants it. What is blank between
// paragraphs becomes a request.
func Roff(text string) string {
	var paragraphs []string
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		paragraphs = append(paragraphs, roffParagraph(paragraph))
	}
	return strings.Join(paragraphs, ".Pp\n")
}

func roffParagraph(text string) string {
	if text == "" {
		return ""
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\n", " "), `\`, `\e`)
	text = regexp.MustCompile("`([^`]*)`").ReplaceAllString(text, `\(oq$1\(cq`)
	text = regexp.MustCompile(`([.!?]["')]?) `).ReplaceAllString(text, "$1\n")
	var b strings.Builder
	for sentence := range strings.SplitSeq(text, "\n") {
		line := ""
		for word := range strings.FieldsSeq(sentence) {
			if line != "" && len(line)+1+len(word) > 78 {
				b.WriteString(protect(line) + "\n")
				line = ""
			}
			line = strings.TrimLeft(line+" "+word, " ")
		}
		b.WriteString(protect(line) + "\n")
	}
	return b.String()
}

// protect keeps a line from being taken for a request.
func protect(line string) string {
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		return `\&` + line
	}
	return line
}

// Argument is a text as one argument of a macro.
func Argument(text string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(text, `\`, `\e`), `"`, `\(dq`) + `"`
}
