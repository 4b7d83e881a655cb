package main

import (
	"bytes"
	commandline "flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"edged/packaging/mantest"
	"edged/tuning"
)

// writeManual: commands and flags change more often than what is said around them.
var writeManual = commandline.Bool("manual", false, "write the commands in packaging/man/*.8 anew")

const manuals = "../../packaging/man/"

// pageOf is the page that a command stands in.
func pageOf(c *cobra.Command) string {
	words := strings.Fields(c.CommandPath() + " ")
	switch {
	case len(words) > 1 && words[1] == "ctl":
		return "edged-ctl.8"
	case len(words) > 1 && words[1] == "dispatch":
		return "edged-dispatch.8"
	case len(words) > 1 && words[1] == "queue":
		return "edged-queue.8"
	}
	return "edged.8"
}

// TestManualCommands: every command and each of its flags stands in its page as it says of itself.
func TestManualCommands(t *testing.T) {
	root, _ := newRoot(tuning.Box{})
	pages := map[string]*strings.Builder{"edged.8": {}, "edged-ctl.8": {}, "edged-dispatch.8": {}, "edged-queue.8": {}}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c != root && c.Name() != "help" && !c.Hidden {
			writeCommand(pages[pageOf(c)], c)
		}
		for _, below := range c.Commands() {
			walk(below)
		}
	}
	walk(root)
	for name, made := range pages {
		page := mantest.Fill(t, mantest.Text(t, manuals+name), "commands", made.String())
		mantest.Current(t, manuals+name, page, *writeManual, "go test ./cmd/edged -run Manual -manual")
	}
}

// writeCommand writes one command: what is typed, what it does, its flags.
func writeCommand(b *strings.Builder, c *cobra.Command) {
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	fmt.Fprintf(b, ".Ss %s\n", c.CommandPath())
	if c.Runnable() && !c.HasSubCommands() {
		fmt.Fprintf(b, ".Dl %s\n.Pp\n", mantest.Argument(strings.TrimSuffix(c.Parent().CommandPath()+" "+c.Use, " ")))
	}
	b.WriteString(mantest.Roff(text))
	var flags bytes.Buffer
	for _, set := range []*pflag.FlagSet{c.LocalNonPersistentFlags(), c.PersistentFlags()} {
		set.VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !f.Hidden {
				writeFlag(&flags, f)
			}
		})
	}
	if flags.Len() > 0 {
		fmt.Fprintf(b, ".Bl -tag -width Ds\n%s.El\n", &flags)
	}
}

func writeFlag(b *bytes.Buffer, f *pflag.Flag) {
	name, usage := pflag.UnquoteUsage(f)
	item := ".It Fl -" + f.Name
	if f.Shorthand != "" {
		item = ".It Fl " + f.Shorthand + " , Fl -" + f.Name
	}
	switch {
	case name == "":
	case f.NoOptDefVal != "":
		item += " Ns Op = Ns Ar " + name
	default:
		item += " Ar " + name
	}
	fmt.Fprintf(b, "%s\n%s", item, mantest.Roff(strings.ToUpper(usage[:1])+usage[1:]+"."))
	switch f.DefValue {
	case "", "0", "0s", "false", "[]", "-1":
	default:
		b.WriteString(mantest.Roff("Default: " + f.DefValue + "."))
	}
}

// TestManualLint: mandoc finds nothing to complain of, but that the pages are not installed where the test runs.
func TestManualLint(t *testing.T) {
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		t.Skip("there is no mandoc: apt install mandoc")
	}
	pages, err := filepath.Glob(manuals + "*.[1-8]")
	if err != nil || len(pages) != 5 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		out, _ := exec.Command(mandoc, "-T", "lint", page).CombinedOutput() // its status says that there was something
		for line := range strings.Lines(string(out)) {
			if !strings.Contains(line, "referenced manual not found: Xr edged") && !strings.Contains(line, "outdated mandoc.db") {
				t.Error(strings.TrimSuffix(line, "\n"))
			}
		}
	}
}
