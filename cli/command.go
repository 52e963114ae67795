// Package cli has the commands that ask a server of Unstuck, and how every command ends: its errors and exit codes. A
// command sends nothing that changes anything before somebody has seen what it would do.
package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/terminal"
)

// The exit codes of the commands that ask a server, besides 0, ExitFailed (an operation that did not succeed) and
// ExitUnknown (the command line).
const (
	exitRefused     = 4 // the server said no; nothing was changed
	exitUnclear     = 5 // no answer, or an error of the server's: a change may have been made or not
	exitUnconfirmed = 6 // somebody said no, or nobody could be asked; nothing was changed
	exitLeft        = 7 // the operation goes on, and is not watched any more
)

// NewCommands gives the commands that ask a server of Unstuck.
func NewCommands() []*cobra.Command { return newClientCommands(newConsole()) }

// newClientCommands is NewCommands on a console.
func newClientCommands(c console) []*cobra.Command {
	return []*cobra.Command{
		c.newStatusCommand(), c.newExplainCommand(), c.newIncidentsCommand(), c.newOperationsCommand(),
		c.newDeployCommand(), c.newPromoteCommand(), c.newRevertCommand(), c.newRestartCommand(), c.newTaskCommand(),
		c.newPauseCommand(), c.newResumeCommand(), c.newDeleteCommand(), c.newLogsCommand(), c.newEnvCommand(),
	}
}

// session is one run of such a command.
type session struct {
	*client
	console

	out, errOut io.Writer
	asJSON      bool
	program     string // what people call this by, for what they are told to run
}

// command makes cmd ask a server: it gets the flags that say which, and -o, and run is called with a session. Its
// arguments are completed by what names gives.
func (c console) command(cmd *cobra.Command, names completer,
	run func(context.Context, *session, []string) error,
) *cobra.Command {
	var server serverFlags
	output := AddOutput(cmd)
	server.add(cmd)
	cmd.ValidArgsFunction = c.completing(&server, names)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := server.connect(cmd.Context(), c, c.trusts(server.sendToken, cmd.ErrOrStderr()), cmd.ErrOrStderr())
		if err != nil {
			return notConnected(err)
		}
		defer client.close()
		s := &session{
			client: client, console: c, out: cmd.OutOrStdout(), errOut: cmd.ErrOrStderr(), asJSON: output.JSON(),
			program: cmd.Root().CommandPath(),
		}
		return s.ended(s.unserved(cmd.Context(), run(cmd.Context(), s, args)))
	}
	return cmd
}

// notConnected is an error from before a server was asked anything.
func notConnected(err error) error {
	code := ExitUnknown
	if exit, coded := errors.AsType[*ExitError](err); coded {
		code = exit.Code
	}
	return &ExitError{Code: code, Err: errors.New(clean(err.Error()))}
}

// unserved puts in the place of a server's word that it has no such path, where that is one of environments, what that
// comes of: none are configured. Where no callers are known, which is the other reason, the server says so itself; such
// a server asks for no token.
func (s *session) unserved(ctx context.Context, err error) error {
	e, failed := errors.AsType[*requestError](err)
	if !failed || !environmentPath.MatchString(e.path) || !slices.Contains(e.Known, apiPath("targets")) ||
		slices.ContainsFunc(e.Known, environmentPath.MatchString) {
		return err
	}
	nobody := *s.client
	nobody.token = func(context.Context) (string, error) { return "", nil }
	_, _, asked := get[brokers.Targets](ctx, &nobody, apiPath("targets"))
	if p, ok := errors.AsType[*httpapi.Problem](asked); !ok || p.Status != http.StatusUnauthorized {
		return err
	}
	return httpapi.NewProblem(http.StatusNotFound, "this Unstuck has no environments, and so no operations: none are "+
		"configured (environments, in docs/configuration.md)")
}

// environmentPath is a path of environments or operations.
var environmentPath = regexp.MustCompile(`^/api/v1/(environments|operations)\b`)

