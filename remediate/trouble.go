package remediate

import (
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// trouble is something that cannot be seen or written down in a reconcile, or that is wrong with how the target is
// looked for. It is the same as long as what it is about is, whatever its words.
type trouble struct {
	kind troubleKind
	of   string // of which pause it is, for instance; may be empty
	text string // for people
}

// troubleKind is what goes wrong; a target.ProblemKind is one.
type troubleKind string

// The kinds of trouble that are not problems of a target.
const (
	cannotLook         troubleKind = "look"
	cannotReadHistory  troubleKind = "read_history"
	cannotReadLeader   troubleKind = "read_leader"
	cannotReadPauses   troubleKind = "read_pauses"
	cannotWriteHistory troubleKind = "write_deletions"
	cannotWriteRecord  troubleKind = "write_incident"
	cannotLock         troubleKind = "lock"
	cannotUnlock       troubleKind = "unlock"
	strayPause         troubleKind = "stray_pause"
)

func (t trouble) same(u trouble) bool { return t.kind == u.kind && t.of == u.of }

// sentence joins what the troubles say.
func sentence(all []trouble) string {
	texts := make([]string, len(all))
	for i, t := range all {
		texts[i] = t.text
	}
	return strings.Join(texts, "; ")
}

// trouble takes note of a trouble, once in a reconcile.
func (l *Loop) trouble(kind troubleKind, of, text string) {
	t := trouble{kind, of, text}
	if text != "" && !slices.ContainsFunc(l.troubles, t.same) {
		l.troubles = append(l.troubles, t)
	}
}

// misconfigured takes note of what is wrong with how the broker is looked for, logged in to and paused: its author may
// have meant something else.
func (l *Loop) misconfigured(o decide.Observation) {
	now := time.Now()
	wrong := slices.Clone(o.View.Problems)
	if l.LoginError != nil {
		if err := l.LoginError(); err != nil {
			wrong = append(wrong, target.Problem{Kind: target.ProblemLogin, Text: store.Shorten(err.Error(), 500)})
		}
	}
	before := l.wrong
	l.wrong = make(map[target.ProblemKind]time.Time, len(wrong))
	for _, p := range wrong {
		since, known := before[p.Kind]
		if !known {
			since = now
		}
		if l.wrong[p.Kind] = since; now.Sub(since) >= settling {
			l.trouble(troubleKind(p.Kind), "", p.Text)
		}
	}
	for _, p := range o.Pauses {
		if p.Stray(o.Targets) && !p.Over(now) {
			l.trouble(strayPause, p.Target, p.StrayText(o.Targets))
		}
	}
}

// logTroubles logs the troubles of this reconcile, unless they are those of the last one.
func (l *Loop) logTroubles() {
	switch {
	case slices.EqualFunc(l.troubles, l.logged, trouble.same):
		return
	case time.Since(l.began) < settling:
		l.Log.Debug("cannot see everything yet", "target", l.Target, "error", sentence(l.troubles))
		return
	case len(l.troubles) > 0:
		l.Log.Warn("cannot see or write down everything; holding where it matters", "target", l.Target, "error",
			sentence(l.troubles))
	default:
		l.Log.Info("can see and write down everything again", "target", l.Target)
	}
	l.logged = l.troubles
}
