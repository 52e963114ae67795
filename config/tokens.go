package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/auth"
)

// Any stands for every environment, or every broker and application, those that come later included.
const Any = "*"

// Token is a caller from outside the cluster: a build server, say. The token itself stands nowhere, only its hash.
type Token struct {
	Name    string
	Expires time.Time // from then on it is refused; zero: never
	Rights  []Right

	hash tokenHash
}

// expired says whether the token's time is over.
func (t Token) expired() bool { return !t.Expires.IsZero() && !time.Now().Before(t.Expires) }

// Right is what a token may do, and to what.
type Right struct {
	Verbs        []auth.Verb
	Environments []string // names, or Any
	Targets      []string // names of brokers and applications, or Any
}

// May says whether the token has the right to do something to an environment, if that is not empty, or else to a
// broker; with neither, to every broker. Who may do anything to something may read it: how else to see it done?
func (t Token) May(verb auth.Verb, environment, broker string) bool {
	if environment == "" && slices.Contains(auth.EnvironmentVerbs(), verb) {
		return false
	}
	return slices.ContainsFunc(t.Rights, func(r Right) bool {
		to, name := r.Targets, broker
		if environment != "" {
			to, name = r.Environments, environment
		}
		return (slices.Contains(r.Verbs, verb) || verb == auth.Read) && covers(to, name)
	})
}

// covers says whether a name is among those of a right. Every one of them, which is no name, only Any covers.
func covers(names []string, name string) bool {
	return slices.Contains(names, Any) || (name != "" && slices.Contains(names, name))
}

// The bounds of a file of tokens.
const (
	maxTokens = 100
	maxRights = 100
)

// parseTokens reads the text of a file of tokens. The error is an *Error; it repeats no hash.
func parseTokens(d *decoder, data []byte, file string) ([]Token, error) {
	root, ok := d.document(data)
	if !ok {
		return nil, d.err(file)
	}
	var all []Token
	names := make(map[string]string)
	s := d.section("", root)
	for i, e := range s.few("tokens", required, "tokens", maxTokens) {
		t := d.token(e)
		d.unique(e.path+".name", t.Name, fmt.Sprintf("tokens[%d]", i), names)
		all = append(all, t)
	}
	s.end()
	if err := d.err(file); err != nil {
		return nil, err
	}
	return all, nil
}

func (d *decoder) token(e element) Token {
	const wantTime = "a time such as 2030-01-31T00:00:00Z"
	var t Token
	s := d.section(e.path, e.node)
	s.name(&t.Name)
	s.value("hash", required, plainText, wantHash, false, func(v string) (ok bool) {
		t.hash, ok = parseHash(v)
		return ok
	})
	s.missing("hash", "", wantHash)
	s.value("expires", none, plainText, wantTime, true, func(v string) bool {
		at, err := time.Parse(time.RFC3339, v)
		t.Expires = at
		return err == nil && !at.IsZero()
	})
	for _, e := range s.few("rights", required, "rights", maxRights) {
		t.Rights = append(t.Rights, d.right(e))
	}
	s.end()
	return t
}

func (d *decoder) right(e element) Right {
	var r Right
	var verbs []string
	isVerb := func(v string) bool { return slices.Contains(auth.Verbs(), auth.Verb(v)) }
	isName := func(v string) bool { return v == Any || brokerName.MatchString(v) }
	const wantNames = `a name, or "*" for every one`
	noted := len(d.problems)
	s := d.section(e.path, e.node)
	s.texts("verbs", required, "verbs", "one of "+verbList(auth.Verbs()), isVerb, &verbs)
	s.texts("environments", none, "names", wantNames, isName, &r.Environments)
	s.texts("targets", none, "names", wantNames, isName, &r.Targets)
	s.end()
	for _, v := range verbs {
		r.Verbs = append(r.Verbs, auth.Verb(v))
	}
	if d.listen == nil && len(d.problems) == noted {
		d.checkRight(e.path, r)
	}
	return r
}

// checkRight notes a right that allows nothing, or less than it seems to.
func (d *decoder) checkRight(path string, r Right) {
	reads := slices.Contains(r.Verbs, auth.Read)
	for _, c := range []struct {
		key   string
		verbs []auth.Verb
		names []string
	}{
		{"environments", auth.EnvironmentVerbs(), r.Environments},
		{"targets", auth.TargetVerbs(), r.Targets},
	} {
		i := slices.IndexFunc(r.Verbs, func(v auth.Verb) bool { return slices.Contains(c.verbs, v) })
		switch {
		case i >= 0 && len(c.names) == 0:
			d.problem(path+"."+c.key, `missing: want those to %s, or "*" for every one`, r.Verbs[i])
		case i < 0 && !reads && len(c.names) > 0:
			d.problem(path+"."+c.key, "none of %s is done to %s: want a verb that is, or not this", verbList(r.Verbs), c.key)
		}
	}
	if len(r.Environments)+len(r.Targets) == 0 && len(r.Verbs) == 1 && reads {
		d.problem(path, `missing: want environments or brokers to read, or "*" for every one`)
	}
}

func verbList(verbs []auth.Verb) string {
	texts := make([]string, len(verbs))
	for i, v := range verbs {
		texts[i] = string(v)
	}
	return strings.Join(texts, ", ")
}
