package trigger

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Two new triggers: one that nothing answers, and that lacks a part of its row; and one that lacks only a command and
// documentation, with a verb of its own.
var dummies = []change{
	{"trigger/table.go", "// What is done to brokers and applications, and to their nodes.\nvar (", `
	Stray = row(Trigger{
		Method: http.MethodPost, Path: onNode + "/strays", Does: "do nothing", Verb: auth.Probe, Status: http.StatusOK,
		Page: "/targets/{target}/nodes/{node}/stray", Title: "Stray of {node}", Label: "Stray", Command: "unstuck status",
	})
	Dummy = row(Trigger{
		Method: http.MethodPost, Path: onNode + "/dummies", Does: "do a dummy", Verb: "dummy",
		Body: reflect.TypeFor[ProbeBody](), Status: http.StatusAccepted, Instead: "doing it oneself",
		Page: "/targets/{target}/nodes/{node}/dummy", Title: "Dummy of {node}", Label: "Dummy",
		Command: "unstuck dummy TARGET NODE",
	})`},
	{"httpapi/node.go", "	return []Route{", `
		triggered(trigger.Dummy, api.probeNode, reflect.TypeFor[Probed]()),`},
	{"auth/verb.go", "var verbs = []verbRow{", `{verb: "dummy", ofTarget: probing},`},
}

// change is what is put into a file of ours, after a text that is there once.
type change struct{ file, after, text string }

// These tests lead who adds a trigger to each part that it lacks. Nothing else fails: the rest follows.
func TestDummyFailsInThePlacesThatContributingNames(t *testing.T) {
	text, err := os.ReadFile("../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "### Something that the API can change")
	section, _, _ = strings.Cut(section, "\n### ")
	want := []string{
		"cli TestDocsOnTriggersHaveEveryCommandThatAsksAServer",
		"config TestDocsTableOfTokensHasEveryKeyAndNothingElse",
		"httpapi TestDocsHaveEveryEndpointWithItsTrueAnswer",
		"httpapi TestOpenAPIIsTheDescriptionThatIsKept",
		"httpapi TestTriggeredRoutesAreThoseOfTheTable",
		"trigger TestAllIsWhole",
		"trigger TestTriggerDocsHaveEachRow",
		"ui TestTriggerIsPulledByItsRouteOfTheAPIForWhoeverMayOnly",
	}
	got := failing(t, dummies)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("with a trigger that lacks a part these tests fail (+ is true):\n%s", diff)
	}
	for _, one := range got {
		pkg, _, _ := strings.Cut(one, " ")
		if !strings.Contains(section, "`"+pkg+"`: ") {
			t.Errorf("%s fails, and CONTRIBUTING.md does not name that package in its section on triggers", one)
		}
	}
}

// failing gives the tests of the tables that fail in sources with the changes, each after its package.
func failing(t *testing.T, changes []change) (tests []string) {
	t.Helper()
	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	for _, c := range changes {
		file, err := filepath.Abs("../" + c.file)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil || strings.Count(string(data), c.after) != 1 {
			t.Fatalf("%s: want once %q, error %v", c.file, c.after, err)
		}
		copied := filepath.Join(dir, strings.ReplaceAll(c.file, "/", "-"))
		if err := os.WriteFile(copied, []byte(strings.Replace(string(data), c.after, c.after+c.text, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[file] = copied
	}
	data, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, data, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-overlay="+list,
		"-run=^Test(All|Docs|OpenAPIIs|OpenAPIHas|Trigger|Verbs)", "-json",
		"./auth", "./cli", "./config", "./httpapi", "./trigger", "./ui")
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	failed := regexp.MustCompile(`"Action":"fail","Package":"[^"]*/unstuck/([a-z]+)","Test":"(\w+)"`).FindAllSubmatch(out, -1)
	if len(failed) == 0 {
		t.Fatalf("%v: %s", err, out)
	}
	for _, m := range failed {
		tests = append(tests, string(m[1])+" "+string(m[2]))
	}
	slices.Sort(tests)
	return slices.Compact(tests)
}
