package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
)

const projectRoot = "../.."

// page is a Markdown file: its text without code, and the anchors of its headings.
type page struct {
	text    string
	anchors map[string]bool
}

var (
	fenced     = regexp.MustCompile("(?s)(?:^|\n) *```.*?\n *```")
	inlineCode = regexp.MustCompile("`[^`\n]*`")
	heading    = regexp.MustCompile(`(?m)^#{1,6} +(.*)$`)
	link       = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	linkText   = regexp.MustCompile(`\[([^\]]*)\]\([^()\s]*\)`)
	notInSlug  = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	mentioned  = regexp.MustCompile(`\bdocs/[a-z0-9/-]+\.md\b`)
)

func readPage(t *testing.T, path string) page {
	t.Helper()
	text := fenced.ReplaceAllString(readText(t, path), "")
	p := page{inlineCode.ReplaceAllString(text, ""), make(map[string]bool)}
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		slug := slug(m[1])
		for i, first := 1, slug; p.anchors[slug]; i++ {
			slug = fmt.Sprintf("%s-%d", first, i)
		}
		p.anchors[slug] = true
	}
	return p
}

func readText(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// slug is the anchor of a heading, as GitHub makes it (github.com/gjtorikian/html-pipeline, TableOfContentsFilter).
func slug(heading string) string {
	heading = linkText.ReplaceAllString(strings.TrimSpace(heading), "$1")
	return strings.ReplaceAll(notInSlug.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

// sources gives the files of the project whose names end in one of these.
func sources(t *testing.T, ends ...string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(projectRoot, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && path != projectRoot && (strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata"):
			return fs.SkipDir
		}
		for _, end := range ends {
			if !e.IsDir() && strings.HasSuffix(path, end) {
				paths = append(paths, path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestLinksOfTheDocumentationLeadSomewhere(t *testing.T) {
	pages := make(map[string]page)
	for _, path := range sources(t, ".md") {
		pages[path] = readPage(t, path)
	}
	links := 0
	for path, p := range pages {
		for _, m := range link.FindAllStringSubmatch(p.text, -1) {
			to, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: %s: %v", path, m[1], err)
				continue
			}
			if to.IsAbs() {
				continue // another site's
			}
			links++
			if why := broken(pages, path, to); why != "" {
				t.Errorf("%s links to %s: %s", path, m[1], why)
			}
		}
	}
	if links < 50 {
		t.Errorf("only %d links were found on %d pages", links, len(pages))
	}
}

// broken says what is wrong with a link from the page at path; "" if nothing is.
func broken(pages map[string]page, path string, to *url.URL) string {
	aim := path
	if to.Path != "" {
		aim = filepath.Join(filepath.Dir(path), filepath.FromSlash(to.Path))
	}
	if _, err := os.Stat(aim); err != nil {
		return "there is no such file"
	}
	if inside, err := filepath.Rel(projectRoot, aim); err != nil || strings.HasPrefix(inside, "..") {
		return "it lies outside of the project"
	}
	if to.Fragment != "" && !pages[aim].anchors[to.Fragment] {
		return "there is no such heading"
	}
	return ""
}

func TestLinksThatLeadNowhereAreFound(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.md")
	text := "# The `a` page: why?\n## Twice\n## Twice\n```sh\n# no heading\n```\n[not a](link.md) `[code](gone.md)`\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := readPage(t, path)
	for _, want := range []string{"the-a-page-why", "twice", "twice-1"} {
		if !p.anchors[want] {
			t.Errorf("there is no %q in %v", want, p.anchors)
		}
	}
	if len(p.anchors) != 3 {
		t.Errorf("the headings are %v", p.anchors)
	}
	if got := link.FindAllString(p.text, -1); len(got) != 1 {
		t.Errorf("the links are %q", got)
	}
	readme := filepath.Join(projectRoot, "README.md")
	pages := map[string]page{readme: readPage(t, readme)}
	for link, want := range map[string]string{
		"gone.md": "there is no such file", "#gone": "there is no such heading", "docs#docs": "there is no such heading",
		"README.md#unstuck": "", "#unstuck": "", "docs": "", "../../../../../..": "it lies outside of the project",
	} {
		to, err := url.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		if got := broken(pages, readme, to); got != want {
			t.Errorf("%s: %q, want %q", link, got, want)
		}
	}
}

func TestLinksInTheCodeNamePagesThatExist(t *testing.T) {
	for _, path := range sources(t, ".go", ".yaml", ".sh", ".txt", "Makefile", "Dockerfile") {
		for _, name := range mentioned.FindAllString(readText(t, path), -1) {
			if _, err := os.Stat(filepath.Join(projectRoot, name)); err != nil {
				t.Errorf("%s names %s, which is not there", path, name)
			}
		}
	}
}

func TestLinksPageOnSafetyHasEveryGuardAndTheADRsAreListed(t *testing.T) {
	safety := readText(t, projectRoot+"/docs/safety.md")
	for _, g := range decide.Guards() {
		if row := fmt.Sprintf("\n| [%#q](guards.md#%[1]s) | ", g.Guard); !strings.Contains(safety, row) {
			t.Errorf("docs/safety.md has no row for the guard %s", g.Guard)
		}
	}
	list := readText(t, projectRoot+"/docs/adr/README.md")
	for _, path := range sources(t, ".md") {
		name := filepath.Base(path)
		if filepath.Base(filepath.Dir(path)) == "adr" && name != "README.md" && !strings.Contains(list, "["+name[:4]+"]("+name+")") {
			t.Errorf("docs/adr/README.md does not list %s", name)
		}
	}
}

// The manifest of a pause is what the tests on a real cluster write, and its document is read as the daemon reads it.
func TestLinksPageOnSafetyHasAPauseThatIsOne(t *testing.T) {
	manifest := regexp.MustCompile(`(?s)kubectl apply -f - <<END\n(.*?)\nEND\n`).FindStringSubmatch(readText(t, projectRoot+"/docs/safety.md"))
	if manifest == nil {
		t.Fatal("docs/safety.md has no manifest of a pause")
	}
	head, document, _ := strings.Cut(manifest[1], "document: |\n")
	tried := readText(t, projectRoot+"/e2e/hold_test.go")
	for line := range strings.Lines(strings.ReplaceAll(head, "namespace: unstuck", "namespace: %s")) {
		if !strings.Contains(tried, "\n"+line) {
			t.Errorf("docs/safety.md has %q, which e2e/hold_test.go does not try", strings.TrimSpace(line))
		}
	}
	document = regexp.MustCompile(`\$\(date [^)]*\)`).ReplaceAllString(document, "2026-11-23T18:00:00Z")
	d := json.NewDecoder(strings.NewReader(document))
	d.DisallowUnknownFields()
	var pauses []decide.Pause
	if err := d.Decode(&pauses); err != nil {
		t.Fatal(err)
	}
	want := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	if len(pauses) != 1 || pauses[0].Target == "" || pauses[0].Reason == "" || pauses[0].By == "" || !pauses[0].Until.Equal(want) {
		t.Errorf("the example gives %+v", pauses)
	}
}