// ended gives an error its exit code, and shows what a refusal says beyond one line.
func (s *session) ended(err error) error {
	if err == nil {
		return nil
	}
	p, answered := errors.AsType[*httpapi.Problem](err)
	exit, coded := errors.AsType[*ExitError](err)
	switch {
	case coded && exit.Err == nil:
		return exit
	case coded:
		return &ExitError{Code: exit.Code, Err: errors.New(clean(err.Error()))}
	case !answered && errors.Is(err, errOurs):
		return &ExitError{Code: ExitUnknown, Err: errors.New(clean(err.Error()))}
	case !answered:
		return &ExitError{Code: exitUnclear, Err: errors.New(clean(err.Error()))}
	}
	s.warnf("%s", p.Detail)
	for _, g := range p.Closed {
		state := "closed"
		if g.Unasked {
			state = "not asked"
		}
		s.warnf("%s: %s: %s%s", state, g.Guard, g.Why, until(g.Until))
	}
	for _, c := range p.Crossed {
		what := c.Operation
		if c.Commit != "" { // a task has none
			what += " of " + short(c.Commit)
		}
		s.warnf("crosses: %s, %s: migrated: %s", what, clock(c.At), c.Migrated)
	}
	if len(p.Known) > httpapi.NamedInDetail {
		s.warnf("known: %s", strings.Join(p.Known, ", "))
	}
	if p.RetryAfter > 0 {
		s.warnf("it is worth another try after %s", terminal.Count(p.RetryAfter, "second"))
	}
	switch {
	case p.Status == http.StatusUnauthorized:
		if s.tokenless {
			s.warnf("the kubeconfig's user has no token: with a client certificate or a password one is known to the API " +
				"server alone, which cannot pass that on to Unstuck. A token of a service account will do, if that may do " +
				"this: kubectl -n NAMESPACE create token SERVICEACCOUNT")
		}
		s.warnf("a token is given with --token-file or $%s", tokenVariable)
		return &ExitError{Code: exitRefused}
	case p.Status >= http.StatusInternalServerError:
		return &ExitError{Code: exitUnclear}
	case p.Code == plan.Migrated:
		s.warnf("the risk is accepted with --accept-migration-risk")
	case p.Code == plan.Unconfirmed:
		s.warnf("that it was read is confirmed with --confirm")
	case len(p.Closed) > 0:
		s.warnf("a guard is overridden with --override, by its name; docs/guards.md has which of them nobody may override")
	}
	return &ExitError{Code: exitRefused}
}

// printJSON prints the server's answer, indented. What JSON need not escape and a terminal would obey is escaped, too.
func (s *session) printJSON(raw json.RawMessage) error {
	var text bytes.Buffer
	if err := json.Indent(&text, raw, "", "  "); err != nil {
		return fmt.Errorf("indent the answer: %w", err)
	}
	_, err := fmt.Fprintln(s.out, terminal.Escape(strings.TrimSpace(text.String())))
	return err
}

// printf prints a line for people, without what could move the cursor or change the colours of a terminal: the server
// says what others said.
func (s *session) printf(line string, args ...any) {
	fmt.Fprintln(s.out, clean(fmt.Sprintf(line, args...)))
}

// warnf is printf for what goes beside the output.
func (s *session) warnf(line string, args ...any) {
	fmt.Fprintln(s.errOut, "unstuck: "+clean(fmt.Sprintf(line, args...)))
}

// maxLine bounds a line, in bytes.
const maxLine = 8000

// clean makes a text one line that a terminal shows as it is.
func clean(text string) string {
	if len(text) > maxLine {
		text = strings.ToValidUTF8(text[:maxLine], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
}

// table prints rows with aligned columns; the last is as long as it is. The indent stands before each.
func (s *session) table(indent string, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			row[i] = clean(cell)
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len([]rune(row[i])))
		}
	}
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = terminal.Pad(cell, widths[i])
		}
		s.printf("%s", strings.TrimRight(indent+strings.Join(cells, "  "), " "))
	}
}

// short is a commit as people write it.
func short(commit string) string {
	if commit == "" {
		return "no commit"
	}
	return commit[:min(len(commit), 7)]
}

// clock is a time, in UTC as everything in the cluster has it.
func clock(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// until is the end of a line that names when something ends, if that is known.
func until(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " (until " + clock(t) + ")"
}

// rough is a duration for people.
func rough(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
