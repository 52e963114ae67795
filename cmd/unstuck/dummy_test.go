package main

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

// dummy is something new that lacks parts of what CONTRIBUTING.md asks for, and the tests that fail for it.
type dummy struct {
	section string // of CONTRIBUTING.md
	changes []change
	fail    []string // each after its package
}

// change is what is put into a file of ours, after a text that is there once.
type change struct{ file, after, text string }

var dummies = []dummy{
	// One reason without a verdict, and one with it; and a kind.
	{"A probe, or a finding of one", []change{
		{"probe/kind.go", "var kinds = []KindRow{", `
	{"dummy", Information, Information, "It does nothing.", ""},`},
		{"probe/reason.go", "var verdicts = []Verdict{", `
	{Dummy, Stuck, "Nothing.", "Nothing.", "Nothing."},`},
		{"probe/reason.go", `ProcessesMove   Reason = "processes_move"`, `
	Dummy           Reason = "dummy"
	Stray           Reason = "stray"`},
	}, []string{
		"app TestWaysShowEveryReasonOnARealBrokerOrItStandsHere",
		"metrics TestDocsTableHasTheClosedListsOfLabels",
		"probe TestKindRowsAreThoseOfTheDocument",
		"probe TestVerdictsAreThoseOfTheDocument",
		"probe TestVerdictsHaveARowForEveryReason",
	}},
	// One that is open whatever happens.
	{"A guard", []change{
		{"remediate/decide/guards.go", "var guards = []guard{", `
	{"dummy", "nobody knows", "", func(*scene, subject) GuardState { return GuardState{Guard: "dummy", Open: true} }, true},`},
	}, []string{
		"cmd/unstuck TestLinksPageOnSafetyHasEveryGuardAndTheADRsAreListed",
		"remediate/decide TestGuardsAreEachClosedByTheWorldAndWhenTheyCannotTell",
		"remediate/decide TestGuardsAreThoseOfTheDocumentation",
		"remediate/decide TestGuardsEachHaveAdviceInTheDocumentation",
		"remediate/decide TestGuardsEachHoldTheDeletionBackByThemselves",
	}},
	// One that is not in base units.
	{"A metric", []change{
		{"metrics/metrics.go", "build, m.permissions, ", `
		prometheus.NewGauge(prometheus.GaugeOpts{Name: "unstuck_dummy_minutes", Help: "Nothing."}), `},
	}, []string{
		"metrics TestDocsTableHasEveryMetricAndNothingElse",
		"metrics TestMetricsPassPrometheusOwnLinter",
		"metrics TestMetricsTextIsTheGoldenOne",
	}},
	// One trigger that nothing answers, and that lacks a part of its row; and one with a verb of its own, that lacks only a
	// command and documentation.
	{"Something that the API can change", []change{
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
		{"httpapi/brokers/node.go", "	return []httpapi.Route{", `
		httpapi.Triggered(trigger.Dummy, api.probeNode, reflect.TypeFor[Probed]()),`},
		{"auth/verb.go", "var verbs = []verbRow{", `{verb: "dummy", ofTarget: probing},`},
	}, []string{
		"cli TestDocsOnTriggersHaveEveryCommandThatAsksAServer",
		"config TestDocsTableOfTokensHasEveryKeyAndNothingElse",
		"httpapi TestDocsHaveEveryEndpointWithItsTrueAnswer",
		"httpapi TestOpenAPIIsTheDescriptionThatIsKept",
		"httpapi TestTriggeredRoutesAreThoseOfTheTable",
		"trigger TestAllIsWhole",
		"trigger TestTriggerDocsHaveEachRow",
		"ui TestTriggerIsPulledByItsRouteOfTheAPIForThoseWhoMayOnly",
	}},
}

// These tests lead who adds something to each part that it lacks. Nothing else fails: the rest follows.
func TestDummyFailsInThePlacesThatContributingNames(t *testing.T) {
	guide := readText(t, projectRoot+"/CONTRIBUTING.md")
	var changes []change
	var want []string
	for _, d := range dummies {
		changes = append(changes, d.changes...)
		want = append(want, d.fail...)
		_, section, _ := strings.Cut(guide, "### "+d.section+"\n")
		section, _, _ = strings.Cut(section, "\n### ")
		for _, one := range d.fail {
			pkg, _, _ := strings.Cut(one, " ")
			if !strings.Contains(section, "`"+pkg+"`: ") {
				t.Errorf("%s fails, and CONTRIBUTING.md does not name that package in %q", one, d.section)
			}
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, failing(t, changes)); diff != "" {
		t.Errorf("with dummies that lack parts these tests fail (+ is true):\n%s", diff)
	}
}

// failing gives the tests of the tables that fail in sources with the changes, each after its package.
func failing(t *testing.T, changes []change) (tests []string) {
	t.Helper()
	dir := t.TempDir()
	changed := make(map[string]string) // by file
	for _, c := range changes {
		text, ok := changed[c.file]
		if !ok {
			text = readText(t, filepath.Join(projectRoot, c.file))
		}
		if strings.Count(text, c.after) != 1 {
			t.Fatalf("%s: want once %q", c.file, c.after)
		}
		changed[c.file] = strings.Replace(text, c.after, c.after+c.text, 1)
	}
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	for name, text := range changed {
		file, err := filepath.Abs(filepath.Join(projectRoot, name))
		if err != nil {
			t.Fatal(err)
		}
		overlay.Replace[file] = filepath.Join(dir, strings.ReplaceAll(name, "/", "-"))
		if err := os.WriteFile(overlay.Replace[file], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
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
		"-run=^Test(All|Docs|Guards|KindRows|Links|Metrics|OpenAPIIs|OpenAPIHas|Trigger|Verbs|Verdicts|WaysShow)", "-json",
		"./app", "./auth", "./cli", "./cmd/unstuck", "./config", "./httpapi/...", "./metrics", "./probe", "./remediate/decide",
		"./trigger", "./ui")
	cmd.Dir = projectRoot
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	failed := regexp.MustCompile(`"Action":"fail","Package":"[^"]*?/unstuck/([a-z/]+)","Test":"(\w+)"`).FindAllSubmatch(out, -1)
	if len(failed) == 0 {
		t.Fatalf("%v: %s", err, out)
	}
	for _, m := range failed {
		tests = append(tests, string(m[1])+" "+string(m[2]))
	}
	slices.Sort(tests)
	return slices.Compact(tests)
}
