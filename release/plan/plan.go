package plan

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/release/workload"
)

// Known is what Make knows of the world.
type Known struct {
	Now     time.Time
	State   State       // of the request's environment
	History []Operation // of that environment, in any order

	Source      Environment // promotion: where the commit comes from, and its state
	SourceState State
}

// The stages of a plan. Nothing rolls before every job has succeeded, and no singleton stops before the rolling
// services, whose old pods serve on, have shown that the commit starts at all.
const (
	stageCheck = iota
	stageJobs
	stageRolling
	stageSingletons
)

// Make says what is to be done for a request, in order, or gives a *Refusal. It depends on its arguments alone.
// Made again after it was carried out, it changes no image.
func Make(r Request, env Environment, k Known) (Plan, error) {
	if err := r.Validate(env); err != nil {
		return Plan{}, err
	}
	p := Plan{Kind: r.Kind, Environment: env.Name, Commit: r.Commit}
	var err error
	switch r.Kind {
	case Deploy, Promotion, Revert:
		err = p.bring(r, env, k)
	case Restart:
		p.Steps, err = restartSteps(r, env, k)
		p.Warning = heldBack(p.Steps, k.State)
	case RunTask:
		p.Warning, p.Steps, err = taskSteps(r, env, k)
	}
	if p.Commit != "" && err == nil {
		p.Before, _ = runningCommit(env, k.State)
	}
	if err != nil {
		return Plan{}, err
	}
	return p, nil
}

// bring plans how a commit is brought to an environment, and says what is to be known of that beforehand.
func (p *Plan) bring(r Request, env Environment, k Known) (err error) {
	if r.Kind == Promotion {
		p.Commit, err = sourceCommit(r, env, k)
	}
	if r.Kind == Revert {
		p.Commit, err = revertTarget(r, env, k)
	}
	if err != nil {
		return err
	}
	back, err := checkMigrations(r, env, k.History, p.Commit)
	if err != nil {
		return err
	}
	warnings := []string{back}
	if r.Kind == Revert {
		warnings = append(warnings, unexpected(env, k))
	}
	// An older commit's migrations have run already, and its tool may refuse a newer schema.
	migrates := r.Kind == Deploy || (r.Kind == Promotion && back == "")
	p.Steps, err = deploySteps(r, env, k, p.Commit, migrates)
	if err != nil {
		return err
	}
	kept, err := keptAsGitHasIt(p.Steps, env, k.State)
	warnings = append(warnings, scaledToNothing(p.Steps, k.State), kept, heldBack(p.Steps, k.State))
	p.Warning = strings.Join(slices.DeleteFunc(warnings, func(w string) bool { return w == "" }), "; ")
	return err
}

