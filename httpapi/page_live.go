package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/auth"
)

// The bounds of the stream that tells a page that something has changed; the rest are those of an operation's events.
const (
	newsPace = time.Second     // between two
	newsPoll = 5 * time.Second // without news from this process: another replica may have some
)

// refreshHeader comes with a page's request for itself, after it was told that something has changed.
const refreshHeader = "Unstuck-Refresh"

// live tells, as server-sent events, that the topic of a page has changed. It does not say how: the page asks anew.
func (p pages) live(w http.ResponseWriter, r *http.Request) error {
	topic := r.URL.Query().Get("of")
	if err := p.mayWatch(r.Context(), topic); err != nil {
		return err
	}
	who, known := callerOf(r.Context())
	key := who.Authority + "/" + who.Name
	if !known {
		key = "at " + addressOf(r)
	}
	if !p.streams.open(key) {
		return tooMany(eventRetry, "too many streams are open")
	}
	defer p.streams.close(key)
	f := follower{w: w, control: http.NewResponseController(w)}
	_ = f.control.SetReadDeadline(time.Time{}) // the server's own would end the request's context
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // for nginx
	if r.Method == http.MethodHead {
		return nil
	}
	ctx, stop := context.WithTimeout(r.Context(), eventLife)
	defer stop()
	if f.send(fmt.Sprintf("retry: %d\n\n", eventRetry.Milliseconds())) {
		p.tellNews(ctx, &f, topic)
	}
	return nil
}

// tellNews begins with an event, for something may have changed since the page was made.
func (p pages) tellNews(ctx context.Context, f *follower, topic string) {
	news, stop := p.pulse.watch(topic)
	defer stop()
	poll := time.NewTicker(newsPoll)
	defer poll.Stop()
	for {
		if !f.send("event: changed\ndata: " + topic + "\n\n") {
			return
		}
		if !pause(ctx, newsPace) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-stopping(ctx):
			return
		case <-news:
			poll.Reset(newsPoll)
		case <-poll.C:
		}
	}
}

// mayWatch refuses to tell of what the caller may not read. That anything at all happens, everybody may know who may use
// the page.
func (p pages) mayWatch(ctx context.Context, topic string) error {
	kind, name, _ := strings.Cut(topic, "/")
	switch {
	case topic == everything:
		return nil
	case kind == "target":
		for _, s := range p.brokers.snapshots() {
			if s.Target == name {
				return p.may(ctx, auth.Action{Verb: auth.Read, Target: name})
			}
		}
	case kind == "environment" && p.releases != nil:
		for _, e := range p.releases.Environments {
			if e.Name == name {
				return p.may(ctx, auth.Action{Verb: auth.Read, Environment: name})
			}
		}
	}
	return problem(http.StatusNotFound, "nothing is told of %q", short(topic))
}
