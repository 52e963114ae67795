package ui

import (
	"fmt"
	"net/http"
	"time"

	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
)

func (p pages) incidentsPage(r *http.Request) (view, error) {
	incidents, err := get[brokers.Incidents](p, r, "/incidents")
	if err != nil {
		return view{}, err
	}
	return view{name: "incidents", title: "Incidents", topic: everything, data: incidents}, nil
}

// incidentData is an incident, to be read like a story.
type incidentData struct {
	store.Incident

	Headline headline
	Took     time.Duration // from the first sign to the end; 0: it is not over
	Stacks   []probe.Stack // of the last look at the node's processes that has any
	LookedAt time.Time     // when that was
}

func (p pages) incidentPage(r *http.Request) (view, error) {
	c, err := get[store.Incident](p, r, "/incidents/{id}")
	if err != nil {
		return view{}, err
	}
	d := incidentData{Incident: c, Headline: storyOf(c)}
	began := c.Opened
	if since := c.Decision.Evidence.Since; !since.IsZero() && since.Before(began) {
		began = since
	}
	if !c.Closed.IsZero() {
		d.Took = c.Closed.Sub(began)
	}
	for _, result := range c.Results {
		if result.Processes != nil && len(result.Processes.Top) > 0 {
			d.Stacks, d.LookedAt = result.Processes.Top, result.Started
		}
	}
	return view{name: "incident", title: "Incident " + c.ID, topic: ofTarget(c.Target), data: d}, nil
}

// storyOf says in one sentence how an incident has ended, or where it stands.
func storyOf(c store.Incident) headline {
	who := c.Node + " of " + c.Target
	what, manual := "was deleted", false
	if c.Deletion != nil && c.Deletion.Manual != nil {
		what, manual = "was deleted on request", true
	}
	switch outcome := c.Outcome; {
	case outcome == string(decide.Recovered) && manual:
		return headline{who + " " + what + ", and what took its place is healthy.", "good"}
	case outcome == string(decide.Recovered):
		return headline{who + " was stuck, " + what + ", and what took its place is healthy.", "good"}
	case outcome == string(decide.Escalated):
		return headline{who + " " + what + ", and what took its place is not healthy: a person must look.", "bad"}
	case outcome == string(decide.Failed):
		return headline{who + " was to be deleted, and is still there: a person must look.", "bad"}
	case outcome != "":
		return headline{fmt.Sprintf("The incident of %s is closed: %s.", who, outcome), "unsure"}
	case c.Deletion != nil:
		return headline{who + " " + what + ", and its successor is awaited.", "busy"}
	}
	return headline{who + " is stuck, and has not been deleted: " + c.Decision.Reason + ".", "bad"}
}
