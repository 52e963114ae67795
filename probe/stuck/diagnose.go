package stuck

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

// LooksApart is how far apart two looks at a node's processes must be to prove anything: a slow login can wait in
// one place for as long as the server that it asks takes to answer. It is the default of `policy.recheck_after`.
const LooksApart = 40 * time.Second

// longestApart is how far apart two looks may be to prove anything: a node that was started again in between has
// other processes under the same ids.
const longestApart = time.Hour

// Diagnosis is what one or two outputs of maybe_stuck show about a node.
type Diagnosis struct {
	Reason        probe.Reason
	Proved        bool   // stuck, by two looks
	Detail        string // what the looks show, in a sentence
	Means, Advice string // what that means, and what to do: the words of the Reason, or better ones

	Looks      int             // how many looks were compared: 2, or 1 if there was one or the two could not be compared
	Apart      time.Duration   // the time between the two looks
	Persisting int             // suspicious processes that wait for something and have not moved between the looks
	Same       []probe.Process // these processes, with their mailboxes at the later look, in the order of their ids
	Processes  probe.Processes // the look that gave Reason: the later one
}

// Diagnose says what one look (earlier is nil) or two looks at a node's processes show: what the processes wait
// for, which have not moved, and what that proves. The node is certainly stuck only if connections in their login,
// with a message waiting, are in the same place at both looks, at least LooksApart and at most an hour apart. A
// single look does not tell a slow node from a stuck one, nor do two looks that cannot be compared; the diagnosis
// says so. A look that is not whole proves nothing.
func Diagnose(earlier, later *probe.Processes) Diagnosis {
	if later == nil {
		earlier, later = nil, earlier
	}
	if later == nil {
		return Diagnosis{Detail: "there is no look"}.of(probe.NotRun)
	}
	d := Diagnosis{Looks: 1, Processes: *later}
	if detail, ok := partial(earlier, later); ok {
		d.Detail = detail
		d = d.of(probe.ExecFailed)
		d.Means = "What is missing may be what counts: this proves nothing, one way or the other."
		d.Advice = "Run it again, with a longer -t if it ran into that, and save what goes to standard output, whole and " +
			"nothing else, in a file for each run."
		return d
	}
	why := ""
	if earlier != nil {
		why = incomparable(earlier, later)
		if why == "" {
			return d.compare(earlier, later)
		}
		why += ": so nothing was compared; what the second shows: "
	}
	reason, _ := verdict(*later, DefaultLimits)
	d.Detail = why + strings.Join(append(hanging(*later), inDetail(*later)...), "; ")
	d = d.of(reason)
	if reason.Status() == probe.Stuck {
		d.Detail += "; one look does not tell slow from stuck: run it again 40 s later and give both"
		d.Means = "Logins do not get on within the node, or only slowly."
		d.Advice = "Run `maybe_stuck` again 40 s later, and give both files, the earlier first. Restart nothing for one look."
	}
	return d
}

// of fills in the reason and its words.
func (d Diagnosis) of(r probe.Reason) Diagnosis {
	v := r.Verdict()
	d.Reason, d.Means, d.Advice = r, v.Means, v.Advice
	if r == probe.OK { // of a login it says more
		d.Means = "No process waits for the node itself, as far as this shows. Logins may hang all the same."
		d.Advice = "Log in to the node, with `unstuck probe`."
	}
	return d
}

// partial says how much there is of a look that is not whole.
func partial(earlier, later *probe.Processes) (detail string, ok bool) {
	name, p := "the output", later
	if earlier != nil {
		name = "the second output"
		if earlier.Truncated {
			name, p = "the first output", earlier
		}
	}
	switch {
	case !p.Truncated:
		return "", false
	case p.Several:
		return name + " has several runs in it: give each in a file of its own", true
	case p.Described > p.Announced:
		return fmt.Sprintf("%s announces %d suspicious and describes %d: are there several in one file?", name, p.Announced,
			p.Described), true
	}
	return fmt.Sprintf("%s is cut, or mixed with something else: of %d suspicious processes that it announces %d are "+
		"described whole",
		name, p.Announced, p.Described), true
}

