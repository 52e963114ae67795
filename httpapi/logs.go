package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

// ServiceLogs reads the logs of services. *deploy.Clusters does. It is a *plan.Refusal that there is no such service,
// or no such container.
type ServiceLogs interface {
	// ServiceLog gives the last lines, within 20 s.
	ServiceLog(ctx context.Context, env plan.Environment, q release.LogQuery) (release.ServiceLog, error)
	// FollowServiceLog gives to send what ServiceLog gives, and then what comes, until ctx ends or send fails.
	FollowServiceLog(ctx context.Context, env plan.Environment, q release.LogQuery,
		send func(release.ServiceLog) error) error
}

// The bounds of logs.
const (
	defaultLines   = 100
	maxLines       = 1000
	maxLogs        = 20 // that are read or followed at once: each is several streams of the API server's
	maxLogsEach    = 4  // by one caller
	linesAnEvent   = 50
	maxSince       = 31 * 24 * time.Hour
	logsReadWithin = 25 * time.Second // below writeTimeout
)

var logParams = []param{
	{"container", "the container; default: the one that kubectl would take", "string"},
	{"lines", fmt.Sprintf("the last so many of all pods together; default %d, at most %d", defaultLines,
		maxLines), "integer"},
	{"since", `only what is not older than that ("10m"), or later than that time`, "string"},
	{"follow", "go on with what comes, as server-sent events", "boolean"},
	{"previous", "of the run before, of containers that were started again", "boolean"},
}

// logs answers with the log of a service: as one answer, or, if it is followed or asked for so, as server-sent events.
func (api *releaseAPI) logs(w http.ResponseWriter, r *http.Request) error {
	env, err := api.serviceTo(auth.Logs, r, &AuditEvent{}, "")
	if err != nil {
		return err
	}
	q, follows, err := logQueryOf(r, time.Now())
	if err != nil {
		return err
	}
	last := r.Header.Get("Last-Event-ID")
	asEvents := follows || accepts(r, "text/event-stream")
	if asEvents && !follows && last != "" {
		w.WriteHeader(http.StatusNoContent) // they have it, and nothing comes after it
		return nil
	}
	if at, err := time.Parse(time.RFC3339Nano, last); err == nil && follows && at.After(q.After) {
		q.After, q.Lines = at, maxLines
	}
	done, err := api.openLog(r)
	if err != nil {
		return err
	}
	defer done()
	s := newEventStream(w)
	if r.Method == http.MethodHead && asEvents {
		s.begin()
		return nil
	}
	if follows {
		return api.followLog(s, r, env, q)
	}
	all, err := api.readLog(r, env, q)
	if err != nil {
		return err
	}
	if asEvents {
		s.begin()
		sendPart(s, all)
		return nil
	}
	api.write(w, r, http.StatusOK, "application/json", all)
	return nil
}

// openLog counts a log that is read, until done is called, and refuses one too many.
func (api *releaseAPI) openLog(r *http.Request) (done func(), err error) {
	who, _ := CallerOf(r.Context())
	name := who.Authority + "/" + who.Name
	if !api.logStreams.open(name) {
		return nil, tooMany(eventRetry, "too many logs are being read")
	}
	return func() { api.logStreams.close(name) }, nil
}

// readLog reads the last lines.
func (api *releaseAPI) readLog(r *http.Request, env plan.Environment, q release.LogQuery) (release.ServiceLog, error) {
	ctx, stop := context.WithTimeout(r.Context(), logsReadWithin)
	defer stop()
	all, err := api.Logs.ServiceLog(ctx, env, q)
	if err != nil {
		return all, api.unread(r, err)
	}
	all.Pods, all.Lines = orEmpty(all.Pods), orEmpty(all.Lines)
	return all, nil
}

