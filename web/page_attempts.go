package web

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/remediate"
)

// keptAttempts is how many attempts of each sort are kept for the page: what was done, what was refused, and what was
// tried by nobody who is known. Whoever has no token cannot push the others out.
const keptAttempts = 100

// recent are the last attempts that the audit of this process was told of, for the page. It has nothing that the log
// does not have, and is gone when the process ends.
type recent struct {
	since time.Time

	mu   sync.Mutex
	kept map[string][]Attempt // by their sort, oldest first
}

func newRecent() *recent { return &recent{since: time.Now(), kept: make(map[string][]Attempt)} }

// keep keeps an attempt, cut to some 2 KB.
func (k *recent) keep(a Attempt) {
	a.By, a.Act, a.Reason, a.Refused = cut(a.By, maxReason), cut(a.Act, maxReason), cut(a.Reason, maxReason), cut(a.Refused, maxReason)
	a.Override = slices.Clone(a.Override[:min(len(a.Override), len(remediate.Guards()))])
	sort := "done"
	switch {
	case a.By == "":
		sort = "by nobody"
	case a.Refused != "":
		sort = "refused"
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if all := k.kept[sort]; len(all) >= keptAttempts {
		k.kept[sort] = slices.Delete(all, 0, len(all)+1-keptAttempts)
	}
	k.kept[sort] = append(k.kept[sort], a)
}

// all gives what is kept, newest first.
func (k *recent) all() []Attempt {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []Attempt
	for _, some := range k.kept {
		all = append(all, some...)
	}
	slices.SortStableFunc(all, func(a, b Attempt) int { return b.At.Compare(a.At) })
	return all
}

// onePiece finds what may be a token: those of Kubernetes and those of the file of tokens have no spaces, and both small
// and capital letters, which names of Kubernetes and commits have not.
var onePiece = regexp.MustCompile(`[A-Za-z0-9_.~+=-]{32,}`)

// masked takes out of text what looks like a token: somebody may paste one into any field, and the audit is for more eyes.
func masked(text string) string {
	return onePiece.ReplaceAllStringFunc(text, func(piece string) string {
		if strings.ToLower(piece) == piece || strings.ToUpper(piece) == piece {
			return piece
		}
		return "[masked]"
	})
}

// masked gives the attempt without what looks like a token in what the client has written.
func (a Attempt) masked() Attempt {
	for _, text := range []*string{&a.Client, &a.Path, &a.Environment, &a.Broker, &a.Act, &a.Reason, &a.Result, &a.Refused} {
		*text = masked(*text)
	}
	a.Override = slices.Clone(a.Override)
	for i, guard := range a.Override {
		a.Override[i] = masked(guard)
	}
	return a
}

// attemptsData is what the page of attempts shows.
type attemptsData struct {
	Since    time.Time // this replica has been told of attempts
	Most     int       // of each sort
	Attempts []Attempt // newest first
	All      bool      // the caller may see those by nobody, too
}

// attemptsPage shows each caller the attempts on what they may read. Those by nobody who is known, and those on nothing
// that there is, are for whoever may read every broker.
func (p pages) attemptsPage(r *http.Request) (view, error) {
	d := attemptsData{Since: p.recent.since, Most: keptAttempts}
	all, err := p.sees(r.Context(), Act{})
	if err != nil {
		return view{}, err
	}
	d.All = all
	visible := map[Act]bool{{}: all}
	for _, a := range p.recent.all() {
		about := p.aboutOf(a)
		ok, asked := visible[about]
		if !asked {
			if ok, err = p.sees(r.Context(), about); err != nil {
				return view{}, err
			}
			visible[about] = ok
		}
		if about == (Act{}) && a.Status == http.StatusNotFound {
			a.Refused = "there is none of that name" // which ones there are is for those who may read them
		}
		if ok {
			d.Attempts = append(d.Attempts, a)
		}
	}
	return view{name: "attempts", title: "Attempts", topic: everything, data: d}, nil
}

// aboutOf says what somebody must be able to read to see an attempt.
func (p pages) aboutOf(a Attempt) Act {
	switch {
	case a.By == "": // whatever they wanted
	case slices.ContainsFunc(p.Environments, func(e release.Environment) bool { return e.Name == a.Environment }):
		return Act{Environment: a.Environment}
	case slices.ContainsFunc(p.Snapshots(), func(s remediate.Snapshot) bool { return s.Broker == a.Broker }):
		return Act{Broker: a.Broker}
	}
	return Act{}
}

// refusedHere tells the audit of a form that is refused before the API is asked for anything, or for more than a plan.
func (p pages) refusedHere(r *http.Request, d deed, why *Problem) {
	a := attemptOf(r)
	who, _ := callerOf(r.Context())
	a.By, a.Authority, a.Status, a.Refused = who.Name, who.Authority, why.Status, why.Detail
	a.Act, a.Reason = cut(fillIn(d.title, r.PathValue), maxReason), cut(r.PostForm.Get("reason"), maxReason)
	p.record(r.Context(), r, a)
}