// incomparable says why two looks cannot be compared, and gives "" if they can. The times of the looks are those of
// the node's own clock.
func incomparable(earlier, later *probe.Processes) string {
	a, b := earlier.At.Format(time.DateTime), later.At.Format(time.DateTime)
	switch {
	case earlier.ErlangNode != "" && later.ErlangNode != "" && earlier.ErlangNode != later.ErlangNode:
		return fmt.Sprintf("the two are of different nodes, %s and %s", earlier.ErlangNode, later.ErlangNode)
	case earlier.At.IsZero() || later.At.IsZero():
		return "one of the two does not tell when it was made"
	case earlier.At.Equal(later.At) && reflect.DeepEqual(withoutNode(*earlier), withoutNode(*later)):
		return fmt.Sprintf("both are the same look, of %s, which is one look and not two", a)
	case earlier.At.Equal(later.At):
		return fmt.Sprintf("both were made within the same second, at %s, which is one look and not two", a)
	case later.At.Before(earlier.At):
		return fmt.Sprintf("they are in the wrong order, or the clock was set back: the first is of %s and the second of %s",
			a, b)
	}
	return ""
}

func withoutNode(p probe.Processes) probe.Processes { p.ErlangNode = ""; return p }

// compare says what two looks at one node show. The later look is d's.
func (d Diagnosis) compare(earlier, later *probe.Processes) Diagnosis {
	d.Looks, d.Apart = 2, later.At.Sub(earlier.At)
	for _, lists := range [][2][]probe.Process{
		{earlier.Logins, later.Logins},
		{earlier.Work, later.Work},
		{earlier.Others, later.Others},
	} {
		d.Same = append(d.Same, asLater(probe.Persisting(lists[0], lists[1]), lists[1])...)
	}
	slices.SortStableFunc(d.Same, func(a, b probe.Process) int { return cmp.Compare(a.ID, b.ID) })
	d.Persisting = len(d.Same)

	logins := probe.Persisting(earlier.Logins, withMessage(later.Logins))
	own, unknown := countOf(logins, probe.AwaitsLogin), countOf(logins, probe.AwaitsUnknown)
	many := unknown >= DefaultLimits.AboveBaseline &&
		float64(unknown) >= DefaultLimits.Share*float64(later.Total)
	reason, _ := verdict(*later, DefaultLimits)
	apart := d.ApartInWords()
	var said []string
	switch {
	case own > 0 || many: // so they are stuck at the later look alone, too
		d.Proved = d.Apart >= LooksApart && d.Apart <= longestApart
		if own == 0 {
			own = unknown
		}
		said = d.loginsHang(own, apart)
	case reason == probe.ProcessesStuck:
		reason = probe.ProcessesMove
		said = append(said, moved(earlier, later, unknown, apart))
	case earlier.StuckReaders+earlier.UnknownReaders > 0 && later.StuckReaders+later.UnknownReaders == 0:
		n := earlier.StuckReaders + earlier.UnknownReaders
		said = append(said, verb(n, "connection that hung in its login", "connections that hung in their login")+" "+
			apart+" before "+verbOnly(n, "does", "do")+" not hang there with a message waiting any more")
	}
	if work := workStays(earlier, later); work != "" {
		said = append(said, work)
	}
	said = append(said, d.notMoved(earlier, later, apart))
	if len(said) == 1 { // nothing is said yet of what hangs now
		said = append(said, hanging(*later)...)
	}
	d.Detail = strings.Join(append(said, inDetail(*later)...), "; ")
	d = d.of(reason)
	switch {
	case reason == probe.ProcessesStuck && !d.Proved:
		d.Means = "Logins do not get on within the node, or only slowly."
		d.Advice = "Run `maybe_stuck` once more, and give the first of these and that one. Restart nothing yet."
	case reason == probe.ProcessesStuck:
		d.Advice = "See that a login hangs (`unstuck probe`) and that the other nodes are healthy, then restart the node " +
			"(on Kubernetes: delete the pod)."
	}
	return d
}

// loginsHang says that so many connections hang at both looks, and why that may not prove anything.
func (d Diagnosis) loginsHang(count int, apart string) []string {
	said := []string{verb(count, "connection hangs in its login", "connections hang in their login") +
		", with a message waiting, where " + verbOnly(count, "it", "they") + " already hung " + apart + " before"}
	if d.Apart < LooksApart {
		said = append(said, "but "+apart+" do not prove it, since a slow login may take as long: "+
			"let 40 s pass between the two")
	}
	if d.Apart > longestApart {
		said = append(said, "but "+apart+" do not prove it, since the node may have been started again in between, "+
			"which uses the same ids again")
	}
	return said
}

