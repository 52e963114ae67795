package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// stream answers a GET with more than one write. An error that it returns is written as a Problem: nothing else was.
type stream func(w http.ResponseWriter, r *http.Request) error

// The bounds of a stream of events.
const (
	eventHeartbeat = 15 * time.Second // without an event, a comment shows that somebody is there
	eventLife      = 15 * time.Minute // then the client must come again, and be recognised again
	eventWrite     = 10 * time.Second // for the client to take what is sent
	eventRetry     = 2 * time.Second  // after which a client should come again
	maxStreams     = 100
	maxStreamsEach = 10 // of one caller
)

// EventStream is an answer of server-sent events (the HTML standard, section 9.2).
type EventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func newEventStream(w http.ResponseWriter) *EventStream {
	s := &EventStream{w, http.NewResponseController(w)}
	_ = s.control.SetReadDeadline(time.Time{}) // the server's own would end the request's context
	return s
}

// begin sends the headers.
func (s *EventStream) begin() {
	s.w.Header().Set("Content-Type", "text/event-stream")
	s.w.Header().Set("X-Accel-Buffering", "no") // for nginx
}

// retry says when to come again.
func (s *EventStream) retry() bool {
	return s.Send(fmt.Sprintf("retry: %d\n\n", eventRetry.Milliseconds()))
}

// Send sends a text: events, or comments. False: the client has gone away.
func (s *EventStream) Send(text string) bool {
	_ = s.control.SetWriteDeadline(time.Now().Add(eventWrite)) // a test's writer has none
	if _, err := s.w.Write([]byte(text)); err != nil {
		return false
	}
	return s.control.Flush() == nil
}

// Stream answers with the events that send sends, until it returns. Its context ends with the stream's life; with the
// server it should end too, see Stopping. Each caller may have some streams open, and so may all of them together.
func (g *Gate) Stream(w http.ResponseWriter, r *http.Request, send func(context.Context, *EventStream)) error {
	who, known := CallerOf(r.Context())
	key := who.Authority + "/" + who.Name
	if !known {
		key = "at " + addressOf(r)
	}
	if !g.streams.open(key) {
		return tooMany(eventRetry, "too many streams are open")
	}
	defer g.streams.close(key)
	keepConn(r.Context())
	s := newEventStream(w)
	s.begin()
	if r.Method == http.MethodHead {
		return nil
	}
	ctx, stop := context.WithTimeout(r.Context(), eventLife)
	defer stop()
	if s.retry() {
		send(ctx, s)
	}
	return nil
}

type stoppingKey struct{}

// Stopping gives a channel that is closed when the server is to end; nil where that is not known.
func Stopping(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return c
}
