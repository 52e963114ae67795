package remediate

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// Several replicas may watch one broker: each probes and decides, and only the one that leads acts and writes. What is
// written down belongs to who leads. So a loop reads it when it begins to lead, and forgets it when it leads no
// more, or when somebody else may have led in between. Who writes second learns that from the store (a conflict):
// that, and not the lease, makes sure that an intent is written by one replica alone.

// peekEvery is how often a loop that does not lead reads what the leader has written, to show it.
const peekEvery = 15 * time.Second

// journal is what a Loop knows of what is written down.
type journal struct {
	leads bool      // this replica leads, by the latest view
	since time.Time // when it took the lease

	history   bool                       // the deletions and the incidents of before have been read
	incidents map[string]*store.Incident // the open ones, by node
	drafts    map[string]*store.Incident // those that could not be stored, by node
	missing   map[string]time.Time
	// outcomes are those that have been recorded, by the deletion's ID.
	outcomes map[string]decide.Outcome

	unsaved          bool                       // the deletions that are known are not those that are written down
	unsavedIncidents map[string]*store.Incident // the incidents of which that is so, by ID

	peeked  time.Time // when the leader's deletions were last read, if somebody else leads
	peekErr string

	pauses   []decide.Pause
	pausesAt time.Time
}

func newJournal() journal {
	return journal{
		incidents: make(map[string]*store.Incident), drafts: make(map[string]*store.Incident),
		missing: make(map[string]time.Time), outcomes: make(map[string]decide.Outcome),
		unsavedIncidents: make(map[string]*store.Incident),
	}
}

// mayWrite says whether this replica may write, and knows what is written.
func (l *Loop) mayWrite() bool { return l.leads && l.history }

// unlearn forgets what is written down, and what this replica still wanted to write.
func (l *Loop) unlearn() {
	if l.history {
		l.Log.Info("forgetting what was written down, for somebody else may lead", "target", l.Target)
	}
	leads, since := l.leads, l.since
	l.journal = newJournal()
	l.leads, l.since = leads, since
}

// learn takes note of who leads by v, which could be had if seen, and reads what is written down if that is not known.
func (l *Loop) learn(ctx context.Context, v target.View, seen bool) {
	l.leads = seen && v.IsLeader == target.Yes
	if seen && (!l.leads || !v.LeaderSince.Equal(l.since)) {
		if l.history {
			l.unlearn()
		}
		l.since = v.LeaderSince
	}
	switch {
	case l.leads && !l.history:
		if err := l.recall(ctx, v.Nodes); err != nil {
			l.trouble(cannotReadHistory, "", "read what was done before: "+err.Error())
		}
	case !l.leads && !l.history:
		l.peek(ctx)
	}
}

// recall reads what was done before, and takes up the incidents that a predecessor left open.
func (l *Loop) recall(ctx context.Context, nodes []target.Node) error {
	deletions, err := l.readDeletions(ctx)
	if err != nil {
		return err
	}
	incidents, err := bounded(ctx, &l.gate, "read the incidents", storeTimeout, l.Store.Incidents)
	if err != nil {
		return err
	}
	deletions, l.unsaved = l.withInherited(deletions, nodes)
	l.state.Deletions, l.history = deletions, true
	for _, a := range deletions {
		l.outcomes[a.ID] = a.Outcome
	}
	l.takeUp(ctx, incidents)
	return nil
}

// takeUp takes up the open incidents, one for each node: that of a deletion which is not settled, or else the latest.
func (l *Loop) takeUp(ctx context.Context, incidents []store.Incident) {
	slices.SortStableFunc(incidents, func(a, b store.Incident) int {
		if first := l.unsettled(&a); first != l.unsettled(&b) {
			if first {
				return -1
			}
			return 1
		}
		return 0
	})
	for _, c := range incidents {
		switch {
		case c.Outcome == store.Unreadable:
			l.Log.Warn("an incident cannot be read; move it away", "incident", c.ID, "error", strings.Join(c.Missing, "; "))
		case c.Target != l.Target || !c.Closed.IsZero():
		case l.incidents[c.Node] == nil:
			l.incidents[c.Node] = &c
			delete(l.last, c.Node) // what has been seen of it so far is not in the incident
		default:
			c.Outcome, c.Closed = store.Other, time.Now()
			c.Add(c.Closed, c.Outcome)
			_ = l.saveIncident(ctx, &c)
		}
	}
	for _, a := range l.state.Deletions {
		if c := l.incidents[a.Node]; c == nil || c.ID != a.Incident ||
			(c.Deletion != nil && c.Deletion.ID == a.ID && c.Deletion.Outcome == a.Outcome) {
			continue
		}
		if a.Outcome == decide.Pending {
			l.incidents[a.Node].Deletion = &a
		} else { // its outcome was written down, and then nothing more
			l.settleIncident(ctx, a)
		}
	}
}

