package charts_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the table of alerts anew")

const (
	runbooks  = "../docs/runbooks"
	alertsDoc = "../docs/alerts.md"
)

func readDoc(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// pages gives the runbooks by their names, with their texts.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(runbooks + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, file := range files {
		all[strings.TrimSuffix(filepath.Base(file), ".md")] = readDoc(t, file)
	}
	return all
}

//promise:41
func TestRunbooksAndAlertsBelongToOneAnother(t *testing.T) {
	all := pages(t)
	for _, name := range []string{"README", "stuck-node"} {
		if all[name] == "" {
			t.Errorf("there is no page %s", name)
		}
		delete(all, name)
	}
	parts := regexp.MustCompile(`^# (\w+)\n\n## Meaning\n\n(?s:(.+))\n\n## Impact\n\n(?s:(.+))\n\n## Diagnosis\n\n(?s:(.+))\n\n## Mitigation\n\n(?s:(.+))\n$`)
	for _, a := range alerts(t) {
		page, ok := all[a.Alert]
		if !ok {
			t.Errorf("%s has no runbook", a.Alert)
			continue
		}
		delete(all, a.Alert)
		switch m := parts.FindStringSubmatch(page); {
		case m == nil:
			t.Errorf("%s.md wants Meaning, Impact, Diagnosis and Mitigation, and no more", a.Alert)
		case m[1] != a.Alert:
			t.Errorf("%s.md calls itself %s", a.Alert, m[1])
		case !strings.Contains(m[4], "```sh\n"):
			t.Errorf("%s.md has no command in its diagnosis", a.Alert)
		}
		if n := strings.Count(page, "\n"); n > 80 {
			t.Errorf("%s.md has %d lines, too many for 3 a.m.", a.Alert, n)
		}
	}
	for name := range all {
		t.Errorf("the runbook %s has no alert", name)
	}
}

var (
	shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")
	assignment = regexp.MustCompile(`(?m)^([a-z]+)=`)
	variable   = regexp.MustCompile(`\$\{?([a-z]+)`)
)

// commands gives the lines of the shell blocks of a page, those that are continued as one.
func commands(page string) (lines []string) {
	for _, block := range shellBlock.FindAllStringSubmatch(page, -1) {
		lines = append(lines, strings.Split(strings.TrimSpace(strings.ReplaceAll(block[1], "\\\n", " ")), "\n")...)
	}
	return lines
}

func TestRunbooksSetTheirVariablesBeforehand(t *testing.T) {
	all := pages(t)
	for name, page := range all {
		known := make(map[string]bool)
		for _, m := range assignment.FindAllStringSubmatch(strings.Join(append(commands(all["README"]), commands(page)...), "\n"), -1) {
			known[m[1]] = true
		}
		for _, line := range commands(page) {
			for _, m := range variable.FindAllStringSubmatch(line, -1) {
				if !known[m[1]] {
					t.Errorf("%s.md: nobody says what $%s is: %s", name, m[1], line)
				}
			}
			if strings.Contains(line, "<") && !strings.Contains(line, "<<") {
				t.Errorf("%s.md: a placeholder cannot be run: %s", name, line)
			}
		}
	}
}

func TestRunbooksHaveCommandsThatExist(t *testing.T) {
	unstuck := filepath.Join(t.TempDir(), "unstuck")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", unstuck, "../cmd/unstuck").CombinedOutput(); err != nil {
		t.Fatalf("build unstuck: %v\n%s", err, out)
	}
	ours, kubectls, seen := 0, 0, make(map[string]error)
	for name, page := range pages(t) {
		for _, line := range commands(page) {
			words := shellWords(line)
			if len(words) == 0 {
				continue
			}
			problem, known := seen[line]
			switch words[0] {
			case "unstuck":
				if ours++; !known {
					problem = parsedBy(t, unstuck, words[1:])
				}
			case "kubectl":
				if kubectls++; !known {
					problem = kubectlTakes(words[1:])
				}
			}
			if seen[line] = problem; problem != nil {
				t.Errorf("%s.md: %s: %v", name, line, problem)
			}
		}
	}
	if ours < 40 || kubectls < 60 {
		t.Errorf("only %d lines of unstuck and %d of kubectl were looked at", ours, kubectls)
	}
	for _, wrong := range []string{"unstuck explode a b", "unstuck explain a b --loudly", "kubectl fetch pods", "kubectl get pods --nicely", "kubectl -n"} {
		words := shellWords(wrong)
		if words[0] == "unstuck" && parsedBy(t, unstuck, words[1:]) == nil || words[0] == "kubectl" && kubectlTakes(words[1:]) == nil {
			t.Errorf("this is taken for right: %s", wrong)
		}
	}
}