// deploySteps gives the steps that bring a commit to an environment: check the images, run the jobs, roll, replace.
// The jobs that may migrate are run only where the commit migrates.
func deploySteps(r Request, env Environment, k Known, commit string, migrates bool) ([]Step, error) {
	if len(env.Services) == 0 {
		return nil, Refuse(NotFound, "", "environment %s has no services", env.Name)
	}
	steps := []Step{{ID: "check images", Stage: stageCheck, Do: CheckImages, Check: env.ImagesAt(commit)}}
	for _, j := range env.Jobs {
		if !migrates && !j.NoMigration {
			continue
		}
		run, err := jobRun(r, env, k, j.Name, j.From, commit)
		if err != nil {
			return nil, err
		}
		run.NoMigration, run.Patterns = j.NoMigration, j.Patterns
		steps = append(steps, Step{ID: "job " + j.Name, Stage: stageJobs, Do: StartJob, Name: j.Name, Job: run})
	}
	for _, s := range env.Services {
		d, err := k.State.workloadOf(s)
		if err != nil {
			return nil, err
		}
		changes, own := env.changes(d.Containers, commit)
		if own == 0 {
			return nil, Refuse(NotReady, "compare the service's image with its "+string(d.WorkloadKind()),
				"no container of %s uses an image of %s", d.Title(), env.Name)
		}
		step := serviceStep(s, d, k, changes)
		if err := canTake(d, step); err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	return inStages(steps), nil
}

// serviceStep gives the step that brings other images to one service. Where nothing changes, only its rollout is
// awaited.
func serviceStep(s Service, d workload.Workload, k Known, changes []ImageChange) Step {
	replicas := replicasOf(d, k.History)
	if s.Kind == Rolling || (len(changes) == 0 && replicas == d.Replicas) {
		return Step{
			ID: "roll " + s.Name, Stage: stageOf(s), Do: Roll, Name: s.Name, Ref: d.Ref, Images: changes,
			Partition: d.Partition,
		}
	}
	return Step{
		ID: "replace " + s.Name, Stage: stageOf(s), Do: Replace, Name: s.Name, Ref: d.Ref, Images: changes,
		Replicas: replicas, Partition: d.Partition,
	}
}

func stageOf(s Service) int {
	if s.Kind == Rolling {
		return stageRolling
	}
	return stageSingletons
}

// replicasOf gives how many pods a workload is to have: as many as are asked for, or, where the last operation on it
// left it scaled to 0, as many as it had before.
func replicasOf(d workload.Workload, history []Operation) int {
	if d.Replicas > 0 {
		return d.Replicas
	}
	for _, o := range newestFirst(history) {
		for _, s := range slices.Backward(slices.Concat(o.Steps, o.Rollback)) {
			switch {
			case s.Ref != d.Ref || s.Do != Replace || s.Mark == "":
			case s.Mark == MarkRestored:
				return 0
			default:
				return s.Replicas
			}
		}
	}
	return 0
}

// inStages sorts the steps by stage and numbers the stages that there are from 0.
func inStages(steps []Step) []Step {
	slices.SortStableFunc(steps, func(a, b Step) int { return cmp.Compare(a.Stage, b.Stage) })
	stage, last := -1, -1
	for i := range steps {
		if steps[i].Stage != last {
			stage, last = stage+1, steps[i].Stage
		}
		steps[i].Stage = stage
	}
	return steps
}

// jobRun gives the run of a job from its template, with the environment's own images at the commit, if there is one.
func jobRun(r Request, env Environment, k Known, name string, from TemplateRef, commit string) (*JobRun, error) {
	i := slices.IndexFunc(k.State.Templates, func(t Template) bool { return t.Ref == from })
	if i < 0 {
		return nil, Refuse(NotReady, "create it first", "there is no %s to start %s from", from, name)
	}
	// Of the time as well: an operation that was forgotten gives its ID to another with the same key, but not its jobs.
	run := &JobRun{Name: JobName(name, commit, r.ID+" "+r.At.UTC().Format(time.RFC3339Nano)), Operation: r.ID, From: from}
	if commit == "" {
		return run, nil
	}
	changes, own := env.changes(k.State.Templates[i].Containers, commit)
	if own == 0 {
		return nil, Refuse(NotReady, "list its image under the environment's images",
			"no container of %s uses an image of %s: job %s would not run the commit", from, env.Name, name)
	}
	run.Images = changes
	return run, nil
}

// restartSteps gives the steps that restart one service, or all that read a Secret.
func restartSteps(r Request, env Environment, k Known) ([]Step, error) {
	var steps []Step
	for _, s := range env.Services {
		if r.Service != "" && s.Name != r.Service {
			continue
		}
		d, err := k.State.workloadOf(s)
		if r.Secret != "" && len(d.Reads(r.Secret)) == 0 {
			if d.Ref == (workload.Ref{}) { // it is not there, and so nobody knows what it reads
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		step := Step{
			ID: "replace " + s.Name, Stage: stageOf(s), Do: Replace, Name: s.Name, Ref: d.Ref,
			Replicas: replicasOf(d, k.History), Partition: d.Partition,
		}
		if s.Kind == Rolling {
			step = Step{
				ID: "roll " + s.Name, Stage: stageOf(s), Do: Roll, Name: s.Name, Ref: d.Ref,
				RestartedAt: r.At.UTC().Format(time.RFC3339), Partition: d.Partition,
			}
		}
		if err := canTake(d, step); err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	switch {
	case len(steps) > 0:
		return inStages(steps), nil
	case r.Secret != "":
		return nil, Refuse(NotFound, "", "no service of %s reads secret %s", env.Name, r.Secret)
	}
	return nil, Refuse(NotFound, "use one of "+env.serviceNames(), "%s has no service %q", env.Name, r.Service)
}

// taskSteps gives the one step of a task, and its warning.
func taskSteps(r Request, env Environment, k Known) (warning string, steps []Step, err error) {
	i := slices.IndexFunc(env.Tasks, func(t Task) bool { return t.Name == r.Task })
	if i < 0 {
		names := make([]string, len(env.Tasks))
		for i, t := range env.Tasks {
			names[i] = t.Name
		}
		return "", nil, Refuse(NotFound, "use one of "+strings.Join(names, ", "), "%s has no task %q", env.Name, r.Task)
	}
	t := env.Tasks[i]
	if t.Warning != "" && !r.Confirm && !r.DryRun {
		return "", nil, Refuse(Unconfirmed, "confirm that this is meant", "%s", t.Warning)
	}
	if t.From != (TemplateRef{}) {
		run, err := jobRun(r, env, k, t.Name, t.From, "")
		if err != nil {
			return "", nil, err
		}
		run.NoMigration = true
		return t.Warning, []Step{{ID: "job " + t.Name, Do: StartJob, Name: t.Name, Job: run}}, nil
	}
	s, _ := env.service(t.Exec.Service)
	d, err := k.State.workloadOf(s)
	if d.Ref == (workload.Ref{}) {
		return "", nil, err
	}
	if _, ok := d.ReadyPod(); !ok {
		return "", nil, Refuse(NotReady, "look why, or wait", "no pod of %s is ready to run %s in", d.Title(), t.Name)
	}
	return t.Warning,
		[]Step{{
			ID: "command " + t.Name, Do: RunCommand, Name: t.Name, Ref: d.Ref, Container: t.Exec.Container,
			Command: t.Exec.Command,
		}}, nil
}
