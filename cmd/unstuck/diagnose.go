package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/cli"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/probe/stuck"
	"github.com/cjworkbench/unstuck/terminal"
)

// maxLook bounds what is read of one output of maybe_stuck. 80 MB are some 50,000 suspicious processes.
const maxLook = 1 << 30

const diagnoseLong = `Read what "rabbitmq-diagnostics maybe_stuck" printed of a node, and say for whom its processes wait. Of two
outputs of the same node, the earlier first, say also which processes have not moved in between, and what that proves.
Either file may be - for standard input. Nothing is contacted: it needs no broker and no configuration.

A single look does not tell a stuck node from a slow one. What proves it stuck are connections in their login, with
a message waiting, that are in the same place in both, made 40 s apart or more. Output that is cut proves nothing.

The exit code is that of "unstuck probe":
  2  stuck: only a restart cures it; of a single look, or of two less than 40 s apart, not proved yet
  1  faulty: something is wrong that a restart does not cure
  3  unknown: it does not tell, or a file cannot be read or is something else, or the command line is wrong
  0  healthy: no process accuses the node, which does not say that logins succeed`

func newDiagnoseCommand() *cobra.Command {
	var output *cli.Output
	cmd := &cobra.Command{
		Use:   "diagnose [flags] FILE [LATER]",
		Short: "Say what one or two outputs of maybe_stuck prove",
		Long:  diagnoseLong,
		Example: `  unstuck diagnose first.txt second.txt
  rabbitmq-diagnostics -t 30 maybe_stuck | unstuck diagnose first.txt -
  unstuck diagnose -o json first.txt second.txt | jq .persisting`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return cli.UsageError("want a file with what maybe_stuck printed, or two, got %s: see %q",
					terminal.Count(len(args), "argument"), cmd.CommandPath()+" --help")
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) >= 2 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, files []string) error {
			return diagnose(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), output.JSON(), files)
		},
	}
	output = cli.AddOutput(cmd)
	output.AddJSON(cmd)
	return cmd
}

// diagnose reads one look or two, and prints what they show.
func diagnose(ctx context.Context, in io.Reader, out io.Writer, asJSON bool, files []string) error {
	if len(files) == 2 && files[0] == "-" && files[1] == "-" {
		return cli.UsageError("only one of the two files can be -, standard input")
	}
	looks := make([]*probe.Processes, 2) // the later one last
	for i, file := range files {
		if strings.Contains(file, "://") { // and may have a password
			return cli.UsageError("argument %d is a URL: want a file with what maybe_stuck printed; the command probe takes "+
				"URLs", i+1)
		}
		p, err := readLook(ctx, in, file)
		if err != nil {
			return &cli.ExitError{Code: cli.ExitUnknown, Err: err}
		}
		looks[2-len(files)+i] = &p
	}
	d := stuck.Diagnose(looks[0], looks[1])
	var err error
	if asJSON {
		err = diagnosisJSON(out, d)
	} else {
		_, err = io.WriteString(out, diagnosisText(newTextReporter(out, probeFlags{}), d))
	}
	switch code := exitCode(d.Reason.Status()); {
	case err != nil:
		return &cli.ExitError{Code: cli.ExitUnknown, Err: err}
	case code != cli.ExitOK:
		return &cli.ExitError{Code: code}
	}
	return nil
}

// readLook reads one output of maybe_stuck, from standard input if file is -. It gives up when ctx ends; a read of
// standard input that nobody answers then ends with the process.
func readLook(ctx context.Context, in io.Reader, file string) (probe.Processes, error) {
	name := terminal.Printable(file)
	if file == "-" {
		name = "stdin"
	} else {
		f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe that nobody writes to is empty
		if err != nil {
			return probe.Processes{}, fmt.Errorf("open %s: %w", name, causeOf(err))
		}
		defer f.Close()
		in = f
	}
	type outcome struct {
		p   probe.Processes
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		p, err := parseLook(in)
		done <- outcome{p, err}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return o.p, fmt.Errorf("%s: %w", name, o.err)
		}
		return o.p, nil
	case <-ctx.Done():
		return probe.Processes{}, fmt.Errorf("%s: interrupted", name)
	}
}

// causeOf is an error without the name of the file, which may hold anything.
func causeOf(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}

// The marks with which some programs on Windows begin a text.
var (
	utf8Mark   = []byte{0xef, 0xbb, 0xbf}
	utf16Marks = [][]byte{{0xff, 0xfe}, {0xfe, 0xff}}
)

// parseLook parses the output of maybe_stuck in bounded memory. An error says what was expected, and never what is
// there.
func parseLook(in io.Reader) (probe.Processes, error) {
	limited := &io.LimitedReader{R: in, N: maxLook + 1}
	text := bufio.NewReader(limited)
	start, _ := text.Peek(len(utf8Mark)) // an error comes again as it is read
	if bytes.HasPrefix(start, utf8Mark) {
		_, _ = text.Discard(len(utf8Mark))
	}
	p, err := stuck.Parse(text)
	size := maxLook + 1 - limited.N
	const want = `want what "rabbitmq-diagnostics maybe_stuck" prints: a line "DATE TIME There are N processes.", ` +
		`a line "DATE TIME Found N suspicious processes.", and these`
	switch {
	case size > maxLook:
		return p, fmt.Errorf("it has more than %d bytes", maxLook)
	case err != nil && !errors.Is(err, stuck.ErrNotMaybeStuck):
		return p, fmt.Errorf("cannot read it: %w", causeOf(errors.Unwrap(err)))
	case err != nil && size == 0:
		return p,
			errors.New("it is empty: did the command fail? Its exit code says why: 69 after 14 s or more, the node does not " +
				"answer its own tools; " +
				"64, RabbitMQ does not run there; 75, it ran into its -t. Otherwise " + want)
	case err != nil && (bytes.HasPrefix(start, utf16Marks[0]) || bytes.HasPrefix(start, utf16Marks[1])):
		return p, errors.New("it is in UTF-16, as Windows PowerShell writes files: save it in UTF-8")
	case err != nil && !p.At.IsZero():
		return p, fmt.Errorf("it is cut before its list, as where the command runs into its -t, in %s: %s",
			terminal.Count(int(size), "byte"), want)
	case err != nil:
		return p, fmt.Errorf("it is something else, or its beginning is missing, in %s: %s",
			terminal.Count(int(size), "byte"), want)
	}
	return p, nil
}
