package decide

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func guardsPage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/guards.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestGuardsAreThoseOfTheDocumentation(t *testing.T) {
	var documented []GuardDoc
	for _, m := range regexp.MustCompile("(?m)^\\| `(.*)` \\| (.*) \\| (.*) \\|$").FindAllStringSubmatch(guardsPage(t), -1) {
		documented = append(documented, GuardDoc{Guard(m[1]), m[2], strings.TrimPrefix(m[3], "-")})
	}
	if diff := cmp.Diff(Guards(), documented); diff != "" {
		t.Errorf("the table of docs/guards.md is not that of the code (-code +documented):\n%s", diff)
	}
}

func TestGuardsEachHaveAdviceInTheDocumentation(t *testing.T) {
	parts := strings.Split(guardsPage(t), "\n### `")
	var code, documented []Guard
	for _, g := range Guards() {
		code = append(code, g.Guard)
	}
	for _, part := range parts[1:] {
		name, advice, _ := strings.Cut(part, "`\n")
		documented = append(documented, Guard(name))
		if len(strings.TrimSpace(advice)) < 40 {
			t.Errorf("%s: the advice is %q", name, advice)
		}
	}
	if diff := cmp.Diff(code, documented); diff != "" {
		t.Errorf("the paragraphs of docs/guards.md (-code +documented):\n%s", diff)
	}
}

func TestPauseReadsTheExampleInTheDocumentation(t *testing.T) {
	m := regexp.MustCompile("(?s)```json\n(.*?)```").FindStringSubmatch(guardsPage(t))
	if m == nil {
		t.Fatal("docs/guards.md has no example of a pause")
	}
	d := json.NewDecoder(strings.NewReader(m[1]))
	d.DisallowUnknownFields()
	var pauses []Pause
	if err := d.Decode(&pauses); err != nil {
		t.Fatal(err)
	}
	if len(pauses) != 1 || pauses[0].Target == "" || pauses[0].Reason == "" || pauses[0].By == "" || pauses[0].Until.IsZero() {
		t.Errorf("the example gives %+v", pauses)
	}
}
