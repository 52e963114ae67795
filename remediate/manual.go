package remediate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// ErrNotLeader says that another replica leads, and must be asked.
var ErrNotLeader = errors.New("this replica does not lead")

// errEnded is why nothing comes of a decide.DeleteRequest once Run has returned.
var errEnded = errors.New("the loop has ended")

// DeleteResult says what came of a decide.DeleteRequest, or what would.
type DeleteResult struct {
	Incident   string              // the ID of the incident that tells how it goes on; empty after a dry run
	Overridden []decide.Guard      // that were closed
	Guards     []decide.GuardState // what every guard said
}

// manualTimeout bounds what is asked of the peers before a manual deletion: somebody waits.
const manualTimeout = 20 * time.Second

// Delete has a node deleted that a person wants deleted, in the loop's own goroutine and as the loop deletes itself:
// captured, written down, asked for by UID, awaited. It returns once the deletion is asked for.
//
// It gives a *decide.HeldError if guards hold it back, which nothing was done then; target.ErrGone or target.ErrChanged
// if the node is not there any more; and ErrNotLeader on a replica that does not lead. After another error the
// incident, if there is one, tells what happened. If ctx ends while it is under way, what has not been announced is
// given up.
func (l *Loop) Delete(ctx context.Context, o decide.DeleteRequest) (DeleteResult, error) {
	type answer struct {
		DeleteResult
		err error
	}
	got := make(chan answer, 1)
	apply := func(loop context.Context) {
		both, cancel := context.WithCancel(loop)
		defer cancel()
		stop := context.AfterFunc(ctx, cancel)
		defer stop()
		result, err := l.deleteOnRequest(both, o)
		got <- answer{result, err}
	}
	select {
	case l.requests <- apply:
	case <-l.ended:
		return DeleteResult{}, fmt.Errorf("delete %s: %w", o.Node, errEnded)
	case <-ctx.Done():
		return DeleteResult{}, fmt.Errorf("delete %s: nothing was done, for its loop had no time for it: %w", o.Node,
			ctx.Err())
	}
	select {
	case a := <-got:
		if a.err != nil {
			return a.DeleteResult, fmt.Errorf("delete %s: %w", o.Node, a.err)
		}
		return a.DeleteResult, nil
	case <-ctx.Done():
		return DeleteResult{}, fmt.Errorf("delete %s: it takes too long, and what comes of it is not known: %w", o.Node,
			ctx.Err())
	}
}

func (l *Loop) deleteOnRequest(ctx context.Context, request decide.DeleteRequest) (DeleteResult, error) {
	o := l.observe(ctx, true)
	if o.View.IsLeader == target.No {
		return DeleteResult{}, ErrNotLeader
	}
	o.Request = &request
	d, err := l.decideRequest(o)
	if err != nil {
		return DeleteResult{}, err
	}
	if d, err = l.answeredOnRequest(ctx, o, d); err != nil {
		return DeleteResult{}, err
	}
	result := DeleteResult{Overridden: d.Overridden(request), Guards: d.Guards}
	if err := d.Held(request); err != nil || request.DryRun {
		return result, err
	}
	opened, err := l.incidentOnRequest(ctx, d)
	if err != nil {
		return result, err
	}
	c := l.incidents[d.Node]
	var decisions []decide.Decision
	if d, err = l.answeredOnRequest(ctx, o, d); err == nil { // capturing takes seconds, in which answers get old
		l.Log.Warn("manual deletion", "target", l.Target, "node", d.Node, "by", request.By, "from", request.From,
			"reason", request.Reason, "override", decide.GuardNames(result.Overridden), "incident", c.ID)
		decisions, err = l.deleteNode(ctx, o, d)
	}
	if err != nil {
		l.notDone(ctx, c, opened, err)
		return result, refusal(decisions, request, err)
	}
	result.Incident = c.ID
	return result, nil
}

// decideRequest gives the decision about the node that o's request is about.
func (l *Loop) decideRequest(o decide.Observation) (decide.Decision, error) {
	var all []decide.Decision
	l.state, all = decide.Decide(l.state, o, l.Policy, time.Now())
	return decide.Requested(all, *o.Request)
}

// answeredOnRequest gives the decision again once the last questions have been asked, if their answers matter and will
// be old soon.
func (l *Loop) answeredOnRequest(
	ctx context.Context, o decide.Observation, d decide.Decision,
) (decide.Decision, error) {
	if !l.wantsAnswersOnRequest(d, *o.Request) {
		return d, nil
	}
	asking, cancel := context.WithTimeout(ctx, manualTimeout)
	l.askLast(asking, d)
	cancel()
	o.Results = nil
	return l.decideRequest(o)
}

// wantsAnswersOnRequest says whether the answers to the last questions matter. They cost the broker, so they are not
// asked for where the request is held back whatever they are, or the guards are overridden.
func (l *Loop) wantsAnswersOnRequest(d decide.Decision, o decide.DeleteRequest) bool {
	closed := d.Closed()
	if slices.ContainsFunc(closed, func(g decide.Guard) bool { return g.Fixed() != "" }) {
		return false
	}
	asks := func(g decide.Guard) bool { return !slices.Contains(o.Override, g) }
	return !l.Policy.App && slices.ContainsFunc(lastQuestions, asks) &&
		(l.unasked(d) || slices.ContainsFunc(closed, func(g decide.Guard) bool { return asks(g) && l.couldNotTell(d, g) }))
}

// couldNotTell says whether the last question behind g was asked about d's node, and the answer did not tell: that may
// be another by now. The loop waits with it until the next pace, but not where a person waits.
func (l *Loop) couldNotTell(d decide.Decision, g decide.Guard) bool {
	return g == decide.GuardQuorumCritical && l.quorum[d.Node].Critical == target.CannotTell ||
		g == decide.GuardAlarm && l.refusals[d.Node].OnPurpose == target.CannotTell
}

// incidentOnRequest has the deletion that d decides written into the node's incident, which is opened if it has none.
func (l *Loop) incidentOnRequest(ctx context.Context, d decide.Decision) (opened bool, err error) {
	if c := l.incidents[d.Node]; c != nil && c.UID == d.UID {
		c.Decision = d
		c.Add(time.Now(), d.Reason)
		return false, l.saveIncident(ctx, c)
	}
	delete(l.drafts, d.Node) // it does not tell of this
	l.openIncident(ctx, d)
	if c := l.incidents[d.Node]; c != nil && c.UID == d.UID {
		return true, nil
	}
	delete(l.drafts, d.Node)
	return false, errors.New("the incident could not be stored, and nothing is deleted without one")
}

// notDone writes into the incident why nothing was deleted, and closes one that was opened for nothing else. Whatever
// may have happened all the same is awaited, and its incident stays open.
func (l *Loop) notDone(ctx context.Context, c *store.Incident, opened bool, why error) {
	if l.incidents[c.Node] != c || l.unsettled(c) { // it may be another's by now
		return
	}
	now := time.Now()
	c.Add(now, "not deleted: "+store.Shorten(why.Error(), 500))
	if opened {
		l.closeIncident(c, store.NotDone, now)
	}
	_ = l.saveIncident(context.WithoutCancel(ctx), c) // or at the next reconcile
}

// refusal says why nothing came of o in the words of guards, where a last look changed the decision.
func refusal(decisions []decide.Decision, o decide.DeleteRequest, err error) error {
	if !errors.Is(err, errChanged) {
		return err
	}
	d, gone := decide.Requested(decisions, o)
	if gone != nil {
		return gone
	}
	if held := d.Held(o); held != nil {
		return held
	}
	return err
}
