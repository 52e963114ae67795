package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

func TestStreamsOfPagesTakeNoneFromOperations(t *testing.T) {
	s := newSite()
	api := s.api()
	if !api.FillPageStreams(func(i int) string { return fmt.Sprint(i) }) {
		t.Fatal("refused")
	}
	s.handler = api.Handler(nil)
	op := apitest.Finished()
	if w := s.ask(apitest.Request("ada", "GET", "/api/v1/operations/"+op.ID+"/events", "")); w.Code != 200 {
		t.Errorf("the events of an operation: %d %s", w.Code, w.Body)
	}
	err := api.PageStream(nil, apitest.Request("", "GET", "/", ""), func(context.Context, *httpapi.EventStream) {})
	if p, ok := errors.AsType[*httpapi.Problem](err); !ok || p.Status != http.StatusTooManyRequests {
		t.Errorf("one more page: %v", err)
	}
}

func TestAPIMaySeeSomethingRefusesWhoMayReadNothing(t *testing.T) {
	for who, want := range map[string]int{"ada": 0, "ci": 0, "bob": 403} {
		api := newSite().api()
		r, err := api.Authenticate(apitest.Request(who, "GET", "/", ""))
		if err != nil {
			t.Fatal(err)
		}
		err = api.MaySeeSomething(r.Context())
		if p, ok := errors.AsType[*httpapi.Problem](err); ok != (want > 0) || (ok && p.Status != want) {
			t.Errorf("%s: %v, want %d", who, err, want)
		}
	}
	if err := fixture().api().MaySeeSomething(t.Context()); err != nil {
		t.Errorf("where nobody is asked who they are: %v", err)
	}
}
