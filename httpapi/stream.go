package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Stream answers a GET with more than one write. An error that it returns is written as a Problem: nothing else was.
type Stream func(w http.ResponseWriter, r *http.Request) error

// The bounds of a stream of events.
const (
	EventHeartbeat = 15 * time.Second // without an event, a comment shows that somebody is there
	EventLife      = 15 * time.Minute // then the client must come again, and be recognised again
	eventWrite     = 10 * time.Second // for the client to take what is sent
	EventRetry     = 2 * time.Second  // after which a client should come again
	maxStreams     = 100              // of operations, and as many of pages
	maxStreamsEach = 10               // of one caller
)

// streams are those of one kind that are open, of which there may be most, and each of one caller. Where there are most
// of them, a caller with fewer takes the place of the oldest of the caller with the most.
type streams struct {
	most, each int

	mu  sync.Mutex
	all int
	of  map[string][]*openStream // by caller, the oldest first
}

// openStream is one of them.
type openStream struct{ end context.CancelFunc }

func newStreams() *streams {
	return &streams{most: maxStreams, each: maxStreamsEach, of: make(map[string][]*openStream)}
}

// open notes a stream of somebody's, which end ends. False: there may be no more of theirs. Close it in the end.
func (s *streams) open(who string, end context.CancelFunc) (*openStream, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.of[who]) >= s.each {
		return nil, false
	}
	if s.all >= s.most {
		heaviest := who
		for other, of := range s.of {
			if len(of) > len(s.of[heaviest]) {
				heaviest = other
			}
		}
		if len(s.of[heaviest]) <= len(s.of[who])+1 { // or the two would drive each other out for ever
			return nil, false
		}
		oldest := s.of[heaviest][0]
		oldest.end()
		s.drop(heaviest, oldest)
	}
	one := &openStream{end}
	s.all++
	s.of[who] = append(s.of[who], one)
	return one, true
}

func (s *streams) close(who string, one *openStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(who, one)
}

// drop forgets a stream, at most once.
func (s *streams) drop(who string, one *openStream) {
	i := slices.Index(s.of[who], one)
	if i < 0 {
		return
	}
	s.all--
	if s.of[who] = slices.Delete(s.of[who], i, i+1); len(s.of[who]) == 0 {
		delete(s.of, who)
	}
}

// EventStream is an answer of server-sent events (the HTML standard, section 9.2).
type EventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// NewEventStream readies an answer for events: it may last.
func NewEventStream(w http.ResponseWriter) *EventStream {
	s := &EventStream{w, http.NewResponseController(w)}
	_ = s.control.SetReadDeadline(time.Time{}) // the server's own would end the request's context
	return s
}

// Begin sends the headers.
func (s *EventStream) Begin() {
	s.w.Header().Set("Content-Type", "text/event-stream")
	s.w.Header().Set("X-Accel-Buffering", "no") // for nginx
}

// Retry says when to come again.
func (s *EventStream) Retry() bool {
	return s.Send(fmt.Sprintf("retry: %d\n\n", EventRetry.Milliseconds()))
}

// Send sends a text: events, or comments. False: the client has gone away.
func (s *EventStream) Send(text string) bool {
	_ = s.control.SetWriteDeadline(time.Now().Add(eventWrite)) // a test's writer has none
	if _, err := s.w.Write([]byte(text)); err != nil {
		return false
	}
	return s.control.Flush() == nil
}

// PageStream answers with the events that send sends, until it returns. Its context ends with the stream's life; with
// the server it should end too, see Stopping. Each caller may have some streams open, and so may all of them together.
// Ask first whether the caller may read something. Pages take no stream from who follows an operation.
func (g *Gate) PageStream(w http.ResponseWriter, r *http.Request, send func(context.Context, *EventStream)) error {
	return g.streamOf(w, r, g.pageStreams, send)
}

// OperationStream is PageStream for who follows an operation.
func (g *Gate) OperationStream(w http.ResponseWriter, r *http.Request, send func(context.Context, *EventStream)) error {
	return g.streamOf(w, r, g.operationStreams, send)
}

func (g *Gate) streamOf(w http.ResponseWriter, r *http.Request, of *streams, send func(context.Context, *EventStream),
) error {
	who, known := CallerOf(r.Context())
	key := who.Authority + "/" + who.Name
	if !known {
		key = "at " + addressOf(r)
	}
	ctx, stop := context.WithTimeout(r.Context(), EventLife)
	defer stop()
	one, ok := of.open(key, stop)
	if !ok {
		return TooMany(EventRetry, "too many streams are open")
	}
	defer of.close(key, one)
	keepConn(r.Context())
	s := NewEventStream(w)
	s.Begin()
	if r.Method == http.MethodHead {
		return nil
	}
	if s.Retry() {
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
