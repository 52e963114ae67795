package plan

import (
	"fmt"
	"slices"
	"strings"
)

// checkMigrations is asked by whatever brings a commit, and alone decides what is done if that goes back across a
// migration: a deploy says so, a promotion and a revert are refused unless the risk is accepted. A revert is refused as
// well where nobody knows what migrated since its commit ran. What it gives is to be said of the plan.
func checkMigrations(r Request, env Environment, history []Operation, commit string) (warning string, err error) {
	crossed, known := crossings(history, commit)
	why := ""
	switch {
	case len(crossed) > 0:
		why = goesBack(commit, crossed)
	case !known && r.Kind == Revert:
		why = fmt.Sprintf("%s is not known to have run in %s: nobody knows what migrated since", commit, env.Name)
	default:
		return "", nil
	}
	if r.Kind == Deploy || r.AcceptMigrationRisk {
		return why, nil
	}
	return "", &Refusal{
		Code: Migrated, Crossed: crossed, Why: why,
		Hint: "accept the migration risk, if the old commit can work with the new schema",
	}
}

// crossings gives the operations since the commit last ran that migrated, or may have, newest first; and whether that
// commit is known to have run at all. If no operation brought it, these are all since the first that found it running.
// One that failed on the way shows when it was there, and not that it ran.
func crossings(history []Operation, commit string) (crossed []Crossing, known bool) {
	found, tried := 0, -1
	for _, o := range newestFirst(history) {
		if o.Commit == commit && o.Phase == Succeeded {
			return crossed, true
		}
		if o.Commit == commit && tried < 0 && o.brought() {
			tried = len(crossed)
		}
		if m := o.Migrated(); m != DidNotMigrate {
			crossed = append(crossed, Crossing{Operation: o.ID, Commit: o.Commit, At: o.Created, Migrated: m})
		}
		if o.Before == commit {
			found, known = len(crossed), true
		}
	}
	switch {
	case known:
		return crossed[:found], true
	case tried >= 0:
		return crossed[:tried], false
	}
	return nil, false
}

func goesBack(commit string, crossed []Crossing) string {
	names := make([]string, len(crossed))
	for i, c := range crossed {
		names[i] = fmt.Sprintf("%s (commit %s, migrated: %s)", c.Operation, c.Commit, c.Migrated)
		if c.Commit == "" {
			names[i] = fmt.Sprintf("%s (migrated: %s)", c.Operation, c.Migrated)
		}
	}
	return fmt.Sprintf("going back to %s crosses a migration, which is not undone: %s", commit, strings.Join(names, ", "))
}

// stay is a commit that ran for a while, or was to.
type stay struct {
	commit string
	good   bool // it was brought with success, or found running, and did not fail here
}

// preceding gives the last good commit that ran before the running one came, and whether anything is known of how that
// came.
func preceding(history []Operation, running string) (commit string, brought bool) {
	stays := staysOf(history)
	i := lastStay(stays, running)
	if i < 0 {
		return "", false
	}
	for _, s := range slices.Backward(stays[:i]) {
		if s.good && s.commit != running {
			return s.commit, true
		}
	}
	return "", true
}

// staysOf gives what ran one after the other, oldest first. What goes back to an earlier commit takes off what came
// after it: a revert, and also what somebody changed without an operation, which shows in what the next one found
// running.
func staysOf(history []Operation) []stay {
	var all []stay
	failed := make(map[string]bool)
	for _, o := range slices.Backward(newestFirst(history)) {
		if o.Before != "" {
			if i := lastStay(all, o.Before); i >= 0 {
				all = all[:i+1]
			} else {
				all = append(all, stay{o.Before, !failed[o.Before]})
			}
		}
		good := o.Phase == Succeeded && o.Commit != ""
		if !good && !o.brought() {
			continue
		}
		failed[o.Commit] = !good
		switch i := lastStay(all, o.Commit); {
		case i >= 0 && i == len(all)-1:
			good = good || all[i].good
			all = all[:i]
		case i >= 0 && o.Kind == Revert:
			all = all[:i]
		}
		all = append(all, stay{o.Commit, good})
	}
	return all
}

func lastStay(all []stay, commit string) int {
	for i, s := range slices.Backward(all) {
		if s.commit == commit {
			return i
		}
	}
	return -1
}
