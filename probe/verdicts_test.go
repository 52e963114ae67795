package probe

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVerdictsAreThoseOfTheDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/verdicts.md")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, v := range Verdicts() {
		want = append(want, fmt.Sprintf("| %#q | %s | %s | %s | %s |", v.Reason, v.Status, v.Saw, v.Means, v.Advice))
	}
	_, table, ok := strings.Cut(string(text), "\n| reason | status | what was seen | what it means | what to do |\n|---|---|---|---|---|\n")
	if !ok {
		t.Fatal("docs/verdicts.md has no table of verdicts")
	}
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		got = append(got, strings.TrimSpace(line))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/verdicts.md is not what the code says (- code, + document):\n%s", diff)
	}
}
