package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
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
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Token{})); diff != "" {
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
			got, err := tokens.Authenticate(presented)
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
		_, err := tokens.Authenticate(token)
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
		_, err := tokens.Authenticate(token)
		wrong := (*Error)(nil)
		if !errors.As(err, &wrong) || wrong.File != path || strings.Contains(err.Error(), hash) {
			t.Errorf("with %q: %v", broken, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Authenticate(token); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
	tokensFile(t, path, map[string]string{"ci": hash}, "")
	if _, err := tokens.Authenticate(token); err != nil {
		t.Errorf("mended: %v", err)
	}
}

func TestTokensAuthenticateLooksAtNothingForWhatIsNoToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	token, hash := made(t, "ci")
	tokensFile(t, path, map[string]string{"ci": hash}, "")
	tokens, err := ReadTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil { // who looks at it now has an error
		t.Fatal(err)
	}
	last := token[len(token)-1:]
	for _, guess := range []string{
		"ci.0123456789abcdef", "ci." + strings.Repeat("a", 49), "nobody." + strings.Repeat("a", 49),
		strings.Replace(token, "ci.", "cd.", 1), token[:len(token)-1], token[:len(token)-1] + map[bool]string{true: "1", false: "0"}[last == "0"],
		"ci." + token[4:] + token[3:4], strings.ToLower(token), token + token, "ci" + token[3:],
	} {
		if _, err := tokens.Authenticate(guess); !errors.Is(err, ErrNoToken) {
			t.Errorf("%q: %v", guess, err)
		}
	}
	if _, err := tokens.Authenticate(token); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what is one: %v", err)
	}
}

// Guesses with a good checksum are hashed, and nothing else: a thousand of them, for a name that there is and for one
// that there is not, keep nobody waiting as long as a single slow hash would.
func TestTokensAuthenticateIsAsCheapForANameThatThereIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	_, hash := made(t, "ci")
	tokensFile(t, path, map[string]string{"ci": hash}, "")
	tokens, err := ReadTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	const many = 1000
	took := func(name string) time.Duration {
		text := name + "." + strings.Repeat("a", secretDigits)
		guess, began := text+checksumOf(text), time.Now()
		for range many {
			if _, err := tokens.Authenticate(guess); !errors.Is(err, ErrNoToken) {
				t.Fatalf("%q: %v", guess, err)
			}
		}
		return time.Since(began) / many
	}
	if there, nobody := took("ci"), took("xy"); there > 5*time.Millisecond || nobody > 5*time.Millisecond {
		t.Errorf("a guess took %s for a name that there is, and %s for one that there is not", there, nobody)
	}
}

func TestTokensAuthenticateGoesByTheNameToo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	token, hash := made(t, "ci")
	for _, names := range [][]string{{"ci", "copied"}, {"copied", "ci"}} {
		text := "tokens:\n"
		for _, name := range names {
			text += "  - {name: " + name + ", hash: \"" + hash + "\", rights: [{verbs: [deploy], environments: [staging]}]}\n"
		}
		write(t, path, text)
		tokens, err := ReadTokens(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tokens.Authenticate(token); err != nil || got.Name != "ci" {
			t.Errorf("%v: %q, %v", names, got.Name, err)
		}
	}
}

func TestNewTokenMakesWhatDocsSay(t *testing.T) {
	form := regexp.MustCompile(`^ci\.[0-9a-zA-Z]{49}$`)
	seen := make(map[string]bool)
	for range 200 {
		token, hash := made(t, "ci")
		sum := sha256.Sum256([]byte(token))
		if !form.MatchString(token) || !isToken(token) || seen[token] || hash != "sha256:"+hex.EncodeToString(sum[:]) {
			t.Fatalf("%q, %q", token, hash)
		}
		seen[token] = true
	}
	if got := checksumOf("123456789"); got != "3Jzrme" { // whose CRC-32 is cbf43926, as every book has it
		t.Errorf("the checksum is %q", got)
	}
	if _, _, err := NewToken("CI"); err == nil || !strings.Contains(err.Error(), `name a token "CI": want a name`) {
		t.Errorf("a name that cannot be: %v", err)
	}
}

func TestParseHashRefusesWhatIsNone(t *testing.T) {
	_, good := made(t, "ci")
	if _, ok := parseHash(good); !ok {
		t.Errorf("%q is refused", good)
	}
	for _, bad := range []string{
		"", "hunter2", good[:len(good)-1], good + "0", good + " ", strings.ToUpper(good), "sha256:" + strings.ToUpper(good[7:]) + "0",
		strings.Replace(good, "sha256:", "sha512:", 1), good[7:], good[:len(good)-1] + "g",
		"pbkdf2-sha256:100000:Lf3jjTKFrI2lAVpOMre5pw:h0LIk7LiQdL+Q8E9q0LKvPDSSZN1Q9xeiMg8wYV15vs",
	} {
		if _, ok := parseHash(bad); ok {
			t.Errorf("%q is taken", bad)
		}
	}
}
