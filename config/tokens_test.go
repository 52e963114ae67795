package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/auth"
)

func TestTokenMayDoWhatItsRightsSayAndNothingElse(t *testing.T) {
	ci := Token{Rights: []Right{{Verbs: []auth.Verb{auth.Deploy}, Environments: []string{"staging"}}}}
	oncall := Token{Rights: []Right{
		{Verbs: []auth.Verb{auth.Deploy, auth.RunTask, auth.Read}, Environments: []string{Any}},
		{Verbs: []auth.Verb{auth.Delete, auth.Read}, Targets: []string{"rabbitmq"}},
	}}
	all := Token{Rights: []Right{{Verbs: auth.Verbs(), Environments: []string{Any}, Targets: []string{Any}}}}
	for _, c := range []struct {
		who                 string
		token               Token
		verb                auth.Verb
		environment, broker string
		want                bool
	}{
		{"ci", ci, auth.Deploy, "staging", "", true},
		{"ci", ci, auth.Deploy, "production", "", false},
		{"ci", ci, auth.Revert, "staging", "", false},
		{"ci", ci, auth.Read, "staging", "", true},
		{"ci", ci, auth.Read, "production", "", false},
		{"ci", ci, auth.Read, "", "rabbitmq", false},
		{"ci", ci, auth.Delete, "", "rabbitmq", false},
		{"oncall", oncall, auth.Deploy, "production", "", true},
		{"oncall", oncall, auth.RunTask, "staging", "", true},
		{"oncall", oncall, auth.Restart, "staging", "", false},
		{"oncall", oncall, auth.Read, "", "rabbitmq", true},
		{"oncall", oncall, auth.Read, "", "other", false},
		{"oncall", oncall, auth.Delete, "", "rabbitmq", true},
		{"oncall", oncall, auth.Delete, "", "", false},
		{"oncall", oncall, auth.Delete, "staging", "", false},
		{"all", all, auth.Pause, "", "", true},
		{"all", all, auth.Pause, "", "any", true},
		{"all", all, auth.Deploy, "any", "", true},
		{"all", all, auth.Deploy, "", "", false},
		{"all", all, auth.Deploy, "", "rabbitmq", false},
		{"all", all, "fly", "staging", "", false},
		{"nobody", Token{}, auth.Read, "", "", false},
	} {
		if got := c.token.May(c.verb, c.environment, c.broker); got != c.want {
			t.Errorf("%s may %s environment %q, broker %q: %v, want %v", c.who, c.verb, c.environment, c.broker, got, c.want)
		}
	}
}

