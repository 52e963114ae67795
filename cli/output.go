package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

// Output is the format of a command's output, which every command that prints something has as its flag -o.
type Output string

// The formats.
const (
	textOutput Output = "text"
	jsonOutput Output = "json"
)

// AddOutput gives a command the flag -o.
func AddOutput(cmd *cobra.Command) *Output {
	output := textOutput
	cmd.Flags().VarP(&output, "output", "o", "`format` of the output: text or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(
		[]cobra.Completion{string(textOutput), string(jsonOutput)}, cobra.ShellCompDirectiveNoFileComp))
	return &output
}

// AddJSON gives a command that has -o the flag --json as well, by which it was asked for JSON before there was -o. No
// help names it. Of both flags the last one counts.
func (o *Output) AddJSON(cmd *cobra.Command) {
	flag := cmd.Flags().VarPF(asJSON{o}, "json", "", "print JSON, as -o json")
	flag.NoOptDefVal, flag.Hidden = "true", true
}

// JSON says whether JSON is wanted.
func (o *Output) JSON() bool { return *o == jsonOutput }

// String implements pflag.Value.
func (o *Output) String() string { return string(*o) }

// Type implements pflag.Value.
func (*Output) Type() string { return "format, text or json" }

// Set implements pflag.Value.
func (o *Output) Set(text string) error {
	if Output(text) != textOutput && Output(text) != jsonOutput {
		return errors.New("want text or json")
	}
	*o = Output(text)
	return nil
}

// asJSON is the value of --json.
type asJSON struct{ *Output }

func (asJSON) Type() string { return "bool" }

func (j asJSON) Set(text string) error {
	switch text {
	case "true":
		*j.Output = jsonOutput
	case "false":
		*j.Output = textOutput
	default:
		return errors.New("want true or false")
	}
	return nil
}
