package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

// stream answers a GET with more than one write. An error that it returns is written as a Problem: nothing else was.
type stream func(w http.ResponseWriter, r *http.Request) error

// The bounds of a stream of events.
const (
	eventPace      = 500 * time.Millisecond // between two events; what is in between is left out
	eventPoll      = 2 * time.Second        // without news from this process, the records are looked at
	eventHeartbeat = 15 * time.Second       // without an event, a comment shows that somebody is there
	eventLife      = 15 * time.Minute       // then the client must come again, and be recognised again
	eventWrite     = 10 * time.Second       // for the client to take what is sent
	eventRetry     = 2 * time.Second        // after which a client should come again
	maxStreams     = 100
	maxStreamsEach = 10 // of one caller
)

// streams counts the streams that are open, of which there may be most, and each of one caller.
type streams struct {
	most, each int

	mu       sync.Mutex
	all      int
	byCaller map[string]int
}

func newStreams(most, each int) *streams {
	return &streams{most: most, each: each, byCaller: make(map[string]int)}
}

func (s *streams) open(who string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= s.most || s.byCaller[who] >= s.each {
		return false
	}
	s.all++
	s.byCaller[who]++
	return true
}

func (s *streams) close(who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.byCaller[who]--; s.byCaller[who] == 0 {
		delete(s.byCaller, who)
	}
}

// events sends an operation as it changes, in the format of server-sent events (the HTML standard, section 9.2): each
// event is the whole operation, so that a client that missed some has missed nothing. It ends with the operation. An
// event's ID says which state it is; a client that comes again and knows the last one gets 204, on which browsers stop.
func (api *releaseAPI) events(w http.ResponseWriter, r *http.Request) error {
	op, err := api.load(r)
	if err != nil {
		return err
	}
	f := follower{w: w, control: http.NewResponseController(w), last: r.Header.Get("Last-Event-ID")}
	first, id, err := eventOf(op)
	if err != nil {
		return err
	}
	if id == f.last && op.Phase.Over() {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	who, _ := callerOf(r.Context())
	if !api.streams.open(who.Authority + "/" + who.Name) {
		return tooMany(eventRetry, "too many streams are open")
	}
	defer api.streams.close(who.Authority + "/" + who.Name)
	_ = f.control.SetReadDeadline(time.Time{}) // the server's own would end the request's context
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // for nginx
	if r.Method == http.MethodHead {
		return nil
	}
	ctx, stop := context.WithTimeout(r.Context(), eventLife)
	defer stop()
	f.version = op.Version
	if f.send(fmt.Sprintf("retry: %d\n\n", eventRetry.Milliseconds())) && f.event(first, id) && !op.Phase.Over() {
		api.follow(ctx, &f, op.ID)
	}
	return nil
}

// follow sends what changes until the operation, the stream's life or the client's patience ends. That the records
// cannot be read now ends nothing: heartbeats go on.
func (api *releaseAPI) follow(ctx context.Context, f *follower, id string) {
	news, stop := api.Feed.watch(id)
	defer stop()
	poll, heartbeat := time.NewTicker(eventPoll), time.NewTicker(eventHeartbeat)
	defer poll.Stop()
	defer heartbeat.Stop()
	for {
		var op plan.Operation
		var err error
		select {
		case <-ctx.Done():
			return
		case <-stopping(ctx):
			return
		case <-heartbeat.C:
			if !f.send(": still here\n\n") {
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
		text, eventID, err := eventOf(op)
		if err != nil || !f.event(text, eventID) || op.Phase.Over() {
			return
		}
		heartbeat.Reset(eventHeartbeat)
		if !pause(ctx, eventPace) {
			return
		}
	}
}

// follower is somebody who follows an operation.
type follower struct {
	w       http.ResponseWriter
	control *http.ResponseController
	last    string // the ID of the last event that they have
	version int    // of the last operation that was looked at
}

// event sends an event that they do not have. False: they have gone away.
func (f *follower) event(text, id string) bool {
	if id == f.last {
		return f.send("")
	}
	f.last = id
	return f.send(text)
}

func (f *follower) send(text string) bool {
	_ = f.control.SetWriteDeadline(time.Now().Add(eventWrite)) // a test's writer has none
	if _, err := f.w.Write([]byte(text)); err != nil {
		return false
	}
	return f.control.Flush() == nil
}

// eventOf gives the event that shows an operation, and its ID: the version, which counts what was stored, and a hash,
// because not all that happens is stored.
func eventOf(op plan.Operation) (text, id string, err error) {
	data, err := json.Marshal(tidied(op))
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

type stoppingKey struct{}

// stopping gives a channel that is closed when the server is to end; nil where that is not known.
func stopping(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return c
}