// shellWords splits a line as a shell does, so far as the runbooks need it: up to a pipe, a redirection, a comment, or
// an &, and with what variables stand for left as it is.
func shellWords(line string) (words []string) {
	word, quote, began := "", rune(0), false
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word += string(c)
		case c == '\'' || c == '"':
			quote, began = c, true
		case strings.ContainsRune("|&>#", c) && word == "" && !began:
			return words
		case c == ' ':
			if word != "" || began {
				words = append(words, word)
			}
			word, began = "", false
		default:
			word += string(c)
		}
	}
	if word != "" || began {
		words = append(words, word)
	}
	return words
}

// parsedBy has the command itself parse the words: with --help it does no more than that.
func parsedBy(t *testing.T, unstuck string, words []string) error {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), unstuck, append(slices.Clone(words), "--help")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	usage := regexp.MustCompile(`(?m)^  unstuck (.*)$`).FindStringSubmatch(string(out))
	if len(usage) == 0 || !strings.HasPrefix(usage[1]+" ", words[0]+" ") {
		return errors.New("there is no such command")
	}
	arguments := regexp.MustCompile(`(?:^| )[A-Z]+`).FindAllString(usage[1], -1)
	given := 0
	for given < len(words)-1 && !strings.HasPrefix(words[given+1], "-") { // the runbooks write flags last
		given++
	}
	if all := words[0] == "explain" || words[0] == "delete"; all && given != len(arguments) {
		return fmt.Errorf("it has %d arguments, and wants %d", given, len(arguments))
	}
	return nil
}

// kubectl is what the runbooks use of it: of each command its flags, "=" at the end of those that take a value. The
// flags of all commands are those of "".
var kubectl = map[string][]string{
	"":             {"-n=", "--namespace=", "--as=", "--all-namespaces", "-l="},
	"get":          {"-o=", "--raw=", "--sort-by=", "--field-selector=", "--watch"},
	"create":       {"--cert=", "--key=", "--dry-run=", "-o="},
	"describe":     {},
	"logs":         {"-c=", "--prefix", "--previous", "--since=", "--tail=", "--timestamps", "--all-containers"},
	"exec":         {"-c=", "-it"},
	"top":          {"--containers"},
	"auth":         {},
	"label":        {},
	"delete":       {"--grace-period=", "--wait="},
	"rollout":      {"--timeout="},
	"port-forward": {},
}

// kubectlTakes says what is wrong with the words; it knows what the runbooks use, and no more of kubectl than that.
func kubectlTakes(words []string) error {
	command, flags := "", kubectl[""]
	for i := 0; i < len(words); i++ {
		w := words[i]
		name, _, hasValue := strings.Cut(w, "=")
		switch {
		case w == "--": // what follows is run elsewhere
			return nil
		case !strings.HasPrefix(w, "-"):
			if command != "" {
				continue
			}
			own, ok := kubectl[w]
			if !ok {
				return fmt.Errorf("there is no command %s, or the runbooks did not use it before", w)
			}
			command, flags = w, append(slices.Clone(flags), own...)
		case slices.Contains(flags, w):
		case slices.Contains(flags, name+"="):
			if !hasValue {
				i++
			}
			if i == len(words) {
				return fmt.Errorf("%s wants a value", name)
			}
		default:
			return fmt.Errorf("%s has no flag %s, or the runbooks did not use it before", command, name)
		}
	}
	if command == "" {
		return errors.New("no command")
	}
	return nil
}

