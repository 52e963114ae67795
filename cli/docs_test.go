package cli

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/trigger"
)

// Each line of the runbook is parsed as the command would: its flags exist, and its arguments are as many as it takes.
func TestDocsOnTriggersHaveEveryCommandThatAsksAServer(t *testing.T) {
	page := readText(t, projectRoot+"/docs/triggers.md")
	for _, d := range trigger.All() {
		page += "`" + d.Command + "`"
	}
	used := make(map[string]bool)
	for _, m := range regexp.MustCompile("`unstuck ([a-z]+[^`]*)`").FindAllStringSubmatch(page, -1) {
		words := strings.Fields(m[1])
		cmd, args, err := testRoot(newConsole()).Find(words)
		if err == nil {
			err = cmd.ParseFlags(args)
		}
		if err == nil {
			err = cmd.ValidateArgs(cmd.Flags().Args())
		}
		if err != nil {
			t.Errorf("unstuck %s: %v", m[1], err)
		}
		used[words[0]] = true
	}
	for _, cmd := range newClientCommands(newConsole()) {
		if !used[cmd.Name()] {
			t.Errorf("docs/triggers.md has no line with unstuck %s", cmd.Name())
		}
	}
}

func TestDocsOnTheCommandLineHaveTheExitCodesOfClientCommands(t *testing.T) {
	page := readText(t, projectRoot+"/docs/cli.md")
	_, table, _ := strings.Cut(page, "## Commands that ask a server")
	for code, want := range map[int]string{
		ExitOK: "all went well", ExitFailed: "the operation is over", ExitUnknown: "the command line is wrong", exitRefused: "refused",
		exitUnclear: "no answer", exitUnconfirmed: "somebody said no", exitLeft: "not watched any more",
	} {
		if !strings.Contains(table, fmt.Sprintf("\n| %d | %s", code, want)) {
			t.Errorf("docs/cli.md does not say of %d: %s", code, want)
		}
	}
	for _, name := range []string{serverVariable, tokenVariable} {
		if !strings.Contains(table, "`"+name+"`") {
			t.Errorf("docs/cli.md does not name %s", name)
		}
	}
}
