package plan

import (
	"fmt"
	"slices"
	"strings"
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
		d, err := k.SourceState.deploymentOf(s)
		if err != nil {
			return "", err
		}
		if r := RolloutOf(d); !r.Done {
			waits = append(waits, s.Name+": "+r.Detail)
		} else if why := d.unhealthy(k.Now.Add(-env.HealthyFor)); why != "" {
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
		i := slices.IndexFunc(s.Deployments, func(d Deployment) bool { return d.Name == service.Deployment })
		if i < 0 {
			return "", "there is no Deployment " + service.Deployment
		}
		own := 0
		for _, c := range s.Deployments[i].Containers {
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

// revertTarget gives the commit to go back to, if no migration lies between, or the risk is accepted.
func revertTarget(r Request, env Environment, k Known) (string, error) {
	target := r.Commit
	if target == "" {
		running, _ := runningCommit(env, k.State)
		if target = previousGood(k.History, running); target == "" {
			return "", Refuse(NotFound, "name the commit", "no earlier commit that was deployed to %s with success is known",
				env.Name)
		}
	}
	crossed, known := crossings(k.History, target)
	switch {
	case r.AcceptMigrationRisk || (known && len(crossed) == 0):
		return target, nil
	case !known:
		return "", &Refusal{
			Code: Migrated, Crossed: crossed, Hint: "accept the migration risk",
			Why: fmt.Sprintf("%s is not known to have run in %s: nobody knows what migrated since", target, env.Name),
		}
	}
	return "", &Refusal{
		Code: Migrated, Crossed: crossed, Hint: "accept the migration risk, if the old commit can work with the new schema",
		Why: goesBack(target, crossed),
	}
}

// deployWarning is what to say before a commit is deployed that ran before something migrated: it is a revert by
// another name, and nobody refuses it.
func deployWarning(history []Operation, commit string) string {
	crossed, known := crossings(history, commit)
	if !known || len(crossed) == 0 {
		return ""
	}
	return goesBack(commit, crossed)
}

func goesBack(commit string, crossed []Crossing) string {
	names := make([]string, len(crossed))
	for i, c := range crossed {
		names[i] = fmt.Sprintf("%s (commit %s, migrated: %s)", c.Operation, c.Commit, c.Migrated)
	}
	return fmt.Sprintf("going back to %s crosses a migration, which is not undone: %s", commit, strings.Join(names, ", "))
}

// previousGood gives the commit before the running one among those that were deployed with success. A revert takes
// what it went back from off the pile, so that a second one goes back further. At the bottom is what ran before the
// first of them.
func previousGood(history []Operation, running string) string {
	var pile []string
	for _, o := range slices.Backward(newestFirst(history)) {
		if len(pile) == 0 && o.Before != "" {
			pile = []string{o.Before}
		}
		if o.Phase != Succeeded || o.Commit == "" {
			continue
		}
		if i := slices.Index(pile, o.Commit); i >= 0 && o.Kind == Revert {
			pile = pile[:i]
		}
		pile = slices.DeleteFunc(pile, func(c string) bool { return c == o.Commit })
		pile = append(pile, o.Commit)
	}
	if n := len(pile); n > 0 && pile[n-1] == running {
		pile = pile[:n-1]
	}
	if len(pile) == 0 {
		return ""
	}
	return pile[len(pile)-1]
}

// crossings gives the operations since the commit last ran with success that migrated, or may have, newest first; and
// whether that commit is known to have run at all. If no operation brought it, these are all since the first that found
// it running.
func crossings(history []Operation, commit string) (crossed []Crossing, known bool) {
	found := 0
	for _, o := range newestFirst(history) {
		if o.Commit == commit && o.Phase == Succeeded {
			return crossed, true
		}
		if m := o.Migrated(); m != DidNotMigrate {
			crossed = append(crossed, Crossing{Operation: o.ID, Commit: o.Commit, At: o.Created, Migrated: m})
		}
		if o.Before == commit {
			found, known = len(crossed), true
		}
	}
	if known {
		crossed = crossed[:found]
	}
	return crossed, known
}