// moved says why connections that hang in their login at the later look prove nothing.
func moved(earlier, later *probe.Processes, unknown int, apart string) string {
	n := later.StuckReaders + later.UnknownReaders
	hang := verb(n, "connection hangs in its login", "connections hang in their login") + " with a message waiting"
	switch {
	case unknown > 0:
		return fmt.Sprintf("%s, of which %d already hung there %s before: that is too few, as it is not known for whom "+
			"they wait", hang, unknown, apart)
	case len(earlier.Logins) == 0:
		return fmt.Sprintf("%s, and none did %s before: slow, or stuck only since; look once more", hang, apart)
	case len(earlier.Logins) >= probe.MaxProcesses || len(later.Logins) >= probe.MaxProcesses:
		return fmt.Sprintf("%s, and none of the %d that were compared is where one hung %s before: slow, not stuck", hang,
			probe.MaxProcesses, apart)
	}
	return fmt.Sprintf("%s, but not one of those of %s before has stayed as it was: others each time, or the same "+
		"elsewhere or with fewer messages, which is slow, not stuck", hang, apart)
}

// workStays says what channels and queues prove that have not moved, and gives "" if there are none.
func workStays(earlier, later *probe.Processes) string {
	stay := probe.Persisting(earlier.Work, withMessage(later.Work))
	if len(stay) == 0 {
		return ""
	}
	text := verb(len(stay), "channel or queue has", "channels or queues have") +
		" not moved, with a message waiting, which "
	switch own := countOf(stay, probe.AwaitsWork); {
	case own == 0:
		return text + "accuses those for whom " + verbOnly(len(stay), "it waits", "they wait") +
			", and says nothing about logins"
	case later.Waiting.Outside() > 0:
		return text + "accuses nobody: " + verbOnly(len(stay), "it", "they") +
			" may wait for what waits outside the node, or for its disk (" +
			strconv.Itoa(later.Waiting.Outside()) + ")"
	case own < len(stay):
		return text + fmt.Sprintf("for %d of them corroborates a round trip that hangs, and says nothing about logins", own)
	}
	return text + "corroborates a round trip that hangs, and says nothing about logins"
}

// notMoved says how many processes have not moved, and what they wait for.
func (d Diagnosis) notMoved(earlier, later *probe.Processes, apart string) string {
	lists := [][]probe.Process{earlier.Logins, earlier.Work, earlier.Others, later.Logins, later.Work, later.Others}
	// A list of this length was cut, so there may be more.
	capped := slices.ContainsFunc(lists, func(list []probe.Process) bool { return len(list) >= probe.MaxProcesses })
	switch {
	case d.Persisting == 0 && capped:
		return fmt.Sprintf("of the first %d of each kind none is where it was %s before", probe.MaxProcesses, apart)
	case d.Persisting == 0:
		return "no process that waits for something is where it was " + apart + " before"
	}
	atLeast := ""
	if capped {
		atLeast = "at least "
	}
	var kinds []string
	for _, a := range probe.Awaits() {
		if n := countOf(d.Same, a); n > 0 {
			kinds = append(kinds, verb(n, "waits ", "wait ")+a.Words(n))
		}
	}
	text := fmt.Sprintf("%s%s not moved in %s: %s", atLeast, verb(d.Persisting, "process has", "processes have"), apart,
		strings.Join(kinds, ", "))
	return text
}

// inDetail is like waits, without a baseline, and with the kinds that waits leaves out.
func inDetail(p probe.Processes) []string {
	said := waits(p, "")
	if n := p.Waiting[probe.AwaitsLogin] - p.StuckReaders; n > 0 {
		said = append(said, verb(n, "connection is in its login", "connections are in their login")+
			" and no message waits for "+verbOnly(n, "it", "them")+", which is no sign yet")
	}
	if n := p.Waiting[probe.AwaitsIdle]; n > 0 {
		said = append(said, verb(n, "waits for work, as on", "wait for work, as on")+" every healthy node")
	}
	return said
}

// verbOnly is verb without the number.
func verbOnly(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func withMessage(list []probe.Process) []probe.Process {
	var waiting []probe.Process
	for _, p := range list {
		if p.Mailbox > 0 {
			waiting = append(waiting, p)
		}
	}
	return waiting
}

func countOf(list []probe.Process, a probe.Await) int {
	n := 0
	for _, p := range list {
		if p.Awaits == a {
			n++
		}
	}
	return n
}

// asLater gives the processes of list as the later look shows them. Both lists are sorted.
func asLater(list, later []probe.Process) []probe.Process {
	for i, p := range list {
		if at, ok := slices.BinarySearchFunc(later, p.ID, func(l probe.Process, id probe.ProcessID) int {
			return cmp.Compare(l.ID, id)
		}); ok {
			list[i] = later[at]
		}
	}
	return list
}

// ApartInWords says how much time lies between the two looks, in whole units.
func (d Diagnosis) ApartInWords() string {
	switch {
	case d.Apart < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Apart.Seconds()))
	case d.Apart < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Apart.Minutes()))
	case d.Apart < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Apart.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Apart.Hours()/24))
}
