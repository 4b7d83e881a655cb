package config_test

import (
	"fmt"
	"strings"
	"testing"

	"edged/packaging/mantest"
)

// writeAnew is how the documents are made.
const writeAnew = "go test ./config -update"

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
	mantest.Current(t, "../docs/CONFIGURATION.md", strings.TrimRight(b.String(), "\n")+"\n", *update, writeAnew)
}

// TestManualPage holds the keys in edged.toml(5) against the settings; -update writes them anew.
func TestManualPage(t *testing.T) {
	const file = "../packaging/man/edged.toml.5"
	page := mantest.Text(t, file)
	for _, k := range kindsOfFile() {
		_, sections := reference(t, k)
		page = mantest.Fill(t, page, "keys of "+k.name, manual(sections))
	}
	mantest.Current(t, file, page, *update, writeAnew)
}

// manual is the sections as mdoc(7) has them.
func manual(sections []section) string {
	var b strings.Builder
	for _, s := range sections {
		fmt.Fprintf(&b, ".Ss %s\\&\n%s.Bl -tag -width Ds\n", s.heading(), mantest.Roff(s.words))
		for _, key := range s.keys {
			item := ".It Ic " + key.name
			if key.preset != "" {
				item += " No = " + mantest.Argument(key.preset)
			}
			fmt.Fprintf(&b, "%s\n%s", item, mantest.Roff(key.words))
			fmt.Fprintf(&b, "%s", mantest.Roff(strings.ToUpper(key.value[:1])+key.value[1:]+"."))
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