// followLog sends what comes until the stream's life, the server's or the client's patience ends. An error before
// anything has come is a Problem.
func (api *releaseAPI) followLog(s *EventStream, r *http.Request, env plan.Environment, q release.LogQuery) error {
	ctx, stop := context.WithTimeout(r.Context(), eventLife)
	parts, done := make(chan release.ServiceLog), make(chan error, 1)
	var following sync.WaitGroup
	defer following.Wait()
	defer stop()
	following.Go(func() {
		done <- api.Logs.FollowServiceLog(ctx, env, q, func(part release.ServiceLog) error {
			select {
			case parts <- part:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	})
	select {
	case err := <-done:
		if ctx.Err() != nil { // nobody is there to be told
			return nil
		}
		return api.unread(r, err)
	case <-Stopping(ctx):
		return NewProblem(http.StatusServiceUnavailable, "Unstuck is about to end; try again")
	case part := <-parts:
		s.begin()
		if !s.retry() || !sendPart(s, part) {
			return nil
		}
	}
	heartbeat := time.NewTicker(eventHeartbeat)
	defer heartbeat.Stop()
	for {
		sent := true
		select {
		case <-ctx.Done():
			return nil
		case <-Stopping(ctx):
			return nil
		case err := <-done: // the client comes again, and is told then
			api.log.Debug("log not followed on", "environment", env.Name, "service", q.Service, "error", err)
			return nil
		case part := <-parts:
			sent = sendPart(s, part)
			heartbeat.Reset(eventHeartbeat)
		case <-heartbeat.C:
			sent = s.Send(": still here\n\n")
		}
		if !sent {
			return nil
		}
	}
}

// sendPart sends a part of a log as events of the same form, each with so many lines. The ID is the time of the last
// line. False: they have gone away.
func sendPart(s *EventStream, all release.ServiceLog) bool {
	for first := true; first || len(all.Lines) > 0; first = false {
		n := min(len(all.Lines), linesAnEvent)
		one := release.ServiceLog{Pods: orEmpty(all.Pods), Lines: orEmpty(all.Lines[:n]), Cut: all.Cut}
		data, err := json.Marshal(one)
		if err != nil { // there is nothing in it that could not be encoded
			return false
		}
		id := ""
		if n > 0 {
			id = "id: " + all.Lines[n-1].At.UTC().Format(time.RFC3339Nano) + "\n"
		}
		if !s.Send(fmt.Sprintf("event: log\n%sdata: %s\n\n", id, data)) {
			return false
		}
		all.Pods, all.Cut, all.Lines = nil, false, all.Lines[n:]
	}
	return true
}

// logQueryOf reads what is asked for.
func logQueryOf(r *http.Request, now time.Time) (q release.LogQuery, follows bool, err error) {
	asked := r.URL.Query()
	q = release.LogQuery{Service: r.PathValue("service"), Container: asked.Get("container"), Lines: defaultLines}
	if q.Container != "" && !objectName.MatchString(q.Container) {
		return q, false, NewProblem(http.StatusBadRequest, "the container is %q: no container can be named so",
			Short(q.Container))
	}
	if text := asked.Get("lines"); text != "" {
		if q.Lines, err = strconv.Atoi(text); err != nil || q.Lines < 1 || q.Lines > maxLines {
			return q, false, NewProblem(http.StatusBadRequest, "the number of lines is %q: want one from 1 to %d", Short(text),
				maxLines)
		}
	}
	if q.After, err = sinceOf(asked.Get("since"), now); err != nil {
		return q, false, err
	}
	if follows, err = boolOf(asked, "follow"); err != nil {
		return q, false, err
	}
	if q.Previous, err = boolOf(asked, "previous"); err != nil {
		return q, false, err
	}
	if follows && q.Previous {
		return q, false, NewProblem(http.StatusBadRequest, "a previous run is over: it cannot be followed")
	}
	return q, follows, nil
}

func boolOf(asked url.Values, name string) (bool, error) {
	if !asked.Has(name) {
		return false, nil
	}
	yes, err := strconv.ParseBool(cmp.Or(asked.Get(name), "true"))
	if err != nil {
		return false, NewProblem(http.StatusBadRequest, "%s is %q: want true or false", name, Short(asked.Get(name)))
	}
	return yes, nil
}

func sinceOf(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 && d <= maxSince {
		return now.Add(-d), nil
	}
	return time.Time{}, NewProblem(http.StatusBadRequest,
		`since is %q: want a duration such as 10m, of at most 744h, or a time such as 2026-11-23T18:00:00Z`, Short(text))
}

// accepts says whether the request names that type among those it takes.
func accepts(r *http.Request, kind string) bool {
	for one := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		if got, params, err := mime.ParseMediaType(one); err == nil && got == kind && params["q"] != "0" {
			return true
		}
	}
	return false
}

// unread is the Problem of what could not be read of a service.
func (api *releaseAPI) unread(r *http.Request, err error) error {
	if refusal, ok := errors.AsType[*plan.Refusal](err); ok {
		return api.refusal(r, refusal)
	}
	if errors.Is(err, release.ErrNotFound) {
		return refused(http.StatusNotFound, plan.NotFound, "the service's Deployment does not exist", "")
	}
	if r.Context().Err() == nil {
		api.log.Warn("service not read", "path", Short(r.URL.Path), "request_id", RequestIDOf(r.Context()), "error", err)
	}
	return refused(http.StatusServiceUnavailable, plan.Unavailable,
		"its pods cannot be read now, and Unstuck's log says why", "ask again")
}
