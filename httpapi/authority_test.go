package httpapi_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

// askFrom has somebody read from an address, and gives the status.
func (s *site) askFrom(address, who string) int {
	r := apitest.Request(who, "GET", "/api/v1/targets", "")
	r.RemoteAddr = address + ":1"
	return s.ask(r).Code
}

// flood sends guesses from an address until no more are looked up.
func (s *site) flood(t *testing.T, address string) {
	t.Helper()
	for i := range httpapi.BadAddress.Burst {
		s.askFrom(address, fmt.Sprint("guess", i))
	}
	if code := s.askFrom(address, "one-more"); code != 429 {
		t.Fatalf("after %d guesses: %d", httpapi.BadAddress.Burst, code)
	}
}

// local is an authority that has the tokens itself.
type local struct{ apitest.Tokens }

func (l local) Recall(token string) (auth.Caller, bool) {
	who, err := l.Authenticate(context.Background(), token)
	return who, err == nil
}

func TestGateLetsTheKnownPassWhileStrangersGuessFromTheirAddress(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		s := newSite()
		if code := s.askFrom("10.0.0.1", "ada"); code != 200 {
			t.Fatal(code)
		}
		s.flood(t, "10.0.0.1")
		for range 2 * httpapi.BadAddress.Burst {
			if code := s.askFrom("10.0.0.1", "ada"); code != 200 {
				t.Fatalf("ada, who is known: %d", code)
			}
			if code := s.askFrom("10.0.0.1", "bad"); code != 429 {
				t.Fatalf("a guess: %d, want that who is known gives strangers no room", code)
			}
		}
		if code := s.askFrom("10.0.0.1", "bob"); code != 429 {
			t.Errorf("bob, of whom nobody knows yet: %d", code)
		}
		if code := s.askFrom("10.0.0.2", "bob"); code != 200 {
			t.Errorf("bob from elsewhere: %d", code)
		}
		if code := s.askFrom("10.0.0.1", "bob"); code != 200 {
			t.Errorf("bob, who is known from elsewhere: %d", code)
		}
	})
}

func TestGateLetsWhoCanBeToldAtOncePassFromTheFirstRequest(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		s := newSite()
		slow := &slowIdentity{let: make(chan struct{})}
		file := local{apitest.Tokens{"ada": {{Verbs: auth.Verbs(), Environments: "*", Brokers: "*"}}}}
		callers := auth.Authorities{{Name: "tokens", Identity: file, Access: file}, {Name: "slow", Identity: slow, Access: file}}
		s.Identity, s.Access = callers, callers
		s.build()
		for i := range 2 * httpapi.MaxLookups { // strangers have every place
			go s.askFrom(fmt.Sprintf("10.0.0.%d", i), "stranger")
		}
		synctest.Wait()
		if code := s.askFrom("10.0.0.1", "ada"); code != 200 {
			t.Errorf("ada, for the first time: %d", code)
		}
		close(slow.let)
		synctest.Wait()
		s.flood(t, "10.0.0.1")
		if code := s.askFrom("10.0.0.1", "ada"); code != 200 {
			t.Errorf("ada, from where strangers guess: %d", code)
		}
	})
}

// countingIdentity takes its time to tell that it knows a token.
type countingIdentity struct {
	slowIdentity
	apitest.Tokens
}

func (i *countingIdentity) Authenticate(ctx context.Context, token string) (auth.Caller, error) {
	_, _ = i.slowIdentity.Authenticate(ctx, token)
	return i.Tokens.Authenticate(ctx, token)
}

func TestGateLooksUpOnceATokenThatComesInManyRequestsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		slow := &countingIdentity{slowIdentity{let: make(chan struct{})}, apitest.Tokens{"ada": nil}}
		s.Identity = slow
		s.build()
		codes := make(chan int)
		const many = 10 * httpapi.MaxLookups
		for range many {
			go func() { codes <- s.askFrom("10.0.0.1", "ada") }()
		}
		synctest.Wait()
		close(slow.let)
		for range many {
			if code := <-codes; code != 200 {
				t.Errorf("%d", code)
			}
		}
		if n := slow.asked.Load(); n != 1 {
			t.Errorf("the token was looked up %d times", n)
		}
	})
}

func TestGateForgetsAKnownTokenThatWasTakenBack(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		s := newSite()
		tokens := apitest.Tokens{"ada": nil}
		s.Identity, s.Access = tokens, tokens
		s.build()
		if code := s.askFrom("10.0.0.1", "ada"); code != 200 {
			t.Fatal(code)
		}
		delete(tokens, "ada")
		var limited int
		for range httpapi.BadToken.Burst + 5 {
			switch code := s.askFrom("10.0.0.1", "ada"); code {
			case 429:
				limited++
			case 401:
			default:
				t.Fatal(code)
			}
		}
		if limited != 4 { // the first was still known, and is not counted as a guess
			t.Errorf("%d requests with a token that was taken back were limited", limited)
		}
	})
}

// slowAccess takes its time to tell what a caller may do.
type slowAccess struct {
	apitest.Tokens

	asked atomic.Int32
	let   chan struct{}
}

func (a *slowAccess) Allowed(ctx context.Context, who auth.Caller, action auth.Action) (auth.Grant, error) {
	a.asked.Add(1)
	<-a.let
	return a.Tokens.Allowed(ctx, who, action)
}

func TestGateAsksFewQuestionsAtOnceAboutOneCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		slow := &slowAccess{Tokens: apitest.Tokens{"ada": {{Verbs: auth.Verbs(), Environments: "*", Brokers: "*"}}, "bob": nil}, let: make(chan struct{})}
		s.Identity, s.Access = slow, slow
		s.build()
		codes := make(chan int, 10*httpapi.MaxQuestionsEach)
		for range cap(codes) {
			go func() { codes <- s.askFrom("10.0.0.1", "bob") }()
		}
		synctest.Wait()
		if n := int(slow.asked.Load()); n != httpapi.MaxQuestionsEach || len(codes) != 9*httpapi.MaxQuestionsEach {
			t.Errorf("%d questions about bob wait at once, and %d are answered at once", n, len(codes))
		}
		ada := make(chan int)
		go func() { ada <- s.askFrom("10.0.0.2", "ada") }()
		synctest.Wait()
		if n := int(slow.asked.Load()); n != httpapi.MaxQuestionsEach+1 {
			t.Errorf("%d questions in all: the one about ada has no place", n)
		}
		close(slow.let)
		if code := <-ada; code != 200 {
			t.Errorf("ada: %d", code)
		}
		for range cap(codes) {
			if code := <-codes; code != 503 && code != 200 {
				t.Errorf("bob: %d", code)
			}
		}
	})
}
