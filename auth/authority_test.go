package auth

import (
	"context"
	"testing"
)

// recalling is an authority that knows one token by heart.
type recalling struct {
	nobodys
	token, whose string
}

func (r recalling) Recall(token string) (Caller, bool) {
	return Caller{Name: r.whose, Authority: "a lie"}, token == r.token
}

// asking must not be asked.
type asking struct {
	t *testing.T
	nobodys
}

func (a asking) Authenticate(context.Context, string) (Caller, error) {
	a.t.Error("somebody is asked whose token it is")
	return Caller{}, ErrUnknownToken
}

func TestAuthoritiesRecallWhatOneOfThemKnowsAndAskNobody(t *testing.T) {
	file, nameless := recalling{token: "t", whose: "ada"}, recalling{token: "n"}
	slow := asking{t: t}
	all := Authorities{{"nameless", nameless, nameless}, {"cluster", slow, slow}, {"tokens", file, file}}
	if who, ok := all.Recall("t"); !ok || who.Name != "ada" || who.Authority != "tokens" {
		t.Errorf("%+v, %t", who, ok)
	}
	for _, token := range []string{"x", "n", ""} {
		if who, ok := all.Recall(token); ok || who.Name != "" {
			t.Errorf("%q: %+v", token, who)
		}
	}
}
