package trigger

import (
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// DeployBody asks for a deploy.
type DeployBody struct {
	Commit    string         `json:"commit"`              // all 40 hexadecimal digits
	Reason    string         `json:"reason"`              // why, for the record
	BugReport string         `json:"bug_report,omitzero"` // its address
	OnFailure plan.OnFailure `json:"on_failure,omitzero"` // default: as the environment says
	DryRun    bool           `json:"dry_run,omitzero"`    // answer with the plan, and do nothing
}

// PromotionBody asks for a promotion, of the commit that the environment's source runs.
type PromotionBody struct {
	// ExpectCommit is the commit that the source is thought to run, as a dry run said; it is refused if that is another by
	// now. Default: whichever it runs.
	ExpectCommit string `json:"expect_commit,omitzero"`

	AcceptMigrationRisk bool           `json:"accept_migration_risk,omitzero"` // it may go back across a migration
	Reason              string         `json:"reason"`
	BugReport           string         `json:"bug_report,omitzero"`
	OnFailure           plan.OnFailure `json:"on_failure,omitzero"`
	DryRun              bool           `json:"dry_run,omitzero"`
}

// RevertBody asks for a revert.
type RevertBody struct {
	Commit              string         `json:"commit,omitzero"` // default: the previous good one
	AcceptMigrationRisk bool           `json:"accept_migration_risk,omitzero"`
	Reason              string         `json:"reason"`
	BugReport           string         `json:"bug_report,omitzero"`
	OnFailure           plan.OnFailure `json:"on_failure,omitzero"`
	DryRun              bool           `json:"dry_run,omitzero"`
}

// RestartBody asks for the restart of a service, or of all that read a Secret.
type RestartBody struct {
	Reason    string `json:"reason"`
	BugReport string `json:"bug_report,omitzero"`
	DryRun    bool   `json:"dry_run,omitzero"`
}

// TaskBody asks for the run of a task.
type TaskBody struct {
	Confirm   bool   `json:"confirm,omitzero"` // the task's warning was read
	Reason    string `json:"reason"`
	BugReport string `json:"bug_report,omitzero"`
	DryRun    bool   `json:"dry_run,omitzero"`
}

// CancelBody asks an operation to stop.
type CancelBody struct {
	Reason string `json:"reason"`
}

// DeletionBody asks for the deletion of a node.
type DeletionBody struct {
	Reason   string         `json:"reason"`
	UID      string         `json:"uid,omitzero"`      // of the node that is meant; default: the one that is there now
	Override []decide.Guard `json:"override,omitzero"` // the guards that are not to hold it back, each by name
	DryRun   bool           `json:"dry_run,omitzero"`  // say what the guards say, and do nothing
}

// ProbeBody asks for a look at a node. There is nothing to say.
type ProbeBody struct{}

// ResumeBody asks for the end of pauses. Its reason may come in the query in its place: not everything sends a body
// with DELETE.
type ResumeBody struct {
	Reason string `json:"reason,omitzero"`
}

// PauseBody asks for a pause. Exactly one of For and Until is given.
type PauseBody struct {
	Reason string `json:"reason"`
	For    string `json:"for,omitzero"`   // how long, "90m"; at most 31 days
	Until  string `json:"until,omitzero"` // when it ends, RFC 3339
}
