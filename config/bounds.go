package config

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/cjworkbench/unstuck/release/plan"
)

// What a file may ask for. An alias of a few bytes can stand for a list of aliases, and those for lists again: so the
// size of the file alone bounds neither the work nor the memory.
const (
	maxValues  = 200_000 // keys, values, lists and sections; 10,000 nodes have 50,000
	maxBrokers = 500

	maxEnvironments = 100
	maxSteps        = plan.MaxSteps - 1 // services and jobs of an environment, together
	maxTasks        = 100               // of an environment
	maxTexts        = 100               // images of an environment, patterns of a job, words of a command
)

var wantLess = fmt.Sprintf("by here there are more than %d keys and values, each alias counted as all that it stands "+
	"for: want fewer", maxValues)

// tooMuch gives the line on which the keys and values become too many; 0 if they do not. An alias counts as what it
// stands for, on the alias's own line; so one that stands for what it is part of is too much by itself.
func tooMuch(root *yaml.Node) (line int) {
	left := maxValues
	var weigh func(n *yaml.Node, at int)
	weigh = func(n *yaml.Node, at int) {
		if at == 0 {
			line = n.Line
		}
		if n.Kind == yaml.AliasNode {
			n, at = n.Alias, line
		}
		left--
		for _, child := range n.Content {
			if left < 0 {
				return
			}
			weigh(child, at)
		}
	}
	weigh(root, 0)
	if left >= 0 {
		return 0
	}
	return line
}
