package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/version"
)

// The bounds of a request to a server of Unstuck. Its own for a change is 70 s.
const (
	readLimit   = 40 * time.Second
	changeLimit = 90 * time.Second
	maxAnswer   = 64 << 20
	maxWait     = 20 * time.Second // for a server that asks us to come again later
)

// client asks a server of Unstuck. docs/api.md is what it speaks.
type client struct {
	base  string // without a slash at its end
	token func(context.Context) (string, error)
	// tokenless says that the kubeconfig's user has no token to send
	tokenless bool
	http      *http.Client
	backoff   []time.Duration // before each further try
	close     func()
}

// apiPath puts together a path under /api/v1 of parts that may hold anything.
func apiPath(parts ...string) string {
	escaped := []string{"/api/v1"}
	for _, p := range parts {
		escaped = append(escaped, url.PathEscape(p))
	}
	return strings.Join(escaped, "/")
}

// send makes one request, more than once if need be, and gives the answer as it came. A body makes it a change. Only
// what may be sent twice is: a GET, a change with a key of idempotency, and what the server had no time for. An error
// is a *httpapi.Problem where the server said what is wrong.
func (c *client) send(ctx context.Context, method, path string, body any, key string) (json.RawMessage, error) {
	limit := changeLimit
	if method == http.MethodGet {
		limit = readLimit
	}
	for try := 0; ; try++ {
		once, stop := context.WithTimeout(ctx, limit)
		answer, err := c.once(once, method, path, body, key)
		stop()
		if err == nil || ctx.Err() != nil || try >= len(c.backoff) || !again(err, method == http.MethodGet || key != "") {
			return answer, err
		}
		wait := c.backoff[try]
		if p, ok := errors.AsType[*httpapi.Problem](err); ok && p.RetryAfter > 0 {
			wait = max(wait, time.Duration(p.RetryAfter)*time.Second)
		}
		if wait > maxWait || !waitFor(ctx, wait) {
			return nil, err
		}
	}
}

// again says whether it is worth another try, of a request that may be sent twice or may not.
func again(err error, twice bool) bool {
	p, answered := errors.AsType[*httpapi.Problem](err)
	switch {
	case errors.Is(err, errOurs):
		return false
	case !answered:
		return twice
	case p.Status == http.StatusTooManyRequests: // nothing was done
		return true
	}
	return twice &&
		(p.Status == http.StatusBadGateway || p.Status == http.StatusServiceUnavailable ||
			p.Status == http.StatusGatewayTimeout)
}

// errOurs marks what was wrong before anything was sent.
var errOurs = errors.New("nothing was asked")

func (c *client) once(ctx context.Context, method, path string, body any, key string) (json.RawMessage, error) {
	var data io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w: %w", err, errOurs)
		}
		data = bytes.NewReader(text)
	}
	r, err := c.request(ctx, method, path, data)
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, unreached(ctx, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the server's answer: %w", err)
	case len(text) > maxAnswer:
		return nil, fmt.Errorf("the server's answer is larger than %d MiB", maxAnswer>>20)
	case answer.StatusCode >= 300:
		return nil, &requestError{path, problemOf(answer, text)}
	case !json.Valid(text):
		return nil, &httpapi.Problem{
			Status: http.StatusInternalServerError,
			Detail: fmt.Sprintf("the server's answer to %s is no JSON: is the address that of Unstuck's API?", path),
		}
	}
	return text, nil
}

// request makes a request with the caller's token.
func (c *client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errOurs)
	}
	token, err := c.token(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errOurs)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.Header.Set("User-Agent", "unstuck/"+version.Current().Version)
	return r, nil
}

// unreached is why no answer came, without the words of net/http around it, which would tell the address twice.
func unreached(ctx context.Context, err error) error {
	if told, ok := errors.AsType[*url.Error](err); ok {
		err = told.Err
	}
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return errors.New("the server did not answer in time")
	}
	return fmt.Errorf("the server cannot be reached (it is given by --server or $%s, or else found in the cluster): %w",
		serverVariable, err)
}

// requestError is what the server says is wrong with a request for a path.
type requestError struct {
	path string
	*httpapi.Problem
}

