package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/cli"
	"github.com/cjworkbench/unstuck/config"
)

func newTokenCommand() *cobra.Command {
	var file string
	var output *cli.Output
	cmd := &cobra.Command{
		Use:   "token NAME",
		Short: "Make a token for a caller from outside the cluster",
		Long: `Make a token of that name, and the hash of it for the file of tokens (docs/tokens.md). The token is shown this once and
kept nowhere: on the first line of the output, or, with --token-file, in that file alone, which must not exist yet.
Nothing is contacted; the file of tokens is not changed.`,
		Example: "  unstuck token ci\n  unstuck token ci --token-file ci.token",
		Args:    cli.Exactly(1, "a name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return makeToken(cmd.OutOrStdout(), output.JSON(), args[0], file)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVar(&file, "token-file", "",
		"`file` to write the token to, which only this user may read, in the place of the output")
	output = cli.AddOutput(cmd)
	return cmd
}

// makeToken writes a new token to the file, or to out if there is none, and then its hash to out.
func makeToken(out io.Writer, asJSON bool, name, file string) error {
	token, hash, err := config.NewToken(name)
	if err != nil { // which repeats the name, and that may be a token
		return cli.UsageError("the name is not right: want lower-case letters, digits and dashes, as in ci")
	}
	if file != "" {
		if err := writeNewFile(file, token+"\n"); err != nil {
			return fmt.Errorf("write the token: %w", err)
		}
		token = ""
	}
	switch {
	case asJSON:
		return json.NewEncoder(out).Encode(madeToken{name, token, hash})
	case token != "":
		_, err = fmt.Fprintf(out, "%s\nhash: %s\n", token, hash)
	default:
		_, err = fmt.Fprintf(out, "hash: %s\n", hash)
	}
	return err
}

// madeToken is a new token for -o json.
type madeToken struct {
	Name  string `json:"name"`
	Token string `json:"token,omitzero"` // unless a file has it
	Hash  string `json:"hash"`
}

// writeNewFile writes a file that only this user may read, and leaves one alone that is there.
func writeNewFile(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(file, text)
	return errors.Join(err, file.Close())
}
