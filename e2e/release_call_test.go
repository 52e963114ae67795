package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/release/plan"
)

// caller is somebody who calls the API.
type caller struct {
	*installation

	t     *testing.T
	token string
	key   string // of idempotency
}

// ask sends a request and reads the answer into v, or gives the problem that is the answer.
func (c caller) ask(method, path string, body, v any) *httpapi.Problem {
	c.t.Helper()
	response := c.send(within(c.t, 80*time.Second), method, path, body)
	defer response.Body.Close()
	var problem *httpapi.Problem
	if response.StatusCode >= http.StatusBadRequest {
		problem = new(httpapi.Problem)
		v = problem
	}
	if v == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(v); err != nil {
		c.t.Fatalf("%s %s: %s: %v", method, path, response.Status, err)
	}
	return problem
}

func (c caller) send(ctx context.Context, method, path string, body any) *http.Response {
	c.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	if body == nil {
		data = nil
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://unstuck"+path, bytes.NewReader(data))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.key != "" {
		request.Header.Set("Idempotency-Key", c.key)
	}
	response, err := c.client.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	return response
}

// body is that of a request for an operation.
type body map[string]any

// submit has a request taken on.
func (c caller) submit(path string, b body) plan.Operation {
	c.t.Helper()
	var op plan.Operation
	if p := c.ask(http.MethodPost, path, b, &op); p != nil {
		c.t.Fatalf("POST %s: %d %s: %s", path, p.Status, p.Code, p.Detail)
	}
	return op
}

// refused wants a request to be refused.
func (c caller) refused(path string, b body, status int, code plan.Code, words ...string) httpapi.Problem {
	c.t.Helper()
	var op plan.Operation
	p := c.ask(http.MethodPost, path, b, &op)
	if p == nil {
		c.t.Fatalf("POST %s was taken on as %s", path, op.ID)
	}
	if p.Status != status || p.Code != code {
		c.t.Errorf("POST %s: %d %q: %s; want %d %q", path, p.Status, p.Code, p.Detail, status, code)
	}
	for _, w := range words {
		if !strings.Contains(p.Detail+p.Hint, w) {
			c.t.Errorf("POST %s: %q does not say %q", path, p.Detail, w)
		}
	}
	return *p
}

// follow reads an operation's events, from whichever replica answers, until stop says so or the operation is over.
func (c caller) follow(id string, d time.Duration, stop func(plan.Operation) bool) plan.Operation {
	c.t.Helper()
	ctx := within(c.t, d)
	var op plan.Operation
	for !op.Phase.Over() {
		if ctx.Err() != nil {
			c.t.Fatalf("%s is not over after %v: %s", id, d, told(op))
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://unstuck/api/v1/operations/"+id+"/events", nil)
		if err != nil {
			c.t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+c.token)
		response, err := c.client.Do(request)
		if err != nil { // a replica that was killed
			pause(ctx, 200*time.Millisecond)
			continue
		}
		stopped := c.events(response, &op, stop)
		_ = response.Body.Close()
		if stopped {
			return op
		}
		pause(ctx, 200*time.Millisecond)
	}
	return op
}

// events reads a stream of events to its end, or until stop says so.
func (c caller) events(response *http.Response, op *plan.Operation, stop func(plan.Operation) bool) bool {
	if response.StatusCode != http.StatusOK {
		c.t.Logf("events: %s", response.Status)
		return false
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 2*plan.MaxOperationBytes)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var next plan.Operation
		if err := json.Unmarshal([]byte(data), &next); err != nil {
			c.t.Fatalf("an event is no operation: %v", err)
		}
		*op = next
		if stop != nil && stop(next) {
			return true
		}
	}
	return false
}

// over waits until an operation is over and wants it to end in a phase.
func (c caller) over(id string, phase plan.Phase) plan.Operation {
	c.t.Helper()
	op := c.follow(id, 4*time.Minute, nil)
	if op.Phase != phase {
		c.t.Fatalf("want %s, got %s", phase, told(op))
	}
	c.t.Logf("%s: %s after %v", op.Request, op.Phase, op.Ended.Sub(op.Created).Round(100*time.Millisecond))
	return op
}

// told says what became of an operation.
func told(op plan.Operation) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s): %s: %s", op.ID, op.Request, op.Phase, op.Outcome)
	for _, s := range slices.Concat(op.Steps, op.Rollback) {
		fmt.Fprintf(&b, "\n  %s: %s: %s", s.ID, s.Phase, s.Detail)
	}
	return b.String()
}

// step gives one of an operation's steps.
func step(t *testing.T, op plan.Operation, id string) plan.StepRun {
	t.Helper()
	i := slices.IndexFunc(op.Steps, func(s plan.StepRun) bool { return s.ID == id })
	if i < 0 {
		t.Fatalf("%s has no step %q", told(op), id)
	}
	return op.Steps[i]
}
