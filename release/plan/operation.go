package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/release/text"
	"github.com/cjworkbench/unstuck/release/workload"
)

// Do names what a step does.
type Do string

// What a step can do.
const (
	CheckImages Do = "check_images" // every image must be published
	StartJob    Do = "job"          // run a job and wait for its end
	Roll        Do = "roll"         // change a workload in place and wait until it is rolled out
	Replace     Do = "replace"      // scale to 0, see that the pods are gone, change, scale back, wait
	RunCommand  Do = "command"      // run a command in one ready pod
)

// Step is one step of a plan. Steps of one stage run side by side; a stage begins when all of the one before
// succeeded.
type Step struct {
	ID    string `json:"id"` // unique in its plan
	Stage int    `json:"stage"`
	Do    Do     `json:"do"`
	Name  string `json:"name,omitzero"` // of the service, the job or the task

	Check        []string      `json:"check,omitzero"` // the images that must be published
	workload.Ref               // to roll, to replace, or in whose pod the command runs
	Images       []ImageChange `json:"images,omitzero"`       // of the workload
	RestartedAt  string        `json:"restarted_at,omitzero"` // for kubectl's annotation
	Replicas     int           `json:"replicas,omitzero"`     // of a singleton, to be restored
	Partition    int           `json:"partition,omitzero"`    // of a StatefulSet, when this was planned
	Job          *JobRun       `json:"job,omitzero"`
	Container    string        `json:"container,omitzero"` // in which the command runs; empty: the pod's first
	Command      []string      `json:"command,omitzero"`
}

// JobRun is one run of a job.
type JobRun struct {
	Name        string        `json:"name"` // of the Kubernetes Job; unique to its operation
	Operation   string        `json:"operation"`
	From        TemplateRef   `json:"from"`
	Images      []ImageChange `json:"images,omitzero"`
	NoMigration bool          `json:"no_migration,omitzero"`
	Patterns    Patterns      `json:"patterns,omitzero"`
}

// Plan is what will be done, in order.
type Plan struct {
	Kind        Kind   `json:"kind"`
	Environment string `json:"environment"`
	Commit      string `json:"commit,omitzero"`
	Before      string `json:"before,omitzero"` // the commit that runs there now, if it is one; of what brings a commit
	// the task's; that a deploy goes back across a migration; of a dry run, what is not published
	Warning string `json:"warning,omitzero"`
	Steps   []Step `json:"steps"`
}

// Phase is where something stands. The zero value is Pending.
type Phase string

// The phases of a step and of an operation.
const (
	Pending     Phase = "" // not begun
	Running     Phase = "running"
	RollingBack Phase = "rolling_back" // of an operation: putting the old images back
	Succeeded   Phase = "succeeded"
	Failed      Phase = "failed"
	Cancelled   Phase = "cancelled"
	RolledBack  Phase = "rolled_back" // of an operation: it failed, and the old images are back
)

// Over says whether nothing more will happen.
func (p Phase) Over() bool {
	return p == Succeeded || p == Failed || p == Cancelled || p == RolledBack
}

// Mark is how far a step that cannot simply be repeated has come. It is written down before what it names is done.
type Mark string

// The marks.
const (
	MarkStarting Mark = "starting" // the job may exist; the command may run; the singleton may be up again
	MarkStarted  Mark = "started"  // the job exists
	MarkStopping Mark = "stopping" // the singleton may be scaled to 0
	MarkRestored Mark = "restored" // the singleton is scaled back
)

// StepRun is a step and what became of it.
type StepRun struct {
	Step
	Phase     Phase               `json:"phase,omitzero"`
	Mark      Mark                `json:"mark,omitzero"`
	Started   time.Time           `json:"started,omitzero"`
	Ended     time.Time           `json:"ended,omitzero"`
	Detail    string              `json:"detail,omitzero"`    // what it waits for, or how it ended
	Log       []string            `json:"log,omitzero"`       // the last lines
	Cut       int                 `json:"log_cut,omitzero"`   // how many lines before them were left out
	Migrated  *Migration          `json:"migrated,omitzero"`  // of a job that may migrate, once it was started
	Diagnosis *workload.Diagnosis `json:"diagnosis,omitzero"` // why it waits, for now without the log; or why it failed
}