// stillLeads looks whether this replica leads, without a break since the last look.
func (l *Loop) stillLeads(ctx context.Context) bool {
	v, err := l.look(ctx)
	return l.mayWrite() && err == nil && v.IsLeader == target.Yes && v.LeaderSince.Equal(l.since)
}

// peek reads the deletions of who leads, to show them.
func (l *Loop) peek(ctx context.Context) {
	if time.Since(l.peeked) >= peekEvery {
		deletions, err := l.readDeletions(ctx)
		l.peeked, l.peekErr = time.Now(), ""
		if err != nil {
			l.peekErr = "read what the leader did: " + err.Error()
		} else {
			l.state.Deletions = deletions
		}
	}
	l.trouble(cannotReadLeader, "", l.peekErr)
}

func (l *Loop) readDeletions(ctx context.Context) ([]decide.Deletion, error) {
	return bounded(ctx, &l.gate, "read the deletions", storeTimeout, func(ctx context.Context) ([]decide.Deletion, error) {
		return l.Store.Deletions(ctx, l.Target)
	})
}

// recentPauses is a Store that reads the pauses once for many loops. What it gives may be half a reconcile old.
type recentPauses interface {
	RecentPauses(ctx context.Context, within time.Duration) ([]decide.Pause, error)
}

// readPauses gives the pauses: afresh, or those of a moment ago. It says whether they are known.
func (l *Loop) readPauses(ctx context.Context, afresh bool) ([]decide.Pause, bool) {
	if !afresh && !l.pausesAt.IsZero() && time.Since(l.pausesAt) < l.Every {
		return l.pauses, true
	}
	l.pausesAt = time.Time{}
	read := l.Store.Pauses
	if s, shares := l.Store.(recentPauses); shares && !afresh {
		read = func(ctx context.Context) ([]decide.Pause, error) { return s.RecentPauses(ctx, l.Every/2) }
	}
	pauses, err := bounded(ctx, &l.gate, "read the pauses", storeTimeout, read)
	if err != nil {
		l.trouble(cannotReadPauses, "", "read the pauses: "+err.Error())
		return nil, false
	}
	l.pauses, l.pausesAt = pauses, time.Now()
	return pauses, true
}

// saveDeletions writes the deletions. Those that could not be written are written at the next reconcile, unless
// somebody else has written first.
func (l *Loop) saveDeletions(ctx context.Context, what string, deletions []decide.Deletion) error {
	deletions = slices.Clone(deletions) // what hangs keeps them
	err := try(ctx, &l.gate, "write the deletions", storeTimeout, func(ctx context.Context) error {
		return l.Store.SaveDeletions(ctx, l.Target, deletions)
	})
	l.unsaved = err != nil
	return l.wrote(cannotWriteHistory, what, err)
}

// saveIncident writes c. One that could not be written is written at the next reconcile, unless somebody else has
// written first.
func (l *Loop) saveIncident(ctx context.Context, c *store.Incident) error {
	mine := *c
	mine.Events = slices.Clone(c.Events) // what hangs keeps them
	err := try(ctx, &l.gate, "write an incident", storeTimeout, func(ctx context.Context) error {
		return l.Store.SaveIncident(ctx, mine)
	})
	if err != nil {
		l.unsavedIncidents[c.ID] = c
	} else {
		delete(l.unsavedIncidents, c.ID)
	}
	return l.wrote(cannotWriteRecord, "store the incident", err)
}

// wrote takes note of how writing what went.
func (l *Loop) wrote(kind troubleKind, what string, err error) error {
	if err != nil {
		l.trouble(kind, "", what+": "+err.Error())
	}
	if errors.Is(err, target.ErrConflict) {
		l.unlearn()
	}
	return err
}

// catchUp writes what could not be written before.
func (l *Loop) catchUp(ctx context.Context) {
	if l.unsaved {
		_ = l.saveDeletions(ctx, "write down the deletions", l.state.Deletions) // it shows as an error
	}
	for _, c := range l.unsavedIncidents {
		if l.saveIncident(ctx, c) != nil {
			return
		}
	}
}
