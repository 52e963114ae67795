package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestManHasAPageForEachCommand(t *testing.T) {
	t.Setenv(epochVariable, "86400")
	dir := filepath.Join(t.TempDir(), "man1")
	root := newRootCommand()
	root.SetArgs([]string{"man", dir})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	pages := 0
	var each func(*cobra.Command)
	each = func(cmd *cobra.Command) {
		if !cmd.IsAvailableCommand() && cmd.HasParent() {
			return
		}
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
		data, err := os.ReadFile(filepath.Join(dir, name+".1"))
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, want := range []string{`.TH "` + strings.ToUpper(name) + `" "1" "Jan 1970"`, ".SH NAME", ".SH DESCRIPTION"} {
			if !strings.Contains(string(data), want) {
				t.Errorf("%s.1 has no %s:\n%.300s", name, want, data)
			}
		}
		for _, sub := range cmd.Commands() {
			each(sub)
		}
	}
	each(root)
	if files, err := os.ReadDir(dir); err != nil || len(files) != pages || pages < 20 {
		t.Errorf("there are %d pages of %d commands (%v)", len(files), pages, err)
	}
}

func TestManRefusesADateThatIsNone(t *testing.T) {
	for _, text := range []string{"yesterday", "-1", "1e9"} {
		t.Setenv(epochVariable, text)
		root := newRootCommand()
		root.SilenceErrors, root.SilenceUsage = true, true
		root.SetArgs([]string{"man", t.TempDir()})
		if err := root.Execute(); err == nil || !strings.Contains(err.Error(), "want seconds since 1970") {
			t.Errorf("%q: error %v", text, err)
		}
	}
}
