// Drive drives an Unstuck by a client that was generated from its description: each operation once, and each refusal that
// the description has a type for. It prints nothing if all is as described.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"strings"

	"github.com/cjworkbench/unstuck/tools/openapi/client"
)

// wrong counts what is not as described.
var wrong int

func main() {
	server, caFile, commit, pause := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	operation, running, incident := os.Args[5], os.Args[6], os.Args[7]
	ctx := context.Background()
	ada := newClient(server, caFile, "ada")
	why := "it is a test"

	is(200)(ada.GetTargetsWithResponse(ctx, &client.GetTargetsParams{Limit: ptr(1)}))
	is(200)(ada.GetTargetsTargetWithResponse(ctx, "orders", nil))
	is(200)(ada.GetTargetsTargetNodesNodeWithResponse(ctx, "orders", "mq-1", nil))
	is(200)(ada.GetIncidentsWithResponse(ctx, nil))
	is(200)(ada.GetIncidentsIdWithResponse(ctx, incident, nil))
	is(200)(ada.GetPausesWithResponse(ctx, nil))
	is(200)(ada.GetPausesPauseWithResponse(ctx, pause, nil))
	is(200)(ada.GetEnvironmentsWithResponse(ctx, nil))
	is(200)(ada.GetEnvironmentsEnvWithResponse(ctx, "staging", nil))
	is(200)(ada.GetEnvironmentsEnvServicesServiceLogsWithResponse(ctx, "staging", "frontend", nil))
	is(200)(ada.GetEnvironmentsEnvServicesServiceEnvWithResponse(ctx, "staging", "frontend", nil))
	is(200)(ada.GetEnvironmentsEnvServicesServicePodsPodEnvWithResponse(ctx, "staging", "frontend", "frontend-7f-abcde", nil))
	is(200)(ada.GetOperationsIdWithResponse(ctx, operation, nil))
	is(200)(ada.GetOperationsIdEventsWithResponse(ctx, operation, nil))
	is(200)(ada.GetOpenapiJsonWithResponse(ctx, nil))

	is(202)(ada.PostEnvironmentsEnvDeploysWithResponse(ctx, "staging", nil, client.DeployBody{Commit: commit, Reason: why}))
	is(200)(ada.PostEnvironmentsEnvDeploysWithResponse(ctx, "staging", nil, client.DeployBody{Commit: commit, Reason: why, DryRun: ptr(true)}))
	is(202)(ada.PostEnvironmentsEnvPromotionsWithResponse(ctx, "production", nil, client.PromotionBody{Reason: why}))
	is(202)(ada.PostEnvironmentsEnvRevertsWithResponse(ctx, "staging", nil, client.RevertBody{Reason: why, AcceptMigrationRisk: ptr(true)}))
	is(202)(ada.PostEnvironmentsEnvServicesServiceRestartsWithResponse(ctx, "staging", "frontend", nil, client.RestartBody{Reason: why}))
	is(202)(ada.PostEnvironmentsEnvSecretsSecretRestartsWithResponse(ctx, "staging", "db", nil, client.RestartBody{Reason: why}))
	is(202)(ada.PostEnvironmentsEnvTasksTaskRunsWithResponse(ctx, "staging", "import-plans", nil, client.TaskBody{Reason: why}))
	is(202)(ada.PostOperationsIdCancelWithResponse(ctx, running, nil, client.CancelBody{Reason: why}))
	is(202)(ada.PostTargetsTargetNodesNodeProbesWithResponse(ctx, "orders", "mq-1", nil, client.ProbeBody{}))
	is(202)(ada.PostTargetsTargetNodesNodeDeletionsWithResponse(ctx, "orders", "mq-1", nil,
		client.DeletionBody{Reason: why, Override: &[]client.DeletionBodyOverride{"observe-only", "paused"}}))
	is(200)(ada.DeletePausesPauseWithResponse(ctx, pause, nil, client.ResumeBody{Reason: &why}))
	is(201)(ada.PostTargetsTargetPausesWithResponse(ctx, "orders", nil, client.PauseBody{Reason: why, For: ptr("1h")}))
	is(201)(ada.PostPausesWithResponse(ctx, nil, client.PauseBody{Reason: why, For: ptr("1h")}))
	is(200)(ada.DeleteTargetsTargetPausesWithResponse(ctx, "orders", nil, client.ResumeBody{Reason: &why}))
	is(200)(ada.DeletePausesWithResponse(ctx, nil, client.ResumeBody{Reason: &why}))
	everyPage(ctx, ada)

	is(400)(ada.GetOperationsWithResponse(ctx, &client.GetOperationsParams{Cursor: ptr("nonsense")}))
	is(401)(newClient(server, caFile, "eve").GetTargetsWithResponse(ctx, nil))
	is(403)(newClient(server, caFile, "bob").GetTargetsTargetWithResponse(ctx, "orders", nil))
	is(404)(ada.GetTargetsTargetWithResponse(ctx, "order", nil))
	is(413)(ada.PostPausesWithResponse(ctx, nil, client.PauseBody{Reason: strings.Repeat("x", 70_000)}))
	is(415)(ada.PostPausesWithBodyWithResponse(ctx, nil, "text/plain", strings.NewReader("now")))
	is(503)(newClient(server, caFile, "flaky").GetTargetsWithResponse(ctx, nil))
	held, err := ada.PostTargetsTargetNodesNodeDeletionsWithResponse(ctx, "orders", "mq-1", nil, client.DeletionBody{Reason: why})
	is(409)(held, err)
	if p := held.ApplicationproblemJSON409; p == nil || p.Closed == nil || len(*p.Closed) != 2 || (*p.Closed)[0].Guard != "observe-only" {
		report("the guards that hold the deletion back: %s", held.Body)
	}
	if wrong > 0 {
		os.Exit(1)
	}
}

