// Package lintproof shows that .golangci.yml refuses what it is there to refuse. A linter that is misconfigured
// reports nothing, and nothing looks just like success; so this test breaks each rule of ours on purpose, in a copy.
package lintproof

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/cjworkbench/unstuck"

// ours are the packages of the design, by their paths in the module.
var ours = []string{
	"clock", "target", "auth", "probe", "remediate", "remediate/decide", "remediate/store", "release",
	"release/plan", "config", "metrics", "kube", "kube/apiserver", "kube/deploy", "kube/kubetest", "trigger",
	"httpapi", "httpapi/apitest", "httpapi/brokers", "httpapi/environments", "ui", "lab", "terminal", "version",
	"cli", "app", "apptest", "probe/login", "probe/stuck", "release/text", "release/workload", "notify",
	"kube/discover",
}

// product are those of which the two commands are made.
var product = slices.DeleteFunc(slices.Clone(ours), func(p string) bool { return strings.HasSuffix(p, "test") })

// theirs are packages of other people, and some of the standard library that are not for everybody.
var theirs = map[string]string{
	"amqp":               "github.com/rabbitmq/amqp091-go",
	"chromedp":           "github.com/chromedp/chromedp",
	"client-go":          "k8s.io/client-go/kubernetes",
	"client_golang":      "github.com/prometheus/client_golang/prometheus",
	"clock":              "github.com/benbjohnson/clock",
	"cmp":                "github.com/google/go-cmp/cmp",
	"cobra":              "github.com/spf13/cobra",
	"containerregistry":  "github.com/google/go-containerregistry/pkg/name",
	"controller-runtime": "sigs.k8s.io/controller-runtime/pkg/client",
	"cron":               "github.com/robfig/cron/v3",
	"k8s-clock":          "k8s.io/utils/clock",
	"testify":            "github.com/stretchr/testify/require",
	"yaml":               "go.yaml.in/yaml/v3",
	"context":            "context",
	"log":                "log",
	"os":                 "os",
	"rand":               "math/rand",
	"slog":               "log/slog",
}

// mayImport says for each file which of ours and theirs it may import; it must be refused all the others.
var mayImport = map[string]string{
	"clock/a.go":                 "context os slog",
	"target/a.go":                "context os slog",
	"auth/a.go":                  "context os slog release/plan",
	"probe/a.go":                 "context os slog target cron",
	"remediate/a.go":             "context os slog clock target probe remediate/decide remediate/store",
	"remediate/decide/a.go":      "clock target probe",
	"remediate/store/a.go":       "context os slog clock target probe remediate/decide",
	"release/a.go":               "context os slog clock release/plan release/text release/workload containerregistry",
	"release/plan/a.go":          "release/text release/workload",
	"config/a.go":                "context os slog auth target probe probe/login remediate/decide release/plan cron yaml release/workload notify",
	"metrics/a.go":               "context os slog auth notify target probe remediate remediate/decide release/plan client_golang",
	"kube/a.go":                  "context os slog auth clock target kube/apiserver client-go",
	"kube/apiserver/a.go":        "context os slog auth target client-go",
	"kube/deploy/a.go":           "context os slog kube/apiserver release release/plan release/text release/workload client-go",
	"kube/kubetest/a.go":         "context os slog kube/apiserver client-go",
	"trigger/a.go":               "context os slog auth release/plan remediate/decide",
	"httpapi/a.go":               "context os slog auth remediate/decide release/plan release/text trigger",
	"httpapi/brokers/a.go":       "context os slog auth httpapi target probe remediate remediate/decide remediate/store trigger",
	"httpapi/apitest/a.go":       "context os slog auth target probe remediate remediate/decide remediate/store release release/plan release/workload",
	"ui/a.go":                    "context os slog auth httpapi httpapi/brokers httpapi/environments probe remediate remediate/decide remediate/store release release/plan trigger",
	"lab/a.go":                   "context os slog target amqp",
	"app/a.go":                   "context os slog auth config httpapi httpapi/brokers httpapi/environments kube kube/apiserver kube/deploy metrics probe release release/plan remediate remediate/decide remediate/store target ui version probe/login probe/stuck notify kube/discover",
	"cli/a.go":                   "context os slog cobra httpapi httpapi/brokers httpapi/environments kube probe release release/plan remediate remediate/decide remediate/store target terminal trigger version release/workload",
	"terminal/a.go":              "context os slog probe",
	"version/a.go":               "context os slog",
	"apptest/a.go":               "context os slog chromedp",
	"cmd/unstuck/a.go":           "context os slog cobra " + strings.Join(except(product, "lab"), " "),
	"cmd/unstuck-demo/a.go":      "context os slog cobra " + strings.Join(product, " "),
	"httpapi/environments/a.go":  "context os slog auth httpapi release release/plan release/workload trigger",
	"newcomer/a.go":              "context os slog",
	"probe/sub/a.go":             "context os slog",
	"probe/a_test.go":            "context os slog amqp chromedp cmp client_golang cobra containerregistry cron yaml " + strings.Join(ours, " "),
	"remediate/decide/a_test.go": "context os slog amqp chromedp cmp client_golang cobra containerregistry cron yaml " + strings.Join(ours, " "),
	"kube/a_test.go":             "context os slog cmp client-go " + strings.Join(ours, " "),
	"kube/deploy/a_test.go":      "context os slog cmp client-go " + strings.Join(ours, " "),
	"app/apiserver_test.go":      "context os slog cmp client-go " + strings.Join(ours, " "),
	"probe/login/a.go":           "context os slog target probe amqp",
	"probe/stuck/a.go":           "context os slog target probe",
	"release/text/a.go":          "",
	"release/workload/a.go":      "release/text",
	"notify/a.go":                "context os slog target probe remediate/decide remediate/store",
	"kube/discover/a.go":         "context os slog target kube/apiserver client-go",
}

