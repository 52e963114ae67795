package ui

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// pageFuncs are what the templates can call.
var pageFuncs = template.FuncMap{
	"asOf": func(v any, now time.Time) asOf { return asOf{v, now} },
	"path": pagePath, "stamp": stamp, "when": when, "rel": relative, "took": took,
	"tone": decide.Phase.Tone, "word": decide.Phase.Label, "statusTone": statusTone, "spark": sparkOf,
	"guards": decide.GuardNames, "openGuards": openGuards,
	"phase": phaseWords, "phaseTone": phaseTone, "step": stepWords, "short": shortCommit,
	"text": func(v any) string { return fmt.Sprint(v) },
	"refusedActions": func(all []button) bool {
		return slices.ContainsFunc(all, func(a button) bool { return a.Path == "" })
	},
	"split": strings.Split, "odd": func(i int) bool { return i%2 == 1 },
	"join": func(list []string) string { return strings.Join(list, ", ") },
}

// asOf is something, as of a time: what a part of a template gets.
type asOf struct {
	Of  any
	Now time.Time
}

// headline is the sentence that says how things are.
type headline struct{ Text, Tone string }

// headlineOf says how things are: the worst first, in one sentence or two, and what cannot be seen.
func headlineOf(targets []brokers.Target) headline {
	var stale []string
	var worst *brokers.NodeLine
	of, nodes, unhealthy := "", 0, 0
	for i := range targets {
		b := &targets[i]
		if b.Stale {
			stale = append(stale, b.Target)
		}
		for j := range b.Nodes {
			n := &b.Nodes[j]
			nodes++
			if n.Phase == decide.PhaseHealthy {
				continue
			}
			unhealthy++
			if worst == nil || n.Phase.Urgency() < worst.Phase.Urgency() {
				worst, of = n, b.Target
			}
		}
	}
	unseen := unseenOf(targets)
	switch {
	case len(targets) == 0:
		return headline{"No broker is watched that you may see.", "unsure"}
	case len(stale) > 0:
		return headline{fmt.Sprintf("Unstuck itself is behind: it has not looked at %s lately, and what is shown of that "+
			"is old.", few(stale)), "bad"}
	case worst == nil && nodes == 0 && unseen != "":
		return headline{strings.TrimSpace(unseen), "warn"}
	case worst == nil && nodes == 0:
		return headline{"No node has been found yet.", "unsure"}
	case worst == nil && unseen != "":
		return headline{fmt.Sprintf("What is seen here is healthy: %s.%s", count(nodes, "node", "nodes"), unseen), "warn"}
	case worst == nil:
		return headline{fmt.Sprintf("Everything is healthy: %s.", count(nodes, "node", "nodes")), "good"}
	}
	text := fmt.Sprintf("%s of %s: %s.", worst.Node, of, sentenceOf(worst))
	if unhealthy > 1 {
		text += fmt.Sprintf(" %s besides.", count(unhealthy-1, "other node is not healthy", "other nodes are not healthy"))
	} else if nodes > 1 {
		text += fmt.Sprintf(" %s.", count(nodes-1, "other node is healthy", "other nodes are healthy"))
	}
	return headline{text + unseen, string(worst.Phase.Tone())}
}

// unseenOf says of what it cannot be told how it is, each in a sentence after a space; empty: there is nothing.
func unseenOf(targets []brokers.Target) string {
	var missing, faulty []string
	for _, b := range targets {
		if len(b.Nodes) < b.Expected {
			missing = append(missing, b.Target)
		}
		if b.Error != "" {
			faulty = append(faulty, b.Target)
		}
	}
	text := ""
	if len(missing) > 0 {
		text = fmt.Sprintf(" Nodes are missing: %s.", few(missing))
	}
	if len(faulty) > 0 {
		text += fmt.Sprintf(" Unstuck cannot see or write down all that it needs: %s.", few(faulty))
	}
	return text
}

// sentenceOf says in a few words how a node is.
func sentenceOf(n *brokers.NodeLine) string {
	text := "it " + n.Phase.Is()
	switch {
	case n.Phase != decide.PhaseConfirmed:
	case n.Action == decide.Delete:
		text += ", and is deleted now"
	case len(n.Closed) > 0:
		text += ", and its deletion is held back by " + decide.GuardNames(n.Closed)
	}
	return text
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// few joins up to three names.
func few(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}

func statusTone(s probe.Status) string {
	switch s {
	case probe.Healthy:
		return "good"
	case probe.Stuck:
		return "bad"
	case probe.Faulty:
		return "warn"
	case probe.Unknown:
	}
	return "unsure"
}

// openGuards says how many of the guards are open.
func openGuards(guards []decide.GuardState) string {
	open := 0
	for _, g := range guards {
		if g.Open {
			open++
		}
	}
	return fmt.Sprintf("%d of %d are open.", open, len(guards))
}

// stamp is a time as the element time of HTML wants it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// when is a time as people read it: of another day with its date.
func when(t, now time.Time) string {
	t = t.UTC()
	if t.Format(time.DateOnly) == now.UTC().Format(time.DateOnly) {
		return t.Format("15:04:05") + " UTC"
	}
	return t.Format("2006-01-02 15:04:05") + " UTC"
}

// relative says how long ago t was, or in how long it will be. The script says it the same way, every second.
func relative(t, now time.Time) string {
	d := t.Sub(now)
	seconds := int(d.Abs().Round(time.Second) / time.Second)
	var text string
	switch {
	case seconds < 100:
		text = fmt.Sprintf("%d s", seconds)
	case seconds < 100*60:
		text = fmt.Sprintf("%d min", seconds/60)
	case seconds < 100*60*60:
		text = fmt.Sprintf("%d h", seconds/3600)
	default:
		text = fmt.Sprintf("%d days", seconds/86400)
	}
	if d > 0 {
		return "in " + text
	}
	return text + " ago"
}

// took is how long something took, in three digits.
func took(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

func shortCommit(c string) string {
	if len(c) > 10 {
		return c[:10]
	}
	return c
}

// phaseWords is how far an operation, or a step of one, has come.
func phaseWords(p plan.Phase) string {
	if p == plan.Pending {
		return "waiting"
	}
	return string(p)
}

func phaseTone(p plan.Phase) string {
	switch p {
	case plan.Succeeded:
		return "good"
	case plan.Failed:
		return "bad"
	case plan.Running, plan.RollingBack:
		return "busy"
	case plan.Cancelled, plan.RolledBack:
		return "warn"
	case plan.Pending:
	}
	return "unsure"
}

// stepWords says what a step does.
func stepWords(s plan.Step) string {
	switch s.Do {
	case plan.CheckImages:
		return "check that " + count(len(s.Check), "image is published", "images are published")
	case plan.StartJob:
		return "run the job " + s.Name + " and wait for its end"
	case plan.Roll:
		return "roll " + s.WorkloadName() + ", pod by pod"
	case plan.Replace:
		return "replace the pod of " + s.WorkloadName() + ": stop the old one, then start the new one"
	case plan.RunCommand:
		return "run " + strings.Join(s.Command, " ") + " in a pod of " + s.WorkloadName()
	}
	return s.ID
}
