package cli

import (
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// By these names kubectl finds a plugin, `kubectl unstuck`, and what completes its arguments.
const (
	pluginName         = "kubectl-unstuck"
	pluginCompleteName = "kubectl_complete-unstuck"
)

// AsCalled gives the arguments of a command line, whose first word is the name of the program. As a plugin of kubectl
// the program is called, in its help and in what it tells people to run, as they call it; and as what kubectl asks for
// completions it gives these.
func AsCalled(root *cobra.Command, line []string) []string {
	if len(line) == 0 {
		return nil
	}
	name := strings.TrimSuffix(filepath.Base(line[0]), ".exe")
	if name != pluginName && name != pluginCompleteName {
		return line[1:]
	}
	if root.Annotations == nil {
		root.Annotations = make(map[string]string)
	}
	root.Annotations[cobra.CommandDisplayNameAnnotation] = "kubectl " + root.Name()
	if name == pluginCompleteName {
		return append([]string{cobra.ShellCompRequestCmd}, line[1:]...)
	}
	return line[1:]
}

// respell puts what people call the program by into the help of its commands, which has the program's own name.
func respell(root *cobra.Command) {
	name, called := root.Name(), root.CommandPath()
	if name == called {
		return
	}
	words := []string{"--help"}
	for _, cmd := range root.Commands() {
		words = append(words, cmd.Name())
	}
	call := regexp.MustCompile(`\b` + name + ` (` + strings.Join(words, "|") + `)`)
	var each func(*cobra.Command)
	each = func(cmd *cobra.Command) {
		cmd.Long = call.ReplaceAllString(cmd.Long, called+" $1")
		cmd.Example = call.ReplaceAllString(cmd.Example, called+" $1")
		for _, sub := range cmd.Commands() {
			each(sub)
		}
	}
	each(root)
}