func TestRunbooksTableOfAlertsIsThatOfTheRules(t *testing.T) {
	var b strings.Builder
	b.WriteString("| alert | severity | after | says |\n|---|---|---|---|\n")
	words := strings.NewReplacer("{{ $labels.", "`", "{{ $value", "`N", " }}", "`", "|", "\\|")
	for _, a := range alerts(t) {
		after := a.For
		if after == "" {
			after = "at once"
		}
		fmt.Fprintf(&b, "| [%s](runbooks/%[1]s.md) | %s | %s | %s |\n", a.Alert, a.Labels["severity"], after, words.Replace(a.Annotations["summary"]))
	}
	page := readDoc(t, alertsDoc)
	before, rest, found := strings.Cut(page, "-update` -->\n")
	_, after, ends := strings.Cut(rest, "<!-- end -->")
	if !found || !ends {
		t.Fatalf("%s has no place for the table", alertsDoc)
	}
	want := before + "-update` -->\n\n" + b.String() + "\n<!-- end -->" + after
	if *update {
		if err := os.WriteFile(alertsDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if page != want {
		t.Errorf("%s is not what the rules say: go test ./charts -run TableOfAlerts -update writes it", alertsDoc)
	}
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

func TestRunbooksPageOnAlertsNamesOnlyAlertsThatExist(t *testing.T) {
	known := make(map[string]rule)
	for _, a := range alerts(t) {
		known[a.Alert] = a
	}
	page := readDoc(t, alertsDoc)
	for _, name := range regexp.MustCompile(`\bUnstuck[A-Z]\w+`).FindAllString(page, -1) {
		if _, ok := known[name]; !ok {
			t.Errorf("there is no alert %s", name)
		}
	}
	labels, _ := measured(t)
	for where, text := range pages(t) {
		for _, m := range regexp.MustCompile(`\bunstuck_[a-z_]+`).FindAllString(text, -1) {
			if _, ok := labels[m]; !ok {
				t.Errorf("%s.md names the metric %s, which does not exist", where, m)
			}
		}
	}
	rendered := 0
	for _, block := range yamlBlock.FindAllStringSubmatch(page, -1) {
		if strings.Contains(block[1], "rules:\n  enabled") || strings.Contains(block[1], "rules: {enabled") {
			render(t, least+block[1])
			rendered++
		}
	}
	if rendered != 2 {
		t.Errorf("%d examples of values were rendered", rendered)
	}
}

// What is kept back must carry the labels by which it is told that both are about the same; Alertmanager takes two that
// are both missing for equal.
func TestRunbooksKeepBackOnlyWhatIsAboutTheSame(t *testing.T) {
	var inhibit struct {
		Rules []struct {
			Source []string `yaml:"source_matchers"`
			Target []string `yaml:"target_matchers"`
			Equal  []string `yaml:"equal"`
		} `yaml:"inhibit_rules"`
	}
	for _, block := range yamlBlock.FindAllStringSubmatch(readDoc(t, alertsDoc), -1) {
		if strings.HasPrefix(block[1], "inhibit_rules:") {
			d := yaml.NewDecoder(strings.NewReader(block[1]))
			d.KnownFields(true)
			if err := d.Decode(&inhibit); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(inhibit.Rules) < 5 {
		t.Fatalf("there are %d", len(inhibit.Rules))
	}
	byName := make(map[string]rule)
	for _, a := range alerts(t) {
		byName[a.Alert] = a
	}
	name := regexp.MustCompile(`^alertname=~?"(Unstuck\w+(?:\|Unstuck\w+)*)"$`)
	for _, r := range inhibit.Rules {
		for _, side := range [][]string{r.Source, r.Target} {
			m := name.FindStringSubmatch(strings.Join(side, " "))
			if m == nil {
				t.Errorf("%q names no alerts", side)
				continue
			}
			for n := range strings.SplitSeq(m[1], "|") {
				a, ok := byName[n]
				if !ok {
					t.Errorf("there is no alert %s", n)
					continue
				}
				has := []string{"job", "namespace", "target"} // of those whose series are recorded
				if by := grouping.FindStringSubmatch(a.Expr); by != nil {
					has = strings.Split(by[1], ", ")
				}
				for _, label := range r.Equal {
					if !slices.Contains(has, label) && !strings.HasPrefix(a.Expr, "absent(") {
						t.Errorf("%s has no label %s", n, label)
					}
				}
			}
		}
	}
}
