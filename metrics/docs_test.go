package metrics

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/notify"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

func documentation(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// rows gives the cells of each row of the table whose first column has this head, without that of its head.
func rows(text, head string) [][]string {
	_, text, _ = strings.Cut(text, "\n| "+head+" |")
	text, _, _ = strings.Cut(text, "\n\n")
	var all [][]string
	for _, line := range strings.Split(text, "\n")[2:] {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		all = append(all, cells)
	}
	return all
}

//promise:42
func TestDocsTableHasEveryMetricAndNothingElse(t *testing.T) {
	m := New("1.2.3")
	feed(m, time.Now())
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got, documented []string // name, type, labels and meaning
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "unstuck_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		slices.Sort(labels)
		got = append(got, strings.Join([]string{
			"`" + f.GetName() + "`", strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp(),
		}, " | "))
	}
	for _, cells := range rows(documentation(t), "metric") {
		documented = append(documented, strings.Join([]string{cells[0], cells[1], cells[2], cells[4]}, " | "))
		if seconds := strings.HasSuffix(cells[0], "_seconds`"); seconds != strings.HasPrefix(cells[3], "seconds") {
			t.Errorf("%s: the unit is %q", cells[0], cells[3])
		}
	}
	if diff := cmp.Diff(got, documented); diff != "" {
		t.Errorf("docs/metrics.md is not what is registered (-registered +documented):\n%s", diff)
	}
}

func TestDocsTableHasTheClosedListsOfLabels(t *testing.T) {
	want := map[string][]string{
		"action":  {decide.Delete.String(), decide.Hold.String()},
		"cause":   notify.DropReasons(),
		"event":   names(notify.Kinds()),
		"file":    names(Files()),
		"mode":    {decide.Observe.String(), decide.Remediate.String()},
		"outcome": names(decide.Outcomes()),
		"phase":   names(decide.Phases()),
		"probe":   names(probe.Kinds()),
		"state":   {"escalated", "ignored", "pending", "refused", "watched"},
		"kind":    names(plan.Kinds()),
		"result":  {},
	}
	for _, p := range []plan.Phase{plan.Pending, plan.Running, plan.RollingBack, plan.Succeeded, plan.Failed, plan.Cancelled, plan.RolledBack} {
		if p.Over() {
			want["result"] = append(want["result"], string(p))
		}
	}
	for _, s := range probe.Stages() {
		want["stage"] = append(want["stage"], s.String())
	}
	for _, s := range probe.Statuses() {
		want["status"] = append(want["status"], s.String())
	}
	for label, values := range want {
		slices.Sort(values)
		want[label] = values
	}
	got := make(map[string][]string)
	for _, cells := range rows(documentation(t), "label") {
		if strings.HasPrefix(cells[1], "see ") {
			continue
		}
		got[strings.Trim(cells[0], "`")] = strings.Split(strings.ReplaceAll(cells[1], "`", ""), ", ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the labels of docs/metrics.md are not those of the code (-code +documented):\n%s", diff)
	}
}

func names[S ~string](list []S) []string {
	var all []string
	for _, s := range list {
		all = append(all, string(s))
	}
	return all
}

func TestDocsQueriesHaveOnlyMetricsThatExist(t *testing.T) {
	m := New("1.2.3")
	feed(m, time.Now())
	lines := scrape(t, m)
	_, queries, found := strings.Cut(documentation(t), "## How they behave")
	if !found {
		t.Fatal("docs/metrics.md has no part on how they behave")
	}
	mentioned := regexp.MustCompile(`unstuck_\w+`).FindAllString(queries, -1)
	if len(mentioned) < 10 {
		t.Fatalf("only these metrics are mentioned: %q", mentioned)
	}
	for _, name := range mentioned {
		if len(about(lines, name+"{"))+len(about(lines, name+" ")) == 0 {
			t.Errorf("%s does not exist", name)
		}
	}
}