// except gives names without some of them.
func except(names []string, without ...string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(without, name) })
}

// TestLintproofLinterRefusesWhatItShould builds a module whose packages are named like ours and hold every forbidden import,
// and the files of testdata with every forbidden call, each marked `// want <linter>`. One run of the linter must
// report exactly those.
func TestLintproofLinterRefusesWhatItShould(t *testing.T) {
	dir := t.TempDir()
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	want := map[string]bool{}
	writeModule(t, dir)
	writeImports(t, dir, want)
	copyTestdata(t, dir, want)
	writeLong(t, dir, want)

	got := map[string]bool{}
	for _, i := range runLinter(t, dir) {
		file := strings.TrimPrefix(filepath.ToSlash(i.Pos.Filename), "proof/")
		_, generated := mayImport[file]
		switch {
		case !generated:
			got[fmt.Sprintf("%s:%d: %s", file, i.Pos.Line, i.FromLinter)] = true
		case i.FromLinter == "depguard": // the only one that the generated imports are for
			_, rest, _ := strings.Cut(i.Text, "import '")
			imported, _, _ := strings.Cut(rest, "'")
			got[fmt.Sprintf("%s: depguard: %s", file, imported)] = true
		}
	}
	for _, w := range slices.Sorted(maps.Keys(want)) {
		if !got[w] {
			t.Errorf("the linter lets through: %s", w)
		}
	}
	for _, g := range slices.Sorted(maps.Keys(got)) {
		if !want[g] {
			t.Errorf("the linter refuses what it should not: %s", g)
		}
	}
}

