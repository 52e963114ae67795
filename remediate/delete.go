package remediate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/clock"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// staleAfter is how old the last look may be when a node is deleted.
const staleAfter = 10 * time.Second

// errChanged is why nothing is deleted when the last look shows that the decision is another by now.
var errChanged = errors.New("a last look changed the decision")

// deleteNode deletes the node that d is about, as was decided on o. The incident is stored first; then the world is
// looked at afresh, and the decision must still be the same; then the lock is taken and the intent written down, and
// only then the node is deleted. It gives the decisions as they are afterwards, and why nothing was deleted, or why it
// is not known whether it was.
func (l *Loop) deleteNode(ctx context.Context, o decide.Observation, d decide.Decision) ([]decide.Decision, error) {
	if c := l.incidents[d.Node]; c == nil || c.UID != d.UID { // one that is open about a predecessor is not its incident
		return l.hold(o, d, target.CauseIncident, nil)
	}
	began := time.Now()
	request := o.Request
	o = l.observe(ctx, true)
	o.Request = request
	var again []decide.Decision
	l.state, again = decide.Decide(l.state, o, l.Policy, time.Now())
	i := slices.IndexFunc(again, func(x decide.Decision) bool {
		return x.Node == d.Node && x.UID == d.UID && x.Action == decide.Delete
	})
	if i < 0 {
		l.Log.Info("not deleting: a last look changed the decision", "target", l.Target, "node", d.Node)
		return again, errChanged
	}
	d = again[i]
	c := l.incidents[d.Node]
	if c == nil || c.UID != d.UID {
		return l.hold(o, d, target.CauseOtherIncident, nil)
	}
	l.publish(o, again) // people see why before it happens
	node := o.View.Nodes[slices.IndexFunc(o.View.Nodes, func(n target.Node) bool { return n.UID == d.UID })]

	a := decide.Deletion{
		ID: c.ID + "-" + strings.ToLower(rand.Text()[:4]), Target: l.Target, Node: d.Node, UID: d.UID, Incident: c.ID,
		Probe: d.Evidence.Kind, At: time.Now(), Why: d.Reason,
	}
	if request != nil {
		a.Manual = &decide.Manual{
			By: request.By, From: request.From, Reason: request.Reason, Override: d.Overridden(*request),
		}
	}
	if err := l.lock(ctx, a); err != nil {
		return l.hold(o, d, target.CauseLock, err)
	}
	deletions := append(slices.Clone(l.state.Deletions), a)
	if err := l.saveDeletions(ctx, "write down the intent", deletions); err != nil {
		return l.hold(o, d, target.CauseIntent, err)
	}
	l.state.Deletions = deletions
	l.Log.Warn("deleting node", "target", l.Target, "node", d.Node, "uid", d.UID, "reason", d.Reason, "incident", c.ID)
	c.Deletion = &a
	c.Decision = d
	c.Add(a.At, "deleting: "+d.Reason)
	err := l.delete(ctx, c, node, began)
	return l.deleted(ctx, o, c, a, err)
}

// decideAgain decides on what has been observed and is known since. It counts nothing twice, and changes nothing.
func (l *Loop) decideAgain(o decide.Observation) []decide.Decision {
	o.Results = nil
	_, decisions := decide.Decide(l.state, o, l.Policy, time.Now())
	return decisions
}

// hold has it decided again, now that something keeps the node that d is about from being deleted. The error is a
// *decide.HeldError if that closes a guard.
func (l *Loop) hold(
	o decide.Observation, d decide.Decision, cause target.Cause, why error,
) ([]decide.Decision, error) {
	o.Obstacle = &decide.Obstacle{Node: d.Node, UID: d.UID, Cause: cause}
	err := errors.New(cause.Sentence(""))
	if why != nil {
		o.Obstacle.Detail = store.Shorten(why.Error(), longestWhy)
		err = fmt.Errorf("%w: %w", err, why)
	}
	decisions := l.decideAgain(o)
	return decisions, heldFor(decisions, *o.Obstacle, err)
}

// heldFor says why a node was not deleted by the guard that closed for it; or else it is err.
func heldFor(decisions []decide.Decision, o decide.Obstacle, err error) error {
	for _, d := range decisions {
		if held := d.HeldFor(o); held != nil && d.Node == o.Node && d.UID == o.UID {
			return held
		}
	}
	return err
}

// causeOf gives why nothing was deleted, for certain, after such an error, what that is about, and what it says
// besides. No cause: it may have been.
func causeOf(err error) (cause target.Cause, about, detail string) {
	refused, ok := errors.AsType[*target.RefusedError](err)
	switch {
	case ok && refused.Err != nil:
		return refused.Cause, refused.About, refused.Err.Error()
	case ok:
		return refused.Cause, refused.About, ""
	case errors.Is(err, errStale):
		return target.CauseLate, "", ""
	case errors.Is(err, target.ErrConflict):
		return target.CauseOvertaken, "", err.Error()
	case errors.Is(err, target.ErrGone):
		return target.CauseGone, "", ""
	case errors.Is(err, target.ErrChanged):
		return target.CauseChanged, "", ""
	case errors.Is(err, target.ErrRefused):
		return target.CauseLastLook, "", err.Error()
	}
	return "", "", ""
}