func (e *requestError) Unwrap() error { return e.Problem }

// problemOf reads what the server, or whatever answers in its place, says is wrong.
func problemOf(answer *http.Response, text []byte) *httpapi.Problem {
	var p httpapi.Problem
	if strings.HasPrefix(answer.Header.Get("Content-Type"), "application/problem+json") &&
		json.Unmarshal(text, &p) == nil && p.Detail != "" {
		p.Status = answer.StatusCode
		return &p
	}
	detail := fmt.Sprintf("the answer is %d %s, and not in Unstuck's words: is the address that of its API?",
		answer.StatusCode, http.StatusText(answer.StatusCode))
	if answer.StatusCode < 400 {
		detail = fmt.Sprintf("the answer is a redirection (%d), which the token does not follow: give the address that it "+
			"leads to", answer.StatusCode)
	}
	return &httpapi.Problem{Status: answer.StatusCode, Detail: detail}
}

// get asks for something and reads it. The raw answer is what -o json shows.
func get[T any](ctx context.Context, c *client, path string) (v T, raw json.RawMessage, err error) {
	if raw, err = c.send(ctx, http.MethodGet, path, nil, ""); err != nil {
		return v, nil, err
	}
	return decoded[T](raw)
}

// list asks for a list, page by page, until there is no more or there are so many; 0: all. The list has that name in
// the answer. What it gives is one answer that has them all.
func list[T any](ctx context.Context, c *client, path string, query url.Values, name string, most int,
) (v T, raw json.RawMessage, err error) {
	var whole map[string]json.RawMessage
	var all []json.RawMessage
	query = maps.Clone(query)
	if query == nil {
		query = make(url.Values)
	}
	for {
		if left := most - len(all); most > 0 {
			query.Set("limit", strconv.Itoa(min(left, httpapi.MaxLimit)))
		}
		if whole, raw, err = get[map[string]json.RawMessage](ctx, c, withQuery(path, query)); err != nil {
			return v, nil, err
		}
		page, _, err := decoded[[]json.RawMessage](whole[name])
		if err != nil {
			return v, nil, err
		}
		next := ""
		if whole["next"] != nil {
			if next, _, err = decoded[string](whole["next"]); err != nil {
				return v, nil, err
			}
		}
		all = append(all, page...)
		if next == "" || len(page) == 0 || (most > 0 && len(all) >= most) {
			break
		}
		query.Set("cursor", next)
	}
	if most == 0 && query.Has("cursor") { // the last answer has the last page alone
		delete(whole, "next")
	}
	if query.Has("cursor") {
		if whole[name], err = json.Marshal(all); err != nil {
			return v, nil, fmt.Errorf("put the pages together: %w", err)
		}
		if raw, err = json.Marshal(whole); err != nil {
			return v, nil, fmt.Errorf("put the pages together: %w", err)
		}
	}
	return decoded[T](raw)
}

func withQuery(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// post has something done and reads the answer; with a key, it is the same thing however often it is sent.
func post[T any](ctx context.Context, c *client, path string, body any,
	key string,
) (v T, raw json.RawMessage, err error) {
	if raw, err = c.send(ctx, http.MethodPost, path, body, key); err != nil {
		return v, nil, err
	}
	return decoded[T](raw)
}

func decoded[T any](raw json.RawMessage) (v T, _ json.RawMessage, err error) {
	if err := json.Unmarshal(raw, &v); err != nil {
		return v, raw, fmt.Errorf("read the server's answer: %w: is it of another version than this command (%s)?", err,
			version.Current().Version)
	}
	return v, raw, nil
}

// uncertain says of the error of a change that it may have been made all the same.
func uncertain(err error) bool {
	p, answered := errors.AsType[*httpapi.Problem](err)
	return !errors.Is(err, errOurs) && (!answered || p.Status >= http.StatusInternalServerError)
}

// missing says whether the server does not have what was asked for, or does not serve it at all.
func missing(err error) bool {
	p, ok := errors.AsType[*httpapi.Problem](err)
	return ok && p.Status == http.StatusNotFound
}

// waitFor waits; false if the context ended first.
func waitFor(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