// Cancellation is that somebody wants an operation to stop.
type Cancellation struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Reason string    `json:"reason,omitzero"`
}

// NewCancellation makes one of what somebody says.
func NewCancellation(at time.Time, by, reason string) *Cancellation {
	return &Cancellation{At: at, By: text.Shorten(by, maxName), Reason: text.Shorten(reason, maxReason)}
}

// Operation is one deploy, promotion, revert, restart or task: what was asked for, by whom and why, the plan, and how
// far it has come. It is plain JSON of less than MaxOperationBytes, and its own audit record.
type Operation struct {
	ID          string        `json:"id"`
	Version     int           `json:"version"` // counts how often it was stored
	Request     Request       `json:"request"`
	Kind        Kind          `json:"kind"`
	Environment string        `json:"environment"`
	Commit      string        `json:"commit,omitzero"`
	Before      string        `json:"before,omitzero"` // the commit that ran there when it was planned, if it was one
	Warning     string        `json:"warning,omitzero"`
	OnFailure   OnFailure     `json:"on_failure"`
	Phase       Phase         `json:"phase,omitzero"`
	Runner      string        `json:"runner,omitzero"` // the process that runs it, or ran it last
	Created     time.Time     `json:"created"`
	Renewed     time.Time     `json:"renewed,omitzero"` // when that process last wrote down how it stands
	Ended       time.Time     `json:"ended,omitzero"`
	Outcome     string        `json:"outcome,omitzero"` // one sentence, once it is over
	Cancel      *Cancellation `json:"cancel,omitzero"`
	Steps       []StepRun     `json:"steps"`
	Rollback    []StepRun     `json:"rollback,omitzero"` // what puts the old images back
}

// What an operation holds at most, so that it fits into a ConfigMap.
const (
	MaxOperationBytes = 900_000

	// MaxSteps is how many steps an operation has at most: the check of its images, and one for each of 100 services and
	// jobs. Environment.Validate refuses an environment that needs more.
	MaxSteps = 101
)

// Clone gives a copy that shares nothing that is written to.
func (o Operation) Clone() Operation {
	o.Steps, o.Rollback = cloneSteps(o.Steps), cloneSteps(o.Rollback)
	return o
}

func cloneSteps(steps []StepRun) []StepRun {
	steps = slices.Clone(steps)
	for i := range steps {
		steps[i].Log = slices.Clone(steps[i].Log)
	}
	return steps
}

// Fit gives the operation with as many lines of its logs left out as needed to stay under MaxOperationBytes: JSON may
// need six bytes for one.
func (o Operation) Fit() Operation {
	o = o.Clone()
	for keep := text.KeptLines / 2; ; keep /= 2 {
		if data, err := json.Marshal(o); err != nil || len(data) < MaxOperationBytes {
			return o
		}
		for _, steps := range [][]StepRun{o.Steps, o.Rollback} {
			for i := range steps {
				s := &steps[i]
				cut := max(0, len(s.Log)-keep)
				s.Log, s.Cut = s.Log[cut:], s.Cut+cut
				if s.Diagnosis != nil {
					d := *s.Diagnosis
					d.Log = d.Log[max(0, len(d.Log)-keep):]
					s.Diagnosis = &d
				}
			}
		}
		if keep == 0 {
			return o
		}
	}
}

// Migrated says whether the operation migrated a database, as far as is known. What was seen counts, of whatever step;
// that nothing was seen counts only against a job of a deploy.
func (o Operation) Migrated() Migration {
	answer := DidNotMigrate
	for _, s := range o.Steps {
		switch {
		case s.Migrated != nil && *s.Migrated == DidMigrate:
			return DidMigrate
		case s.Do != StartJob || s.Job == nil || s.Job.NoMigration || s.Mark == "" || o.Kind == RunTask:
		case s.Migrated == nil || *s.Migrated == MaybeMigrated:
			answer = MaybeMigrated
		}
	}
	return answer
}

// AddLine keeps a line of the log, if room be in place of the oldest, without what looks like a secret. The commits of
// the step's images are none.
func (s *StepRun) AddLine(line string) {
	if len(s.Log) >= text.KeptLines {
		s.Log = slices.Delete(s.Log, 0, 1)
		s.Cut++
	}
	s.Log = append(s.Log, text.Kept(line, s.commits()))
}

