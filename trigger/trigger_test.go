package trigger

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestAllIsWhole(t *testing.T) {
	routes, pages := map[string]bool{}, map[string]bool{}
	for _, d := range All() {
		if routes[d.Route()] || pages[d.Page] {
			t.Errorf("%s (%s) comes twice", d.Route(), d.Page)
		}
		routes[d.Route()], pages[d.Page] = true, true
		for what, text := range map[string]string{
			"Does": d.Does, "Page": d.Page, "Title": d.Title, "Label": d.Label, "Instead": d.Instead, "Command": d.Command,
		} {
			if text == "" {
				t.Errorf("%s has no %s", d.Route(), what)
			}
		}
		if d.Does != "" && d.Does != strings.ToLower(d.Does[:1])+d.Does[1:] {
			t.Errorf("%s: %q: want a lower-case letter first", d.Route(), d.Does)
		}
		if d.Status/100 != 2 {
			t.Errorf("%s: a good answer is %d", d.Route(), d.Status)
		}
		inPage := regexp.MustCompile(`\{\w+\}`).FindAllString(d.Page, -1)
		if d.Typed != "" && !strings.Contains(d.Page, "{"+d.Typed+"}") {
			t.Errorf("%s: %s has no %q to type", d.Route(), d.Page, d.Typed)
		}
		for _, name := range inPage {
			if !strings.Contains(d.Path, name) {
				t.Errorf("%s has no %s, which %s has", d.Route(), name, d.Page)
			}
		}
	}
}

// A form sends what the API takes, and the API takes nothing that is required and that no form has.
func TestTriggerFieldsAreThoseOfTheBody(t *testing.T) {
	for _, d := range All() {
		known := map[string]bool{}
		if d.Body != nil {
			for f := range d.Body.Fields() {
				name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
				known[name] = true
				if !strings.Contains(options, "omit") && !d.has(name) {
					t.Errorf("%s: the form has no field for %s, which the body needs", d.Route(), name)
				}
			}
		}
		for _, f := range d.Fields {
			if f.Kind == "path" {
				known[f.Name] = strings.Contains(d.Path, "{"+f.Name+"}")
			}
			if !known[f.Name] {
				t.Errorf("%s takes no %s, which the form has", d.Route(), f.Name)
			}
		}
		if d.Plans && !known["dry_run"] {
			t.Errorf("%s is planned first, but its body has no dry_run", d.Route())
		}
	}
}

func (t Trigger) has(field string) bool {
	for _, f := range t.Fields {
		if f.Name == field {
			return true
		}
	}
	return false
}

func TestTriggerAtEscapesTheParts(t *testing.T) {
	if got, want := Delete.At("a/b", "c d"), "/api/v1/targets/a%2Fb/nodes/c%20d/deletions"; got != want {
		t.Errorf("it is %s, want %s", got, want)
	}
	if got, want := PauseAll.At(), "/api/v1/pauses"; got != want {
		t.Errorf("it is %s, want %s", got, want)
	}
}

func TestFillInNamesThePartsOfThePath(t *testing.T) {
	got := FillIn("Restart {service} of {env}", func(name string) string { return "<" + name + ">" })
	if want := "Restart <service> of <env>"; got != want {
		t.Errorf("it is %q, want %q", got, want)
	}
}

// TestTriggerDocsHaveEachRow looks for each row in the runbook, as docs/triggers.md has it.
func TestTriggerDocsHaveEachRow(t *testing.T) {
	page, err := os.ReadFile("../docs/triggers.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range All() {
		link := regexp.MustCompile(`\[[^]]+\]\(api\.md#` + anchor(d.Route()) + `\)`)
		line := "\n| " + d.Instead + " | `" + d.Command + "` | "
		_, rest, found := strings.Cut(string(page), line)
		rest, _, _ = strings.Cut(rest, "\n")
		if !found || !link.MatchString(rest) {
			t.Errorf("docs/triggers.md has no line %s[%s](api.md#%s) |", line, d.Path[strings.LastIndex(d.Path, "/")+1:], anchor(d.Route()))
		}
	}
}

// anchor is that of a heading, as GitHub makes it.
func anchor(heading string) string {
	kept := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(kept, " ", "-")
}

func TestTriggerSummaryIsAHeading(t *testing.T) {
	if got, want := Deploy.Summary(), "Deploy a commit"; got != want {
		t.Errorf("it is %q, want %q", got, want)
	}
}
