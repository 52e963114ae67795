package environments

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

// How often a stream of an operation has events.
const (
	eventPace = 500 * time.Millisecond // between two; what is in between is left out
	eventPoll = 2 * time.Second        // without news from this process, the records are looked at
)

// events sends an operation as it changes, in the format of server-sent events (the HTML standard, section 9.2): each
// event is the whole operation, so that a client that missed some has missed nothing. It ends with the operation. An
// event's ID says which state it is; a client that comes again and knows the last one gets 204, on which browsers stop.
func (api *API) events(w http.ResponseWriter, r *http.Request) error {
	op, err := api.load(r)
	if err != nil {
		return err
	}
	show, err := api.shownTo(r.Context(), op.Environment)
	if err != nil {
		return err
	}
	last := r.Header.Get("Last-Event-ID")
	first, id, err := eventOf(show(op))
	if err != nil {
		return err
	}
	if id == last && op.Phase.Over() {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return api.OperationStream(w, r, func(ctx context.Context, s *httpapi.EventStream) {
		f := follower{EventStream: s, last: last, version: op.Version, show: show}
		if f.event(first, id) && !op.Phase.Over() {
			api.follow(ctx, &f, op.ID)
		}
	})
}

// follow sends what changes until the operation, the stream's life or the client's patience ends. That the records
// cannot be read now ends nothing: heartbeats go on.
func (api *API) follow(ctx context.Context, f *follower, id string) {
	news, stop := api.Feed.watch(id)
	defer stop()
	poll, heartbeat := time.NewTicker(eventPoll), time.NewTicker(httpapi.EventHeartbeat)
	defer poll.Stop()
	defer heartbeat.Stop()
	for {
		var op plan.Operation
		var err error
		select {
		case <-ctx.Done():
			return
		case <-httpapi.Stopping(ctx):
			return
		case <-heartbeat.C:
			if !f.Send(": still here\n\n") {
				return
			}
			continue
		case op = <-news: // may have more than the records have, in the same version
			poll.Reset(eventPoll)
		case <-poll.C:
			if op, err = api.loadID(ctx, id); errors.Is(err, release.ErrNotFound) {
				return
			}
			if err != nil || op.Version == f.version {
				continue
			}
		}
		if op.Version < f.version {
			continue
		}
		f.version = op.Version
		text, eventID, err := eventOf(f.show(op))
		if err != nil || !f.event(text, eventID) || op.Phase.Over() {
			return
		}
		heartbeat.Reset(httpapi.EventHeartbeat)
		if !pause(ctx, eventPace) {
			return
		}
	}
}

// follower is somebody who follows an operation.
type follower struct {
	*httpapi.EventStream

	last    string // the ID of the last event that they have
	version int    // of the last operation that was looked at

	show func(plan.Operation) plan.Operation // what they may see of it
}

// event sends an event that they do not have. False: they have gone away.
func (f *follower) event(text, id string) bool {
	if id == f.last {
		return f.Send("")
	}
	f.last = id
	return f.Send(text)
}

// eventOf gives the event that shows an operation, and its ID: the version, which counts what was stored, and a hash,
// because not all that happens is stored.
func eventOf(op plan.Operation) (text, id string, err error) {
	data, err := json.Marshal(op)
	if err != nil {
		return "", "", fmt.Errorf("encode operation %s: %w", op.ID, err)
	}
	sum := sha256.Sum256(data)
	id = fmt.Sprintf("%d-%s", op.Version, hex.EncodeToString(sum[:8]))
	return fmt.Sprintf("event: operation\nid: %s\ndata: %s\n\n", id, data), id, nil
}

// pause waits; false if the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
