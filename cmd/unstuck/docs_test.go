package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/cli"
)

const cliDoc = "../../docs/cli.md"

// section is a command's part of the documentation: its heading, its prose, and the block with its flags, if it has any.
var section = regexp.MustCompile("(?m)^## `unstuck ([a-z-]+)`\n(?:[^#\n].*\n|\n)*")

// flagBlock is such a block.
var flagBlock = regexp.MustCompile("(?m)^```text\n +-.*\n(?:.+\n)*?```\n")

// flagsOf writes the block of a command's flags, as its help has them.
func flagsOf(cmd *cobra.Command) string {
	usage := cmd.LocalFlags().FlagUsages()
	if usage == "" {
		return ""
	}
	return "```text\n" + usage + "```\n"
}

func TestDocsHaveEveryCommandWithItsFlags(t *testing.T) {
	data, err := os.ReadFile(cliDoc)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(data)
	root := newRootCommand()
	root.InitDefaultCompletionCmd("completion")
	var missing []string
	for _, cmd := range root.Commands() {
		missing = append(missing, cmd.Name())
	}
	for _, m := range section.FindAllStringSubmatch(doc, -1) {
		text, name := m[0], m[1]
		i := slices.Index(missing, name)
		if i < 0 {
			t.Errorf("documented, but no command (or documented twice): unstuck %s", name)
			continue
		}
		missing = slices.Delete(missing, i, i+1)
		cmd, _, err := root.Find([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		want, got := flagsOf(cmd), flagBlock.FindString(text)
		switch {
		case want == got:
		case *update && got != "":
			doc = strings.Replace(doc, text, strings.Replace(text, got, want, 1), 1)
		case *update:
			doc = strings.Replace(doc, text, strings.TrimRight(text, "\n")+"\n\n"+want+"\n", 1)
		default:
			t.Errorf("unstuck %s: the documented flags are not the true ones (go test ./cmd/unstuck -update writes them, + is true):\n%s",
				name, cmp.Diff(got, want))
		}
	}
	for _, name := range missing {
		t.Errorf("not documented: unstuck %s: docs/cli.md wants a heading \"## `unstuck %s`\" and what it is for", name, name)
	}
	if *update {
		if err := os.WriteFile(cliDoc, []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDocsHaveTheExitCodesAndTheFieldsOfJSON(t *testing.T) {
	data, err := os.ReadFile(cliDoc)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		fmt.Sprintf("| %d | healthy", cli.ExitOK), fmt.Sprintf("| %d | faulty", cli.ExitFailed), fmt.Sprintf("| %d | stuck", cli.ExitStuck),
		fmt.Sprintf("| %d | unknown", cli.ExitUnknown), passwordVariable, "NO_COLOR",
		"`target`", "`status`", "`reason`", "`stage`", "`started`", "`took_seconds`", "`stages`", "`detail`",
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("docs/cli.md does not say %s", want)
		}
	}
	for _, name := range []string{"wedged", "json"} {
		sample, err := os.ReadFile("testdata/" + name + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(sample), "\n\n")
		if name == "json" {
			first = strings.Split(string(sample), "\n")[1]
		}
		if !strings.Contains(string(data), first) {
			t.Errorf("the sample in docs/cli.md is not what testdata/%s.txt holds:\n%s", name, first)
		}
	}
}