// delete carries out the deletion of node, whose intent is written down. The world was last looked at when it began.
func (l *Loop) delete(ctx context.Context, c *store.Incident, node target.Node, began time.Time) error {
	err := l.saveIncident(ctx, c)
	ctx = context.WithoutCancel(ctx) // what has been announced is also done and noted
	switch {
	case errors.Is(err, target.ErrConflict): // who has taken over decides anew
	case clock.Elapsed(began, time.Now()) > staleAfter:
		err = errStale
	default:
		err = try(ctx, &l.gate, "delete", deletionTimeout, func(ctx context.Context) error {
			return l.World.Delete(ctx, node, l.Policy.GracePeriod)
		})
	}
	return err
}

// errStale is why nothing is deleted when writing things down, or we ourselves, took too long since the last look.
var errStale = errors.New(target.CauseLate.Sentence(""))

// deleted notes how the delete went that was decided on o, and has it decided again. The error is err, or a
// *decide.HeldError if a guard is closed by it.
func (l *Loop) deleted(
	ctx context.Context, o decide.Observation, c *store.Incident, a decide.Deletion, err error,
) ([]decide.Decision, error) {
	ctx = context.WithoutCancel(ctx)
	o.Request, o.Results = nil, nil
	last := len(l.state.Deletions) - 1
	cause, about, detail := causeOf(err)
	switch {
	case err == nil:
		a.Accepted = time.Now()
		l.state.Deletions[last] = a
		c.Add(a.Accepted, "deleted; waiting until the new node "+a.Cure(l.Policy))
		l.Recorder.Deleted(a)
	case cause.Known():
		l.Log.Info("nothing was deleted", "target", l.Target, "node", a.Node, "cause", cause, "reason", err.Error())
		o.Obstacle = &decide.Obstacle{
			Node: a.Node, UID: a.UID, Deletion: a.ID, Cause: cause, About: about, Detail: store.Shorten(detail, longestWhy),
		}
		l.state, _ = decide.Decide(l.state, o, l.Policy, time.Now())
		last = len(l.state.Deletions) - 1 // it is the latest, and kept for a day
		a = l.state.Deletions[last]
		c.Add(a.Settled, "nothing was deleted: "+a.Why)
	default: // it may or may not have happened, or nobody knows what that means: what follows will show
		l.Log.Error("delete node", "target", l.Target, "node", a.Node, "error", err.Error())
		a.RequestError = store.Shorten(err.Error(), longestWhy)
		l.state.Deletions[last] = a
		c.Add(time.Now(), a.RequestFailed())
	}
	if a.Outcome == decide.Aborted { // one that failed is told of at the next reconcile
		l.outcomes[a.ID] = a.Outcome
	}
	c.Deletion = &a
	if l.saveDeletions(ctx, "write down the deletion", l.state.Deletions) == nil && l.history {
		_ = l.saveIncident(ctx, c)
	}
	o.HistoryKnown = l.history
	decisions := l.decideAgain(o)
	if o.Obstacle != nil {
		err = heldFor(decisions, *o.Obstacle, err)
	}
	return decisions, err
}

// longestWhy bounds what a deletion keeps of an error, in bytes: a day's deletions must fit one document.
const longestWhy = 500

// settled records the deletions whose outcome has become known since it was last called.
func (l *Loop) settled(ctx context.Context) {
	if !l.mayWrite() {
		return
	}
	changed := slices.DeleteFunc(slices.Clone(l.state.Deletions), func(a decide.Deletion) bool {
		return l.outcomes[a.ID] == a.Outcome
	})
	if len(changed) == 0 ||
		errors.Is(l.saveDeletions(ctx, "write down the outcome", l.state.Deletions), target.ErrConflict) {
		return // or somebody else settles them
	}
	for _, a := range changed {
		l.outcomes[a.ID] = a.Outcome
		if l.held.id == "" { // who began the deletion may have left its lock
			l.held.id = a.ID
		}
		l.Recorder.Settled(a)
		took := a.Settled.Sub(a.At).Round(time.Millisecond).Seconds()
		switch a.Outcome {
		case decide.Escalated, decide.Failed:
			l.Log.Error("a deletion did not help; a person must look", "target", l.Target, "node", a.Node, "outcome", a.Outcome,
				"why", a.Why, "took_seconds", took)
		case decide.Pending, decide.Recovered, decide.Aborted, decide.Removed:
			l.Log.Info("a deletion is settled", "target", l.Target, "node", a.Node, "outcome", a.Outcome, "why", a.Why,
				"took_seconds", took)
		}
		l.settleIncident(ctx, a)
	}
}
