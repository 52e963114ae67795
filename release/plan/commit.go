package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cjworkbench/unstuck/release/workload"
)

// sourceCommit gives the commit to promote: the one that every service of the source runs, fully rolled out, and
// healthy for as long as is asked for. Another than was expected is none, for nobody has said yes to it.
func sourceCommit(r Request, env Environment, k Known) (string, error) {
	if env.PromoteFrom == "" {
		return "", Refuse(NotFound, "deploy to it instead", "nothing is promoted to %s", env.Name)
	}
	if k.Source.Name != env.PromoteFrom {
		return "", Refuse(NotFound, "", "there is no environment %s to promote from", env.PromoteFrom)
	}
	commit, why := runningCommit(k.Source, k.SourceState)
	if why != "" {
		return "", Refuse(NotReady, "bring it to one commit first", "%s does not run one commit: %s", k.Source.Name, why)
	}
	if r.ExpectCommit != "" && r.ExpectCommit != commit {
		return "", Refuse(Changed, "look at the plan again, and expect that one if it is meant",
			"%s runs %s by now, and not %s", k.Source.Name, commit, r.ExpectCommit)
	}
	var waits, unhealthy []string
	for _, s := range k.Source.Services {
		d, err := k.SourceState.workloadOf(s)
		if err != nil {
			return "", err
		}
		if r := workload.RolloutOf(d); !r.Done {
			waits = append(waits, s.Name+": "+r.Detail)
		} else if why := cmp.Or(d.NotRun(k.Now.Add(-env.HealthyFor)), d.Unhealthy(k.Now.Add(-env.HealthyFor))); why != "" {
			unhealthy = append(unhealthy, s.Name+": "+why)
		}
	}
	if len(waits) > 0 {
		return "", Refuse(NotReady, "wait until it is", "%s is not fully rolled out: %s", k.Source.Name,
			strings.Join(waits, "; "))
	}
	if len(unhealthy) > 0 {
		return "", Refuse(NotReady, "wait, or look why", "%s has not been healthy for %s: %s", k.Source.Name, env.HealthyFor,
			strings.Join(unhealthy, "; "))
	}
	return commit, nil
}

// runningCommit gives the one commit that every container with an image of the environment's own is asked to run, or
// says why there is none.
func runningCommit(env Environment, s State) (commit, why string) {
	first := ""
	for _, service := range env.Services {
		w, there := s.at(service.Ref)
		if !there {
			return "", "there is no " + service.Title()
		}
		own := 0
		for _, c := range w.Containers {
			name, isOwn := env.ownImage(c.Image)
			if !isOwn {
				continue
			}
			own++
			where := fmt.Sprintf("container %s of %s", c.Name, service.Name)
			got, ok := env.commitOf(name, c.Image)
			switch {
			case !ok:
				return "", fmt.Sprintf("%s runs %s, whose tag is no commit", where, c.Image)
			case commit == "":
				commit, first = got, where
			case got != commit:
				return "", fmt.Sprintf("%s runs %s, %s runs %s", first, commit, where, got)
			}
		}
		if own == 0 {
			return "", fmt.Sprintf("no container of %s uses an image of %s", service.Name, env.Name)
		}
	}
	if commit == "" {
		return "", "it has no services"
	}
	return commit, ""
}

// revertTarget gives the commit to go back to: the one that is named, or what precedes the one that runs.
func revertTarget(r Request, env Environment, k Known) (string, error) {
	if r.Commit != "" {
		return r.Commit, nil
	}
	running, why := runningCommit(env, k.State)
	if running == "" {
		running = leftHalfWay(k.History, env, k.State)
	}
	if running == "" {
		return "", Refuse(NotReady, "name the commit", "%s does not run one commit, so what precedes it is not known: %s",
			env.Name, why)
	}
	target, brought := preceding(k.History, running)
	switch {
	case target != "":
		return target, nil
	case !brought:
		return "", Refuse(NotFound, "name the commit",
			"no earlier commit is known: %s runs %s, and no operation that is kept brought it there", env.Name, running)
	}
	return "", Refuse(NotFound, "name the commit",
		"no earlier commit than %s, which runs, is known to have been deployed to %s with success", running, env.Name)
}

// unexpected says what a revert finds running that no operation brought as a whole; nothing if there is no such thing.
func unexpected(env Environment, k Known) string {
	running, why := runningCommit(env, k.State)
	if running == "" {
		return fmt.Sprintf("%s does not run one commit: %s", env.Name, why)
	}
	if _, brought := preceding(k.History, running); !brought {
		return fmt.Sprintf("%s runs %s, which no operation that is kept brought there", env.Name, running)
	}
	return ""
}

// leftHalfWay gives the commit of the last operation that changed images, if it did not succeed and what runs is as it
// left it: in part its commit, in part what ran before. Otherwise somebody else has changed something since.
func leftHalfWay(history []Operation, env Environment, s State) string {
	i := slices.IndexFunc(newestFirst(history), func(o Operation) bool { return o.Phase == Succeeded || o.brought() })
	if i < 0 {
		return ""
	}
	if o := newestFirst(history)[i]; o.Phase != Succeeded && o.explains(env, s) {
		return o.Commit
	}
	return ""
}

// brought says whether the operation may have brought its commit to any container, and did not put the old image back.
func (o Operation) brought() bool {
	return o.Commit != "" && o.Phase != RolledBack && slices.ContainsFunc(o.Steps, func(s StepRun) bool {
		return s.Phase != Pending && len(s.Images) > 0 && (s.Do == Roll || s.Do == Replace)
	})
}

// explains says whether each image of the environment's own is at the operation's commit, or what that operation found.
func (o Operation) explains(env Environment, s State) bool {
	for _, service := range env.Services {
		d, there := s.at(service.Ref)
		if !there {
			return false
		}
		for _, c := range d.Containers {
			name, own := env.ownImage(c.Image)
			commit, _ := env.commitOf(name, c.Image)
			found := slices.ContainsFunc(o.Steps, func(s StepRun) bool {
				return s.Ref == d.Ref && slices.ContainsFunc(s.Images, func(i ImageChange) bool {
					return i.Container == c.Name && SameImage(i.From, c.Image)
				})
			})
			if own && commit != o.Commit && (commit != o.Before || commit == "") && !found {
				return false
			}
		}
	}
	return true
}