// writeModule writes go.mod, our packages and theirs as stubs with one name each, and the lint configuration.
func writeModule(t *testing.T, dir string) {
	t.Helper()
	var mod strings.Builder
	fmt.Fprintf(&mod, "module %s\n\ngo 1.26.0\n\n", module)
	for _, p := range theirs {
		if !isThirdParty(p) {
			continue
		}
		version := "v0.0.0"
		if base := path.Base(p); strings.HasPrefix(base, "v") && len(base) == 2 {
			version = base + ".0.0"
		}
		fmt.Fprintf(&mod, "require %s %s\nreplace %s => ./stubs/%s\n", p, version, p, p)
		write(t, dir, "stubs/"+p+"/go.mod", fmt.Sprintf("module %s\n\ngo 1.26.0\n", p))
		write(t, dir, "stubs/"+p+"/stub.go", "package stub\n\nvar X int\n")
	}
	for _, p := range ours {
		write(t, dir, p+"/stub.go", "package stub\n\nvar X int\n")
	}
	write(t, dir, "go.mod", mod.String())
	rules, err := os.ReadFile("../../.golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, ".golangci.yml", string(rules))
}

// writeImports writes one file for each key of mayImport that imports everything there is, itself aside.
func writeImports(t *testing.T, dir string, want map[string]bool) {
	t.Helper()
	paths := maps.Clone(theirs)
	for _, p := range ours {
		paths[p] = module + "/" + p
	}
	names := map[string]string{"context": "Canceled", "log": "LstdFlags", "os": "Args", "rand": "Int", "slog": "LevelInfo"}
	for file, allowed := range mayImport {
		pkg := path.Base(path.Dir(file))
		if strings.HasPrefix(file, "cmd/") {
			pkg = "main"
		}
		var imports, uses strings.Builder
		for i, name := range slices.Sorted(maps.Keys(paths)) {
			used := names[name]
			if used == "" {
				used = "X"
			}
			fmt.Fprintf(&imports, "\tp%d %q\n", i, paths[name])
			fmt.Fprintf(&uses, "\t_ = p%d.%s\n", i, used)
			if !slices.Contains(strings.Fields(allowed), name) {
				want[fmt.Sprintf("%s: depguard: %s", file, paths[name])] = true
			}
		}
		write(t, dir, "proof/"+file, fmt.Sprintf("// Package %s is not ours.\npackage %s\n\nimport (\n%s)\n\nvar (\n%s)\n",
			pkg, pkg, imports.String(), uses.String()))
	}
	for _, command := range []string{"unstuck", "unstuck-demo"} {
		write(t, dir, "proof/cmd/"+command+"/main.go", "package main\n\nfunc main() {}\n")
	}
}

// writeLong writes a file and a function that are just short enough, and one of each that is not.
func writeLong(t *testing.T, dir string, want map[string]bool) {
	t.Helper()
	const header = "// Package long is long.\npackage long\n\n"
	body := func(lines int) string { return strings.Repeat("\t_ = append([]int{}, 1)\n", lines) }
	write(t, dir, "proof/long/lines400.go", header+strings.Repeat("//\n", 397))
	write(t, dir, "proof/long/lines401.go", header+strings.Repeat("//\n", 398))
	want["long/lines401.go:401: revive"] = true
	write(t, dir, "proof/long/function.go", header+"// Short has 60 lines.\nfunc Short() {\n"+body(60)+
		"}\n\n// Long has 61 lines.\nfunc Long() {\n"+body(61)+"}\n")
	want["long/function.go:69: funlen"] = true
	write(t, dir, "proof/long/columns.go", header+"// "+strings.Repeat("x", 117)+"\n// "+strings.Repeat("x", 118)+"\n")
	want["long/columns.go:5: lll"] = true
}

// copyTestdata copies testdata to proof and reads the marks in it.
func copyTestdata(t *testing.T, dir string, want map[string]bool) {
	t.Helper()
	root := os.DirFS("testdata")
	err := fs.WalkDir(root, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		src, err := fs.ReadFile(root, file)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(src), "\n") {
			if _, linters, ok := strings.Cut(line, "// want "); ok {
				for _, linter := range strings.Fields(linters) {
					want[fmt.Sprintf("%s:%d: %s", file, i+1, linter)] = true
				}
			}
		}
		write(t, dir, "proof/"+file, string(src))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

type issue struct {
	FromLinter string
	Text       string
	Pos        struct {
		Filename string
		Line     int
	}
}

// runLinter runs the linter of the tools module in dir and returns what it reports. Finding issues is exit code 1.
func runLinter(t *testing.T, dir string) []issue {
	t.Helper()
	located, err := exec.CommandContext(t.Context(), "go", "tool", "-n", "golangci-lint").Output()
	if err != nil {
		t.Fatalf("build the linter: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), strings.TrimSpace(string(located)),
		"run", "--allow-serial-runners", "--show-stats=false", "--output.json.path=stdout", "./proof/...")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("run the linter: %v\n%s%s", err, out, stderr.String())
	}
	var report struct{ Issues []issue }
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&report); err != nil {
		t.Fatalf("read the linter's report: %v\n%s", err, out)
	}
	return report.Issues
}

func isThirdParty(p string) bool { return strings.Contains(p, ".") }

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	file := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
