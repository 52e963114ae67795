package ui

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi"
)

// The bounds of the stream that tells a page that something has changed; the rest are those of every
// httpapi.EventStream.
const (
	newsPace = time.Second     // between two
	newsPoll = 5 * time.Second // without news from this process: another replica may have some
)

// live tells, as server-sent events, that the topic of a page has changed. It does not say how: the page asks anew.
func (p pages) live(w http.ResponseWriter, r *http.Request) {
	topic := r.URL.Query().Get("of")
	r, err := p.Authenticate(r)
	if err == nil {
		err = p.mayWatch(r.Context(), topic)
	}
	if err == nil {
		err = p.PageStream(w, r, func(ctx context.Context, s *httpapi.EventStream) { p.tellNews(ctx, s, topic) })
	}
	if err != nil {
		p.Fail(w, r, err)
	}
}

// tellNews begins with an event, for something may have changed since the page was made.
func (p pages) tellNews(ctx context.Context, s *httpapi.EventStream, topic string) {
	news, stop := p.pulse.watch(topic)
	defer stop()
	poll := time.NewTicker(newsPoll)
	defer poll.Stop()
	for {
		if !s.Send("event: changed\ndata: " + topic + "\n\n") {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(newsPace):
		}
		select {
		case <-ctx.Done():
			return
		case <-httpapi.Stopping(ctx):
			return
		case <-news:
			poll.Reset(newsPoll)
		case <-poll.C:
		}
	}
}

// mayWatch refuses to tell of what the caller may not read. That anything at all happens, everybody may know who may
// read something.
func (p pages) mayWatch(ctx context.Context, topic string) error {
	kind, name, _ := strings.Cut(topic, "/")
	switch {
	case topic == everything:
		return p.MaySeeSomething(ctx)
	case kind == "target":
		for _, s := range p.seen() {
			if s.Target == name {
				return p.May(ctx, auth.Action{Verb: auth.Read, Target: name})
			}
		}
	case kind == "environment":
		for _, e := range p.environments() {
			if e.Name == name {
				return p.May(ctx, auth.Action{Verb: auth.Read, Environment: name})
			}
		}
	}
	return httpapi.NewProblem(http.StatusNotFound, "nothing is told of %q", httpapi.Short(topic))
}
