package plan

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Kind names a kind of operation.
type Kind string

// The kinds of operations.
const (
	Deploy    Kind = "deploy"
	Promotion Kind = "promotion"
	Revert    Kind = "revert"
	Restart   Kind = "restart"
	RunTask   Kind = "task"
)

// Kinds lists every Kind.
func Kinds() []Kind { return []Kind{Deploy, Promotion, Revert, Restart, RunTask} }

// Request is what somebody asks for.
type Request struct {
	ID          string    `json:"id,omitzero"` // of the operation that it becomes; Runner gives it
	At          time.Time `json:"at"`          // Runner gives it
	Kind        Kind      `json:"kind"`
	Environment string    `json:"environment"`
	Commit      string    `json:"commit,omitzero"`  // deploy: required; revert: empty is the previous good one
	Service     string    `json:"service,omitzero"` // restart: this, or
	Secret      string    `json:"secret,omitzero"`  // every service that reads this Secret
	Task        string    `json:"task,omitzero"`
	// ExpectCommit is the one that a promotion's source is thought to run: another is not promoted. Empty: any.
	ExpectCommit string `json:"expect_commit,omitzero"`

	Reason    string `json:"reason"`
	BugReport string `json:"bug_report,omitzero"` // its address
	By        string `json:"by"`                  // who asks, as authenticated
	From      string `json:"from,omitzero"`       // from where: an address, a client

	// IdempotencyKey makes the same request again the same operation, and another request with it an error.
	IdempotencyKey      string    `json:"idempotency_key,omitzero"`
	AcceptMigrationRisk bool      `json:"accept_migration_risk,omitzero"` // go back across a migration
	Confirm             bool      `json:"confirm,omitzero"`               // the task's warning was read
	OnFailure           OnFailure `json:"on_failure,omitzero"`            // empty: as the environment says
	DryRun              bool      `json:"dry_run,omitzero"`               // plan and do nothing
}

// Same says whether two requests ask for the same, no matter who asks and why. One that expects no commit is the same
// as one that does.
func (r Request) Same(o Request) bool {
	expect := r.ExpectCommit == o.ExpectCommit || r.ExpectCommit == "" || o.ExpectCommit == ""
	return expect && r.Kind == o.Kind && r.Environment == o.Environment && r.Commit == o.Commit &&
		r.Service == o.Service &&
		r.Secret == o.Secret && r.Task == o.Task && r.AcceptMigrationRisk == o.AcceptMigrationRisk &&
		r.OnFailure == o.OnFailure
}

// String says in a few words what is asked for: "deploy 1f0a9c2 to staging".
func (r Request) String() string {
	commit := r.Commit
	if len(commit) == 40 {
		commit = commit[:7]
	}
	switch r.Kind {
	case Deploy:
		return "deploy " + commit + " to " + r.Environment
	case Promotion:
		return "promote to " + r.Environment
	case Revert:
		return strings.TrimSuffix("revert "+r.Environment+" to "+commit, " to ")
	case Restart:
		if r.Secret != "" {
			return "restart what reads secret " + r.Secret + " in " + r.Environment
		}
		return "restart " + r.Service + " in " + r.Environment
	case RunTask:
		return "run task " + r.Task + " in " + r.Environment
	}
	return string(r.Kind) + " in " + r.Environment
}

// Code says for what kind of reason a request was refused, from a closed list.
type Code string

// The codes of refusals.
const (
	Invalid     Code = "invalid"     // the request is malformed
	NotFound    Code = "not_found"   // it names something that there is not
	NotReady    Code = "not_ready"   // the environment, or a promotion's source, is not in a state for it
	Changed     Code = "changed"     // a promotion's source runs another commit than was expected
	Migrated    Code = "migrated"    // it would go back across a migration
	Unconfirmed Code = "unconfirmed" // the task's warning was not confirmed
	Busy        Code = "busy"        // another operation, or the daemon itself, is at work there
	KeyReused   Code = "key_reused"  // the idempotency key belongs to another request
	NotRunning  Code = "not_running" // there is nothing to cancel
	Unavailable Code = "unavailable" // what the decision needs cannot be known now
)

// Refusal says why a request is not taken on, and what would be right.
type Refusal struct {
	Code Code   `json:"code"`
	Why  string `json:"why"`
	Hint string `json:"hint,omitzero"`
	// Crossed are the operations that migrated, or may have, and that it would go back across; newest first.
	Crossed []Crossing `json:"crossed,omitzero"`
}