// Waits notes what the step waits for, and why, if that is known.
func (s *StepRun) Waits(rollout workload.Rollout, why workload.Diagnosis, known bool) {
	s.Detail, s.Diagnosis = text.Tidy(rollout.Detail), nil
	if known {
		s.Detail, s.Diagnosis = text.Tidy(rollout.Because(why)), &why
	}
}

// commits are those from which and to which the step goes.
func (s *StepRun) commits() (all []string) {
	images := s.Images
	if s.Job != nil {
		images = s.Job.Images
	}
	for _, change := range images {
		all = append(all, text.CommitsIn(change.From, change.To)...)
	}
	return all
}

// HasLogs says whether the operation has lines of logs.
func (o Operation) HasLogs() bool {
	return slices.ContainsFunc(slices.Concat(o.Steps, o.Rollback), func(s StepRun) bool {
		return len(s.Log) > 0 || (s.Diagnosis != nil && len(s.Diagnosis.Log) > 0)
	})
}

// WithoutLogs gives the operation for somebody without the right to logs: in place of the lines it says why.
func (o Operation) WithoutLogs(why string) Operation {
	o = o.Clone()
	for _, s := range slices.Concat(stepsOf(o.Steps), stepsOf(o.Rollback)) {
		if len(s.Log) > 0 {
			s.Log, s.Cut = []string{why}, 0
		}
		if s.Diagnosis != nil && len(s.Diagnosis.Log) > 0 {
			d := *s.Diagnosis
			d.Log, s.Diagnosis = []string{why}, &d
		}
	}
	return o
}

func stepsOf(steps []StepRun) []*StepRun {
	all := make([]*StepRun, len(steps))
	for i := range steps {
		all[i] = &steps[i]
	}
	return all
}

// NewID makes an operation's ID: of the time and chance, which is drawn by the caller, or, where there is a key, of
// that alone, so that a request that comes twice at once cannot become two operations.
func NewID(r Request, chance string) string {
	if r.IdempotencyKey != "" {
		return string(r.Kind) + "-" + digest(r.Environment, r.IdempotencyKey)[:20]
	}
	return fmt.Sprintf("%s-%s-%s", r.Kind, r.At.UTC().Format("20060102t150405"), chance)
}

func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}

// maxJobName is how long the name of a Job may be: it becomes a label of its pods, and they get a suffix.
const maxJobName = 57

// JobName names the Kubernetes Job in which an operation runs one of its jobs: the same for the same three, another
// for any other, and never longer than a label may be. Example: "migrate-1f0a9c2d4e5b-3d5c7a1b90".
func JobName(job, commit, operation string) string {
	tail := digest(job, commit, operation)[:10]
	if commit != "" {
		tail = commit[:min(12, len(commit))] + "-" + tail
	}
	job = strings.TrimRight(job[:min(len(job), maxJobName-1-len(tail))], "-")
	return job + "-" + tail
}

// How many operations of an environment are kept at least: of those that bring a commit, of these the ones that
// succeeded, and of all others.
const (
	keptBringing  = 50
	keptSucceeded = 20
	keptOthers    = 50
)

// Forgettable gives the IDs of those of one environment's operations that need not be kept. Deploys, promotions and
// reverts are counted by themselves, so that tasks and restarts, however many, push none of them out. The last one that
// migrated is kept as well: to go back to any older commit crosses it.
func Forgettable(operations []Operation) []string {
	var ids []string
	var bringing, succeeded, others int
	migrated := false // one that is kept, and newer
	for _, o := range newestFirst(operations) {
		migrates := o.Migrated() != DidNotMigrate
		keep := !o.Phase.Over() || (migrates && !migrated)
		if o.Commit == "" {
			others++
			keep = keep || others <= keptOthers
		} else {
			bringing++
			keep = keep || bringing <= keptBringing
		}
		if o.Commit != "" && o.Phase == Succeeded {
			succeeded++
			keep = keep || succeeded <= keptSucceeded
		}
		if !keep {
			ids = append(ids, o.ID)
		}
		migrated = migrated || (keep && migrates)
	}
	return ids
}

func newestFirst(operations []Operation) []Operation {
	operations = slices.Clone(operations)
	slices.SortFunc(operations, func(a, b Operation) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.ID, a.ID))
	})
	return operations
}