// everyPage reads the operations one by one.
func everyPage(ctx context.Context, ada *client.ClientWithResponses) {
	seen := map[string]bool{}
	params := &client.GetOperationsParams{Limit: ptr(1)}
	for range 100 {
		page, err := ada.GetOperationsWithResponse(ctx, params)
		is(200)(page, err)
		for _, op := range page.JSON200.Operations {
			if seen[op.Id] {
				report("operation %s comes twice", op.Id)
			}
			seen[op.Id] = true
		}
		if page.JSON200.Next == nil {
			break
		}
		params.Cursor = page.JSON200.Next
	}
	if len(seen) < 3 {
		report("only %d operations on all pages", len(seen))
	}
}

func newClient(server, caFile, who string) *client.ClientWithResponses {
	pem, err := os.ReadFile(caFile)
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	by := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "unstuck"}}}
	c, err := client.NewClientWithResponses(server, client.WithHTTPClient(by),
		client.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
			r.Header.Set("Authorization", "Bearer token-of-"+who)
			return nil
		}))
	check(err)
	return c
}

// is gives what checks that an answer has that status, and that the client has read it into the type that the
// description has for it: a field JSON202, or ApplicationproblemJSON404.
func is(status int) func(answer any, err error) {
	return func(answer any, err error) {
		check(err)
		v := reflect.ValueOf(answer).Elem()
		what := v.Type().Name()
		got := v.FieldByName("HTTPResponse").Interface().(*http.Response)
		if got.StatusCode != status {
			report("%s: %d, want %d: %s", what, got.StatusCode, status, v.FieldByName("Body").Bytes())
			return
		}
		if got.Header.Get("Content-Type") == "text/event-stream" {
			return
		}
		typed := v.FieldByName(fmt.Sprintf("JSON%d", status))
		if status >= 400 {
			typed = v.FieldByName(fmt.Sprintf("ApplicationproblemJSON%d", status))
			if typed.IsValid() && !typed.IsNil() && (typed.Elem().FieldByName("Detail").String() == "" || typed.Elem().FieldByName("Status").Int() != int64(status)) {
				report("%s: %d, and the problem is %s", what, status, v.FieldByName("Body").Bytes())
			}
		}
		if !typed.IsValid() || typed.IsNil() {
			report("%s: %d has no type of its own: %s", what, status, v.FieldByName("Body").Bytes())
		}
	}
}

func ptr[T any](v T) *T { return &v }

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func report(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	wrong++
}
