package mantest_test

import (
	"path/filepath"
	"strings"
	"testing"

	"edged/packaging/mantest"
)

// TestRoff: sentences stand on lines of their own, lines are short, and no text is taken for a request.
func TestRoff(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "",
		"One. Two! Three":           "One.\nTwo!\nThree\n",
		"a\nb\n\nc":                 "a b\n.Pp\nc\n",
		".x":                        "\\&.x\n",
		"'x' `edged serve` \\":      "\\&'x' \\(oqedged serve\\(cq \\e\n",
		strings.Repeat("word ", 40): strings.Repeat("word ", 15)[:74] + "\n" + strings.Repeat("word ", 15)[:74] + "\n" + strings.Repeat("word ", 10)[:49] + "\n",
	} {
		if got := mantest.Roff(text); got != want {
			t.Errorf("%q:\n%swant\n%s", text, got, want)
		}
	}
	if got := mantest.Argument(`say "\"`); got != `"say \(dq\e\(dq"` {
		t.Errorf("argument %s", got)
	}
}

// TestCurrent writes a page with its part filled in, and finds it current then.
func TestCurrent(t *testing.T) {
	page := mantest.Fill(t, "a\n.\\\" begin x\nold\n.\\\" end x\nb\n", "x", "new\n")
	if page != "a\n.\\\" begin x\nnew\n.\\\" end x\nb\n" {
		t.Fatalf("the page is %q", page)
	}
	file := filepath.Join(t.TempDir(), "page")
	mantest.Current(t, file, page, true, "")
	mantest.Current(t, file, page, false, "")
	if got := mantest.Text(t, file); got != page {
		t.Errorf("the file has %q", got)
	}
}
