package web

import (
	"fmt"
	"net/http"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
)

func (p pages) casesPage(r *http.Request) (view, error) {
	cases, err := as[Cases](p.cases(r))
	if err != nil {
		return view{}, err
	}
	return view{name: "cases", title: "Cases", topic: everything, data: cases}, nil
}

// caseData is a case, to be read like a story.
type caseData struct {
	remediate.Case

	Headline headline
	Took     time.Duration // from the first sign to the end; 0: it is not over
	Stacks   []probe.Stack // of the last look at the node's processes that has any
	LookedAt time.Time     // when that was
}

func (p pages) casePage(r *http.Request) (view, error) {
	c, err := as[remediate.Case](p.oneCase(r))
	if err != nil {
		return view{}, err
	}
	d := caseData{Case: c, Headline: storyOf(c)}
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
	return view{name: "case", title: "Case " + c.ID, topic: ofBroker(c.Broker), data: d}, nil
}

// storyOf says in one sentence how a case has ended, or where it stands.
func storyOf(c remediate.Case) headline {
	who := c.Node + " of " + c.Broker
	act, byHand := "was deleted", false
	if c.Act != nil && c.Act.ByHand != nil {
		act, byHand = "was deleted by hand", true
	}
	switch outcome := c.Outcome; {
	case outcome == string(remediate.Recovered) && byHand:
		return headline{who + " " + act + ", and what took its place is healthy.", "good"}
	case outcome == string(remediate.Recovered):
		return headline{who + " was stuck, " + act + ", and what took its place is healthy.", "good"}
	case outcome == string(remediate.Escalated):
		return headline{who + " " + act + ", and what took its place is not healthy: a person must look.", "bad"}
	case outcome == string(remediate.Failed):
		return headline{who + " was to be deleted, and is still there: a person must look.", "bad"}
	case outcome != "":
		return headline{fmt.Sprintf("The case of %s is closed: %s.", who, outcome), "unsure"}
	case c.Act != nil:
		return headline{who + " " + act + ", and its successor is awaited.", "busy"}
	}
	return headline{who + " is stuck, and has not been deleted: " + c.Decision.Reason + ".", "bad"}
}
