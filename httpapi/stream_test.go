package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

func TestStreamsGiveWhoHasFewThePlaceOfWhoHasMost(t *testing.T) {
	s := newStreams()
	ended := make(map[string]int)
	open := func(who string) (one *openStream, ok bool) {
		return s.open(who, func() { ended[who]++ })
	}
	var last *openStream
	for i := range maxStreams / maxStreamsEach {
		for range maxStreamsEach {
			one, ok := open(fmt.Sprint(i))
			if !ok {
				t.Fatalf("after %d streams one more is refused", s.all)
			}
			last = one
		}
		if _, ok := open(fmt.Sprint(i)); ok {
			t.Errorf("%d has more than each may have", i)
		}
	}
	for range maxStreamsEach - 1 { // until all have the same
		if _, ok := open("ada"); !ok {
			t.Fatalf("ada, who has %d, is refused while others have %d", len(s.of["ada"]), maxStreamsEach)
		}
	}
	if _, ok := open("ada"); ok || ended["ada"] > 0 {
		t.Error("ada takes the place of who has no more than she")
	}
	total := 0
	for _, n := range ended {
		total += n
	}
	if total != maxStreamsEach-1 || s.all != maxStreams {
		t.Errorf("%d streams were ended, and %d are open", total, s.all)
	}
	who := fmt.Sprint(maxStreams/maxStreamsEach - 1)
	before := s.all
	s.close(who, last)
	s.close(who, last)
	if s.all != before-1 {
		t.Errorf("of %d streams %d are left after one was closed twice", before, s.all)
	}
}

func TestStreamsOfPagesTakeNoneFromOperations(t *testing.T) {
	g := newGate(fixture())
	for i := range maxStreams {
		if _, ok := g.pageStreams.open(fmt.Sprint(i), func() {}); !ok {
			t.Fatal("refused")
		}
	}
	s := newSite()
	api := New(s.Options)
	api.pageStreams = g.pageStreams
	s.handler = api.Handler(nil)
	op := apitest.Finished()
	if w := s.ask(apitest.Request("ada", "GET", "/api/v1/operations/"+op.ID+"/events", "")); w.Code != 200 {
		t.Errorf("the events of an operation: %d %s", w.Code, w.Body)
	}
	err := api.PageStream(nil, apitest.Request("", "GET", "/", ""), func(context.Context, *EventStream) {})
	if p, ok := errors.AsType[*Problem](err); !ok || p.Status != http.StatusTooManyRequests {
		t.Errorf("one more page: %v", err)
	}
}

func TestAPIMaySeeSomethingRefusesWhoMayReadNothing(t *testing.T) {
	for who, want := range map[string]int{"ada": 0, "ci": 0, "bob": 403} {
		api := New(newSite().Options)
		r, err := api.Authenticate(apitest.Request(who, "GET", "/", ""))
		if err != nil {
			t.Fatal(err)
		}
		err = api.MaySeeSomething(r.Context())
		if p, ok := errors.AsType[*Problem](err); ok != (want > 0) || (ok && p.Status != want) {
			t.Errorf("%s: %v, want %d", who, err, want)
		}
	}
	if err := New(fixture()).MaySeeSomething(t.Context()); err != nil {
		t.Errorf("where nobody is asked who they are: %v", err)
	}
}
