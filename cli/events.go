package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/release/plan"
)

// The bounds of a stream of events. The server says something every 15 s.
const (
	streamIdle = 45 * time.Second
	maxEvent   = 4 << 20 // an operation has less than 1 MB
	maxRetry   = 30 * time.Second
)

// event is one server-sent event (the HTML standard, section 9.2).
type event struct {
	id, name, data string
}

// readEvents gives each event of a stream until the stream ends, and how long the server wants us to stay away then.
// heard is called with each line: somebody is there.
func readEvents(r io.Reader, heard func(), each func(event) error) (retry time.Duration, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxEvent)
	var now event
	var data []string
	for lines.Scan() {
		heard()
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			now.id = value
		case "event":
			now.name = value
		case "data":
			data = append(data, value)
		case "retry":
			if ms, err := strconv.ParseUint(value, 10, 31); err == nil {
				retry = time.Duration(ms) * time.Millisecond
			}
		case "": // a comment, or the end of an event
			if lines.Text() != "" || len(data) == 0 {
				continue
			}
			now.data = strings.Join(data, "\n")
			if err := each(now); err != nil {
				return retry, err
			}
			now, data = event{}, nil
		}
	}
	return retry, lines.Err()
}

// follow sends the states of an operation, each no older than the one before, until it is over.
func (c *client) follow(ctx context.Context, id string, patience time.Duration, note func(string),
	states chan<- plan.Operation,
) error {
	version := 0
	return c.resume(ctx, apiPath("operations", id, "events"), patience, note, func(e event) (over bool, err error) {
		var op plan.Operation
		if err := json.Unmarshal([]byte(e.data), &op); err != nil {
			return false, fmt.Errorf("read an event: %w", err)
		}
		if op.Version < version { // of a replica that is behind
			return false, nil
		}
		version = op.Version
		select {
		case states <- op:
			return op.Phase.Over(), nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	})
}

// resume reads a stream of events until each says that it is over, or ctx ends. A stream that ends is taken up again
// where it ended; note is told when the server goes away and comes back. It gives up when the server was away for as
// long as patience, or refuses.
func (c *client) resume(ctx context.Context, path string, patience time.Duration, note func(string),
	each func(event) (over bool, err error),
) error {
	last, retry, lost := "", 2*time.Second, time.Time{}
	for {
		over := false
		wanted, err := c.stream(ctx, path, last, func(e event) (err error) {
			if !lost.IsZero() {
				note("the server is back")
				lost = time.Time{}
			}
			if e.id != "" {
				last = e.id
			}
			over, err = each(e)
			return err
		})
		if over || ctx.Err() != nil {
			return nil //nolint:nilerr // that was the end of ctx, which is how it is ended
		}
		if wanted > 0 {
			retry = min(wanted, maxRetry)
		}
		switch p, answered := errors.AsType[*httpapi.Problem](err); {
		case err == nil:
			lost = time.Time{}
		case errors.Is(err, errOurs), answered && p.Status < 500 && p.Status != http.StatusTooManyRequests:
			return err
		case lost.IsZero():
			note("the server does not answer, trying again: " + err.Error())
			lost = time.Now()
		case time.Since(lost) > patience:
			return err
		}
		if !waitFor(ctx, retry) {
			return nil
		}
	}
}

// stream reads one stream of events to its end. A stream that is silent for too long has ended.
func (c *client) stream(ctx context.Context, path, last string,
	each func(event) error,
) (retry time.Duration, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	silent := time.AfterFunc(streamIdle, func() { stop(errors.New("the server has fallen silent")) })
	defer silent.Stop()
	r, err := c.request(ctx, http.MethodGet, path, http.NoBody)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Accept", "text/event-stream")
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return 0, unreached(ctx, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK || !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/event-stream") {
		text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
		if err != nil {
			return 0, fmt.Errorf("read the server's answer: %w", err)
		}
		return 0, &requestError{path, problemOf(answer, text)}
	}
	retry, err = readEvents(answer.Body, func() { silent.Reset(streamIdle) }, each)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return retry, cause
	}
	return retry, err
}
