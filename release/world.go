package release

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

// World is an environment's workloads. What it gives is read from the API server, never from a cache: a stale
// answer would let two pods of a singleton live at once.
type World interface {
	// State gives the environment's workloads and what its jobs and tasks are started from. What does not exist is
	// absent from it, and no error.
	State(ctx context.Context, env plan.Environment) (plan.State, error)
	// Workload gives one workload with its pods; ErrNotFound if there is none.
	Workload(ctx context.Context, env plan.Environment, ref workload.Ref) (workload.Workload, error)
	// Patch changes one workload, all of it in one call. Patching again changes nothing. If a container has an image
	// that is neither From nor To it changes nothing, and gives ErrChanged.
	Patch(ctx context.Context, env plan.Environment, p Patch) error
}

// Patch is a change to one workload. What is zero or nil stays as it is.
type Patch struct {
	Workload    workload.Ref
	Images      []plan.ImageChange // by the container's name, init containers included
	RestartedAt string             // for the annotation kubectl.kubernetes.io/restartedAt of the pod template
	Replicas    *int               // never of a DaemonSet
}

// Jobs starts jobs and looks after them.
type Jobs interface {
	// StartJob starts a job. One of that name that exists already is this one, and no error. A job that has ended
	// must stay, with its pods, for a day at least. It is ErrNotStarted if it is certain that none was or will be.
	StartJob(ctx context.Context, env plan.Environment, j plan.JobRun) error
	// JobState says how a job is doing; ErrNotFound if there is none.
	JobState(ctx context.Context, env plan.Environment, name string) (JobState, error)
	// StopJob deletes a job and its pods; none of that name is no error.
	StopJob(ctx context.Context, env plan.Environment, name string) error
}

// Logs reads logs and runs commands.
type Logs interface {
	// FollowJob calls line with each line of a job's log from its start, all its pods and containers merged but for native
	// sidecars, until the job has ended and everything is read (nil), or until something fails: then it is not whole.
	FollowJob(ctx context.Context, env plan.Environment, name string, line func(string)) error
	// PodLog gives the last lines of a container's log, oldest first; of its previous run if it crashed and waits.
	PodLog(ctx context.Context, env plan.Environment, pod, container string, lines int) ([]string, error)
	// Exec runs a command in a container and calls line with each line that it prints. It gives the exit code, or an
	// error if the command could not be run to its end.
	Exec(ctx context.Context, env plan.Environment, pod, container string, command []string, line func(string)) (exit int,
		err error)
}

// JobLines may be supplied beside Logs: what each container of a job wrote. Of Logs without it, all lines of a job
// count as one container's.
type JobLines interface {
	// FollowJobLines is FollowJob, and tells of each line which container wrote it.
	FollowJobLines(ctx context.Context, env plan.Environment, name string, line func(JobLine)) error
}

// JobLine is a line of a job's log.
type JobLine struct {
	Container string // of which pod, and its name
	Text      string
}

// Registry knows which images are published.
type Registry interface {
	// Unpublished gives those of the images that the registry does not have, asked with what the environment pulls its
	// images with; an error says that it cannot be told of some.
	Unpublished(ctx context.Context, env plan.Environment, images []string) ([]string, error)
}

// Store keeps the operations. It may drop those that Forgettable names.
type Store interface {
	// Save stores o if the stored one is at the version before o's, or if there is none and o is at version 1;
	// otherwise it stores nothing and gives ErrConflict.
	Save(ctx context.Context, o plan.Operation) error
	// Load gives one operation; ErrNotFound if there is none.
	Load(ctx context.Context, id string) (plan.Operation, error)
	// Operations gives those of an environment, in any order.
	Operations(ctx context.Context, env string) ([]plan.Operation, error)
}

// Lock is an environment's lock: one operation at a time. On Kubernetes it is a Lease in the environment's namespace,
// which closes the guard operation-in-progress of remediation, too.
type Lock interface {
	// Acquire takes the lock for h, or renews it if h.ID holds it. While somebody else holds it, and has renewed it
	// within their TTL, it gives a *LockedError.
	Acquire(ctx context.Context, env plan.Environment, h Holder) error
	// Release gives the lock back if h.ID holds it.
	Release(ctx context.Context, env plan.Environment, h Holder) error
}

// What an interface of this package gives where the caller must tell it apart.
var (
	ErrNotFound = errors.New("there is no such thing")
	ErrConflict = errors.New("somebody else has written it in the meantime")
	// ErrChanged says that what is to be changed is not as it was found, and that nothing was done.
	ErrChanged = errors.New("somebody else has changed it in the meantime")
	// ErrNotStarted says that a job was not started, and that nothing is under way which might yet.
	ErrNotStarted = errors.New("it was not started")
)

// Holder is who holds an environment's lock, and why.
type Holder struct {
	ID     string        `json:"id"` // of the process and its operation; two processes never share one
	Owner  string        `json:"owner"`
	Reason string        `json:"reason"`
	TTL    time.Duration `json:"-"` // how long the lock outlives its last renewal
}

// LockedError says that somebody else holds the lock.
type LockedError struct {
	Holder  Holder
	Expires time.Time // unless it is renewed
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("locked by %s: %s", e.Holder.Owner, e.Holder.Reason)
}

// JobState is how a job is doing.
type JobState struct {
	Done, Failed bool   // neither: it runs, or is to run
	Failing      bool   // it is decided that it fails, once its pods have ended
	Message      string // why it failed or will (BackoffLimitExceeded, DeadlineExceeded), or else why it lacks pods
	Pods         []workload.Pod
}
