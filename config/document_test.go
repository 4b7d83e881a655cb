package config_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestConfigurationDocument holds docs/CONFIGURATION.md against the settings; -update writes it anew.
func TestConfigurationDocument(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Configuration\n\n" +
		"Every setting of every file. This page is made from the program: keys, defaults and ranges are those that it obeys\n" +
		"(`go test ./config -update`). The same stands in edged.toml(5).\n\n" +
		"Files are TOML. Durations are texts with a unit (`\"30s\"`, `\"1m30s\"`, `\"500ms\"`), sizes are plain bytes. A key that is not\n" +
		"set has its default; an unknown key is an error. `edged check FILE` names all that is wrong with a file, each with its line.\n" +
		"`edged init` writes a first one.\n\n")
	for _, k := range kindsOfFile() {
		intro, sections := reference(t, k)
		fmt.Fprintf(&b, "## %s\n\n%s `%s --config FILE` reads it, from `/etc/edged/%s` if nothing else is said.\n\n", k.name, firstSentence(intro), k.daemon, k.name)
		for _, s := range sections {
			fmt.Fprintf(&b, "### %s\n\n", s.heading())
			if s.words != "" {
				fmt.Fprintf(&b, "%s\n\n", s.words)
			}
			b.WriteString("| key | value | default | |\n|---|---|---|---|\n")
			for _, key := range s.keys {
				preset := "none"
				if key.preset != "" {
					preset = "`" + key.preset + "`"
				}
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", key.name, cell(key.value), preset, cell(key.words))
			}
			b.WriteString("\n")
		}
	}
	current(t, "../docs/CONFIGURATION.md", strings.TrimRight(b.String(), "\n")+"\n")
}

// TestManualPage holds the keys in edged.toml(5) against the settings; -update writes them anew.
func TestManualPage(t *testing.T) {
	const file = "../packaging/man/edged.toml.5"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, k := range kindsOfFile() {
		begin, end := ".\\\" keys of "+k.name+"\n", ".\\\" end of "+k.name+"\n"
		before, rest, ok := strings.Cut(text, begin)
		_, after, closed := strings.Cut(rest, end)
		if !ok || !closed {
			t.Fatalf("%s has no place for the keys of %s", file, k.name)
		}
		_, sections := reference(t, k)
		text = before + begin + manual(sections) + end + after
	}
	current(t, file, text)
}

// current compares a file with what it should be, or writes it.
func current(t *testing.T, file, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	have, should := strings.Split(string(got), "\n"), strings.Split(want, "\n")
	for i := range should {
		if i >= len(have) || have[i] != should[i] {
			t.Fatalf("%s is not current from line %d on, which should be\n%s\nWrite it anew: go test ./config -update", file, i+1, should[i])
		}
	}
	if len(have) != len(should) {
		t.Fatalf("%s has more lines than it should. Write it anew: go test ./config -update", file)
	}
}

// manual is the sections as mdoc(7) has them.
func manual(sections []section) string {
	var b strings.Builder
	for _, s := range sections {
		fmt.Fprintf(&b, ".Ss %s\\&\n%s.Bl -tag -width Ds\n", s.heading(), roff(s.words))
		for _, key := range s.keys {
			item := ".It Ic " + key.name
			if key.preset != "" {
				item += " No = " + roffWord(key.preset)
			}
			fmt.Fprintf(&b, "%s\n%s", item, roff(key.words))
			fmt.Fprintf(&b, "%s", roff(strings.ToUpper(key.value[:1])+key.value[1:]+"."))
		}
		b.WriteString(".El\n")
	}
	return b.String()
}

func (s section) heading() string {
	if s.many {
		return "[[" + s.name + "]]"
	}
	return "[" + s.name + "]"
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

func firstSentence(text string) string {
	first, _, _ := strings.Cut(text, ". ")
	return strings.TrimSuffix(first, ".") + "."
}

// roff sets text in lines of at most 78 bytes, each sentence on its own, as mandoc wants it.
func roff(text string) string {
	if text == "" {
		return ""
	}
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

// roffWord is a value as one argument of a macro.
func roffWord(value string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(value, `\`, `\e`), `"`, `\(dq`) + `"`
}
