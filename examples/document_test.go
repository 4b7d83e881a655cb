package examples_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"edged/packaging/mantest"
)

var update = flag.Bool("update", false, "write the programs in docs/*.md anew")

// program of a document: a comment that names the file, and the block of its text.
var quoted = regexp.MustCompile("(?s)<!-- ([a-z/.-]+) -->\n```[a-z]+\n(.*?)```\n")

// TestQuotedPrograms: the programs that stand in documents are those that are tested here.
func TestQuotedPrograms(t *testing.T) {
	documents, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, document := range documents {
		text := mantest.Text(t, document)
		want := quoted.ReplaceAllStringFunc(text, func(block string) string {
			found++
			at := quoted.FindStringSubmatchIndex(block)
			program, err := os.ReadFile(filepath.Join("..", block[at[2]:at[3]]))
			if err != nil {
				t.Fatal(err)
			}
			return block[:at[4]] + string(program) + block[at[5]:]
		})
		mantest.Current(t, document, want, *update && want != text, "go test ./examples -update")
	}
	if found < 2 {
		t.Errorf("%d programs stand in documents", found)
	}
}
