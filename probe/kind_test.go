package probe

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKindRowsAreThoseOfTheDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/verdicts.md")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, k := range KindRows() {
		ofApp := ""
		if k.OfApp != Information {
			ofApp = k.OfApp.String() + " "
		}
		want = append(want, fmt.Sprintf("| %#q | %s | %s| %s |", k.Kind, k.Role, ofApp, k.Does))
	}
	_, table, ok := strings.Cut(string(text), "\n| probe | counts as | of an application | what it does |\n|---|---|---|---|\n")
	if !ok {
		t.Fatal("docs/verdicts.md has no table of the kinds of probes")
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

// Each of these roles has one kind: a second login, or a second look at the processes, would need more than a row.
func TestKindRowsHaveOneKindForLivenessAndForCorroboration(t *testing.T) {
	of := func(is func(KindRow) bool) (kinds []Kind) {
		for _, k := range KindRows() {
			if is(k) {
				kinds = append(kinds, k.Kind)
			}
		}
		return kinds
	}
	for name, c := range map[string]struct{ got, want []Kind }{
		"liveness of a broker":       {of(func(k KindRow) bool { return k.Role == Liveness }), []Kind{Login}},
		"liveness of an application": {of(func(k KindRow) bool { return k.OfApp == Liveness }), []Kind{LogAge}},
		"corroboration":              {of(func(k KindRow) bool { return k.Role == Corroboration }), []Kind{MaybeStuck}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (- want, + got):\n%s", name, diff)
		}
	}
}

func TestKindRowOfAKindThatIsNotOnTheListCountsForNothing(t *testing.T) {
	if k := Kind("made_up"); k.Role() != Information || k.Row().OfApp != Information {
		t.Errorf("it counts as %s", k.Role())
	}
}