// Crossing is an operation that migrated, or of which nobody knows that it did not. A task has no commit.
type Crossing struct {
	Operation string    `json:"operation"`
	Commit    string    `json:"commit"`
	At        time.Time `json:"at"`
	Migrated  Migration `json:"migrated"`
}

func (r *Refusal) Error() string {
	if r.Hint == "" {
		return r.Why
	}
	return r.Why + "; " + r.Hint
}

// Refuse makes a refusal: what would be right, and why, as fmt.Sprintf does it.
func Refuse(code Code, hint, why string, args ...any) *Refusal {
	return &Refusal{Code: code, Why: fmt.Sprintf(why, args...), Hint: hint}
}

var commitPattern = regexp.MustCompile(`^[0-9a-f]{40}$`)

// IsCommit says whether s is a whole commit: 40 lower-case hexadecimal digits.
func IsCommit(s string) bool { return commitPattern.MatchString(s) }

// What a request's texts may hold at most, in bytes.
const (
	maxReason = 500
	maxText   = 200
	maxName   = 512 // of what Kubernetes names: a service account may have 339, a Secret 253
)

// Validate checks what can be checked without the world.
func (r Request) Validate(env Environment) error {
	if r.Environment != env.Name {
		return Refuse(NotFound, "", "environment %q is not %s", r.Environment, env.Name)
	}
	if strings.TrimSpace(r.Reason) == "" || len(r.Reason) > maxReason {
		return Refuse(Invalid, fmt.Sprintf("say why, in at most %d bytes", maxReason), "a reason is required")
	}
	for _, s := range []string{r.From, r.IdempotencyKey, r.BugReport, r.Service, r.Task} {
		if err := checkLine(s, maxText); err != nil {
			return err
		}
	}
	for _, s := range []string{r.By, r.Secret} {
		if err := checkLine(s, maxName); err != nil {
			return err
		}
	}
	if r.By == "" {
		return Refuse(Invalid, "", "nobody asks for it")
	}
	if u, err := url.Parse(r.BugReport); r.BugReport != "" &&
		(err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http")) {
		return Refuse(Invalid, "give the link's whole address", "the bug report %q is no link", r.BugReport)
	}
	if r.OnFailure != "" && r.OnFailure != Leave && r.OnFailure != Rollback {
		return Refuse(Invalid, fmt.Sprintf("use %q or %q", Leave, Rollback), "on failure %q", r.OnFailure)
	}
	for _, commit := range []string{r.Commit, r.ExpectCommit} {
		if commit != "" && !IsCommit(commit) {
			return Refuse(Invalid, "give all 40 hexadecimal digits, in lower case", "%q is no whole commit", commit)
		}
	}
	return r.validateKind()
}

func checkLine(s string, most int) error {
	if len(s) > most || strings.ContainsAny(s, "\n\r\x00") {
		return Refuse(Invalid, fmt.Sprintf("use one line of at most %d bytes", most), "a text of %d bytes or several lines",
			len(s))
	}
	return nil
}

// validateKind checks that the request has what its kind needs, and nothing that it would ignore.
func (r Request) validateKind() error {
	takes := map[Kind]struct{ commit, service, task bool }{
		Deploy: {commit: true}, Promotion: {}, Revert: {commit: true}, Restart: {service: true}, RunTask: {task: true},
	}
	t, known := takes[r.Kind]
	switch {
	case !known:
		return Refuse(Invalid, fmt.Sprintf("use one of %v", Kinds()), "there is no operation %q", r.Kind)
	case r.Kind == Deploy && r.Commit == "":
		return Refuse(Invalid, "give all 40 hexadecimal digits", "a deploy needs a commit")
	case r.Kind != Promotion && r.ExpectCommit != "":
		return Refuse(Invalid, "leave it out", "only a promotion expects a commit")
	case !t.commit && r.Commit != "", !t.service && r.Service+r.Secret != "", !t.task && r.Task != "":
		return Refuse(Invalid, "leave out what does not belong to it",
			"a %s takes no commit, service, secret or task that it does not need", r.Kind)
	case r.Kind == Restart && (r.Service == "") == (r.Secret == ""):
		return Refuse(Invalid, "", "a restart needs either a service or a secret")
	case r.Kind == RunTask && r.Task == "":
		return Refuse(Invalid, "", "name the task")
	}
	return nil
}