func TestReadTokensTakesTheFile(t *testing.T) {
	tokens, err := ReadTokens("testdata/tokens.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := tokens.Find("oncall")
	if err != nil {
		t.Fatal(err)
	}
	got.hash = tokenHash{}
	want := Token{Name: "oncall", Expires: time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC), Rights: []Right{
		{Verbs: []auth.Verb{"deploy", "promote", "revert", "restart", "task", "read"}, Environments: []string{"*"}},
		{Verbs: []auth.Verb{"pause", "delete", "probe", "read"}, Targets: []string{"rabbitmq", "frontend"}},
	}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Token{}, tokenHash{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// tokensFile writes a file of tokens that all may deploy to staging; lines come after the hash of the last one.
func tokensFile(t *testing.T, path string, hashes map[string]string, lines string) {
	t.Helper()
	text := "tokens:\n"
	for name, hash := range hashes {
		text += "  - name: " + name + "\n    rights: [{verbs: [deploy], environments: [staging]}]\n    hash: " + hash + "\n" + lines
	}
	write(t, path, text)
}

func made(t *testing.T, name string) (token, hash string) {
	t.Helper()
	token, hash, err := NewToken(name)
	if err != nil {
		t.Fatal(err)
	}
	return token, hash
}

func TestTokensAuthenticateKnowsATokenByItsWholeTextOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	token, hash := made(t, "ci")
	other, otherHash := made(t, "other")
	tokensFile(t, path, map[string]string{"ci": hash, "other": otherHash}, "")
	tokens, err := ReadTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	_, secret, _ := strings.Cut(token, ".")
	for presented, want := range map[string]string{
		token: "ci", other: "other",
		"": "", "ci": "", "ci.": "", secret: "", "." + secret: "", "other." + secret: "", "CI." + secret: "", token + "x": "", token + " ": "", hash: "",
		"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln": "",
	} {
		for range 2 { // the second time it may be remembered
			got, err := tokens.Authenticate(t.Context(), presented)
			if got.Name != want || (want == "") != errors.Is(err, ErrNoToken) || (want != "" && err != nil) {
				t.Errorf("%q is that of %q, error %v; want %q", presented, got.Name, err, want)
			}
			if err != nil && presented != "" && strings.Contains(err.Error(), presented) {
				t.Errorf("the error repeats the token: %v", err)
			}
		}
	}
}

func TestTokensAuthenticateRefusesATokenThatIsTakenOutAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	token, hash := made(t, "ci")
	exchanged, newHash := made(t, "ci")
	_, otherHash := made(t, "other")
	tokensFile(t, path, map[string]string{"ci": hash}, "")
	tokens, err := ReadTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	authenticate := func(token string) error {
		t.Helper()
		_, err := tokens.Authenticate(t.Context(), token)
		return err
	}
	if err := authenticate(token); err != nil {
		t.Fatal(err)
	}
	tokensFile(t, path, map[string]string{"ci": newHash}, "")
	if old, fresh := authenticate(token), authenticate(exchanged); !errors.Is(old, ErrNoToken) || fresh != nil {
		t.Errorf("exchanged: the old one %v, the new one %v", old, fresh)
	}
	tokensFile(t, path, map[string]string{"other": otherHash}, "")
	if err := authenticate(exchanged); !errors.Is(err, ErrNoToken) {
		t.Errorf("taken out: %v", err)
	}
	tokensFile(t, path, map[string]string{"ci": newHash}, "    expires: 2020-01-01T00:00:00Z\n")
	if err := authenticate(exchanged); !errors.Is(err, ErrNoToken) {
		t.Errorf("expired: %v", err)
	}
	tokensFile(t, path, map[string]string{"ci": newHash}, "    expires: 2999-01-01T00:00:00Z\n")
	if err := authenticate(exchanged); err != nil {
		t.Errorf("not expired yet: %v", err)
	}
}

func TestTokensAuthenticateLetsNobodyInWhileTheFileIsAtFault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	token, hash := made(t, "ci")
	tokensFile(t, path, map[string]string{"ci": hash}, "")
	tokens, err := ReadTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range []string{"", "tokens: []", "tokens: [{name: ci, hash: " + hash + "x}]", "{"} {
		write(t, path, broken)
		_, err := tokens.Authenticate(t.Context(), token)
		wrong := (*Error)(nil)
		if !errors.As(err, &wrong) || wrong.File != path || strings.Contains(err.Error(), hash) {
			t.Errorf("with %q: %v", broken, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Authenticate(t.Context(), token); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
	tokensFile(t, path, map[string]string{"ci": hash}, "")
	if _, err := tokens.Authenticate(t.Context(), token); err != nil {
		t.Errorf("mended: %v", err)
	}
}

func TestTokensAuthenticateHoldsUpThoseWhoGuessAndNotTheKnown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	token, hash := made(t, "ci")
	tokensFile(t, path, map[string]string{"ci": hash}, "")
	tokens, err := ReadTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Authenticate(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	tokens.deriving <- struct{}{} // somebody guesses
	ctx, cancel := context.WithCancel(t.Context())
	var guess error
	var guessing sync.WaitGroup
	guessing.Go(func() { _, guess = tokens.Authenticate(ctx, "ci.guess") })
	if _, err := tokens.Authenticate(t.Context(), token); err != nil {
		t.Errorf("who is known: %v", err)
	}
	cancel()
	guessing.Wait()
	if !errors.Is(guess, context.Canceled) || strings.Contains(guess.Error(), "ci.guess") {
		t.Errorf("who guesses: %v", guess)
	}
}

func TestParseHashRefusesWhatIsTooWeakOrTooMuchWork(t *testing.T) {
	_, good := made(t, "ci")
	parts := strings.Split(good, ":")
	with := func(i int, text string) string {
		changed := slices.Clone(parts)
		changed[i] = text
		return strings.Join(changed, ":")
	}
	if _, ok := parseHash(good); !ok {
		t.Errorf("%q is refused", good)
	}
	for _, bad := range []string{
		"", "hunter2", with(0, "sha256"), with(1, "9999"), with(1, "1000001"), with(1, "-100000"), with(1, "x"),
		with(2, ""), with(2, "c2hvcnQ"), with(2, parts[2]+"="), with(3, ""), with(3, parts[3][:20]), good + ":",
	} {
		if _, ok := parseHash(bad); ok {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, _, err := NewToken("CI"); err == nil || !strings.Contains(err.Error(), `name a token "CI": want a name`) {
		t.Errorf("a name that cannot be: %v", err)
	}
	if again, _ := made(t, "ci"); strings.Contains(good, strings.TrimPrefix(again, "ci.")) {
		t.Error("two tokens are the same")
	}
}
