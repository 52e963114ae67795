package decide

import (
	"fmt"
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/clock"
	"github.com/cjworkbench/unstuck/probe"
)

// Corroboration says what independent evidence there is besides failing probes, or why there is none: a closed list.
// Sentences are made from it, and never read.
type Corroboration string

// The corroborations. The first four agree that the node is stuck; the others are why nothing does.
const (
	SameProcesses Corroboration = "same_processes" // what hangs hung before, in the same place
	ManyProcesses Corroboration = "many_processes" // so many connections hang in their login, nobody knows for whom
	ToolsTwice    Corroboration = "tools_twice"    // its own tools cannot reach it, twice
	SoleEvidence  Corroboration = "sole_evidence"  // of an application, that has its log alone

	NoCommands    Corroboration = "no_commands"     // commands cannot be run next to it
	NotLooked     Corroboration = "not_looked"      // maybe_stuck has not run since the trouble began
	LookOld       Corroboration = "look_old"        // or too long ago
	LookFailed    Corroboration = "look_failed"     // or could not tell
	LogNotSilent  Corroboration = "log_not_silent"  // the policy asks for a silent log
	ToolsOfWork   Corroboration = "tools_of_work"   // tools reach nothing, but logins do
	ToolsStarved  Corroboration = "tools_starved"   // tools reach nothing, but the node greets: it is starved
	ToolsBefore   Corroboration = "tools_before"    // they did not before either, while logins succeeded
	ToolsOnce     Corroboration = "tools_once"      // a second try must show the same
	WaitsOnOthers Corroboration = "waits_on_others" // what waits accuses somebody else
	NothingHangs  Corroboration = "nothing_hangs"   // no process hangs in what failed
	SeenOnce      Corroboration = "seen_once"       // a second look must show the same processes
	Chronic       Corroboration = "chronic"         // what hangs hung before the trouble began
	GetsOn        Corroboration = "gets_on"         // others each time, or the same ones elsewhere
)

// Corroborations lists every Corroboration.
func Corroborations() []Corroboration {
	return []Corroboration{
		SameProcesses, ManyProcesses, ToolsTwice, SoleEvidence, NoCommands, NotLooked, LookOld, LookFailed, LogNotSilent,
		ToolsOfWork,
		ToolsStarved, ToolsBefore, ToolsOnce, WaitsOnOthers, NothingHangs, SeenOnce, Chronic, GetsOn,
	}
}

// agrees says whether c is evidence that the node is stuck.
func (c Corroboration) agrees() bool {
	return c == SameProcesses || c == ManyProcesses || c == ToolsTwice || c == SoleEvidence
}

// finding is a Corroboration and what its sentence needs.
type finding struct {
	Corroboration

	kind    probe.Kind
	count   int           // of processes
	outside bool          // more waits outside the node, or for its disk, than before
	look    probe.Result  // the latest of maybe_stuck
	apart   time.Duration // between the looks
}

// hangs names what hangs when probes of a kind fail.
func hangs(kind probe.Kind) string {
	if kind.Role() == probe.Work {
		return "channels or queues"
	}
	return "connections in their login"
}

func (f finding) sentence(p Policy) string {
	switch f.Corroboration {
	case SameProcesses:
		return fmt.Sprintf("%s apart, maybe_stuck shows the same %s in the same place (%d)", f.apart.Round(time.Second),
			hangs(f.kind), f.count)
	case ManyProcesses:
		return fmt.Sprintf("%s apart, maybe_stuck shows the same %d connections in their login in the same place; it is "+
			"not known what they wait for",
			f.apart.Round(time.Second), f.count)
	case ToolsTwice:
		return "its own tools cannot reach it, twice"
	case SoleEvidence:
		return "its log is all that an application is judged by; all its other pods must write"
	case NoCommands:
		return "commands cannot be run next to it: run `rabbitmq-diagnostics maybe_stuck` there yourself"
	case NotLooked:
		return "maybe_stuck has not run since"
	case LookOld:
		return "maybe_stuck ran too long ago"
	case LookFailed:
		return fmt.Sprintf("maybe_stuck says %s: %s", f.look.Reason, f.look.Detail)
	case LogNotSilent:
		return fmt.Sprintf("its log has not been silent for %s", p.LogSilence)
	case ToolsOfWork:
		return "its own tools cannot reach it, but logins can: that proves nothing"
	case ToolsStarved:
		return "its own tools cannot reach it, but it greets us: starved or slow, not frozen"
	case ToolsBefore:
		return "its own tools cannot reach it, as they could not while logins succeeded: that proves nothing"
	case ToolsOnce:
		return "its own tools cannot reach it, a second try must show the same"
	case WaitsOnOthers:
		if f.outside {
			return "what hangs may wait for what waits outside the node, or for its disk, and did not before: " + f.look.Detail
		}
		return fmt.Sprintf("maybe_stuck says %s: %s", f.look.Reason, f.look.Detail)
	case NothingHangs:
		return fmt.Sprintf("maybe_stuck shows no %s that hang: %s", hangs(f.kind), f.look.Detail)
	case SeenOnce:
		return fmt.Sprintf("maybe_stuck shows %s that hang (%d), a second look must show the same ones in the same place",
			hangs(f.kind), f.count)
	case Chronic:
		return fmt.Sprintf("what maybe_stuck shows hung before the trouble began (%d): it is not the cause", f.count)
	case GetsOn:
		return "maybe_stuck does not show the same processes as before, in the same place and with no fewer messages: " +
			"slow, not stuck"
	}
	return "no independent evidence"
}

// corroborate says whether something besides failing probes shows that the node is stuck in what failed: its own tools
// cannot reach it at all, or the same processes hung in the same place in two looks since the trouble began.
func (sc *scene) corroborate(ns NodeState, ev Evidence) finding {
	p, r := sc.policy, ns.Latest[probe.MaybeStuck]
	f := finding{kind: ev.Kind, look: r}
	is := func(c Corroboration) finding { f.Corroboration = c; return f }
	if p.App {
		return is(SoleEvidence)
	}
	if p.LogSilence > 0 {
		log := ns.Latest[probe.LogAge]
		if log.Reason == "" || clock.Elapsed(log.Ended(), sc.now) > p.ResultTTL || log.Status() == probe.Unknown ||
			log.LogAge < p.LogSilence {
			return is(LogNotSilent)
		}
	}
	switch {
	case sc.o.NoCommands:
		return is(NoCommands)
	case r.Started.Before(ev.Since) || r.Reason == "":
		return is(NotLooked)
	case clock.Elapsed(r.Ended(), sc.now) > p.EvidenceTTL:
		return is(LookOld)
	case r.Reason == probe.ToolsUnresponsive:
		return is(sc.tools(ns, ev, r))
	case !showsProcesses(r):
		return is(LookFailed)
	}
	return sc.persisting(ns, ev, f)
}

// tools weighs tools that cannot reach their node.
func (sc *scene) tools(ns NodeState, ev Evidence, r probe.Result) Corroboration {
	switch {
	case ev.Kind.Role() != probe.Liveness:
		return ToolsOfWork
	case ns.Runs[ev.Kind].greeted():
		return ToolsStarved
	case ns.Tools.WhileGood >= chronicTools:
		return ToolsBefore
	case r.Started.Sub(ns.firstTools(ev)) < max(sc.policy.RecheckAfter, time.Nanosecond):
		return ToolsOnce
	}
	return ToolsTwice
}

// chronicTools is how often tools must have failed while logins succeeded to prove nothing later.
const chronicTools = 2

// firstTools is when the first look of the trouble began in which the node's own tools could not reach it; the latest
// look at least.
func (n NodeState) firstTools(ev Evidence) time.Time {
	for _, r := range n.Tools.Looks {
		if !r.Started.Before(ev.Since) {
			return r.Started
		}
	}
	return n.Latest[probe.MaybeStuck].Started
}

// persisting compares the looks since the trouble began, from the latest back. Whatever a look in between does not show
// in the same place has moved.
func (sc *scene) persisting(ns NodeState, ev Evidence, f finding) finding {
	if ns.waitsOutside(ev.Kind, f.look) {
		f.Corroboration, f.outside = WaitsOnOthers, true
		return f
	}
	own, unknown := ns.suspects(ev.Kind, f.look)
	chronic := ns.chronic(ev.Kind)
	f.count = len(own)
	if len(own) == 0 && len(unknown) < max(sc.policy.AboveBaseline, 1) {
		f.Corroboration = NothingHangs
		if f.look.Reason != probe.OK && f.look.Reason != probe.ProcessesStuck {
			f.Corroboration = WaitsOnOthers
		}
		return f
	}
	ownNow, unknownNow := withoutChronic(own, chronic), withoutChronic(unknown, chronic)
	if len(ownNow) == 0 && len(unknownNow) < max(sc.policy.AboveBaseline, 1) {
		f.Corroboration = Chronic
		return f
	}
	f.Corroboration = SeenOnce
	for _, earlier := range slices.Backward(ns.Looks) {
		if !earlier.Started.Before(f.look.Started) {
			continue
		}
		earlierOwn, earlierUnknown := ns.all(ev.Kind, earlier)
		if earlier.Started.Before(ev.Since) || ns.waitsOutside(ev.Kind, earlier) ||
			wholeLook(earlier) && len(earlierOwn)+len(earlierUnknown) == 0 {
			break // from before, or from when nothing hung yet, or for another reason
		}
		ownThen, unknownThen := probe.Persisting(earlierOwn, ownNow), probe.Persisting(earlierUnknown, unknownNow)
		many := sc.policy.AboveBaseline > 0 && len(unknownThen) >= sc.policy.AboveBaseline
		if earlier.Processes.Truncated && len(ownThen) == 0 && !many {
			continue // what a list that is cut does not show may have been there all the same
		}
		ownNow, unknownNow = ownThen, unknownThen
		f.apart = f.look.Started.Sub(earlier.Started)
		switch {
		case len(ownNow) == 0 && !many:
			f.Corroboration = GetsOn
			return f
		case f.apart < max(sc.policy.RecheckAfter, time.Nanosecond):
		case len(ownNow) > 0:
			f.Corroboration, f.count = SameProcesses, len(ownNow)
			return f
		default:
			f.Corroboration, f.count = ManyProcesses, len(unknownNow)
			return f
		}
	}
	return f
}

// waitsOutside says whether what hangs may hang because more waits outside the node, or for its disk, than did before
// the trouble. A channel that waits for a queue that waits there looks like one that waits for a queue that hangs. A
// login waits for few processes, which have its message.
func (n NodeState) waitsOutside(kind probe.Kind, r probe.Result) bool {
	if kind.Role() == probe.Liveness {
		return len(n.holding(r)) > 0
	}
	most := 0
	for _, earlier := range n.before(kind) {
		most = max(most, earlier.Processes.Waiting.Outside())
	}
	return r.Processes.Waiting.Outside() > most
}

// holding gives the processes of a look that may hold up logins: they wait outside their node, or for its disk, and
// others have sent them messages; and there are more of them than before the trouble.
func (n NodeState) holding(r probe.Result) []probe.Process {
	of := func(r probe.Result) (list []probe.Process) {
		for _, p := range slices.Concat(r.Processes.Work, r.Processes.Others) {
			if p.Awaits.Outside() && !p.Reader && p.Mailbox > 0 {
				list = append(list, p)
			}
		}
		return list
	}
	most := 0
	for _, earlier := range n.before(probe.Login) {
		most = max(most, len(of(earlier)))
	}
	if now := of(r); len(now) > most {
		return now
	}
	return nil
}

// before gives the looks that tell how the node was before the run of a kind: the last whole one from then, and what
// came after that.
func (n NodeState) before(kind probe.Kind) (looks []probe.Result) {
	run := n.Runs[kind]
	for _, r := range slices.Backward(n.Looks) {
		if !r.Started.Before(run.Before) {
			continue
		}
		looks = append(looks, r)
		if wholeLook(r) {
			break
		}
	}
	return looks
}

// wholeLook says whether r is a look at all processes of the node, whatever it showed.
func wholeLook(r probe.Result) bool { return showsProcesses(r) && !r.Processes.Truncated }

// showsProcesses says whether what r shows of the node's processes is so. There may be more, where the command ran into
// its own timeout.
func showsProcesses(r probe.Result) bool {
	if r.Processes == nil {
		return false
	}
	return slices.Contains(lookReasons, r.Reason)
}

// lookReasons are those of a look that shows processes.
var lookReasons = []probe.Reason{
	probe.OK, probe.ProcessesStuck, probe.Full, probe.BackendAwaited, probe.MetadataAwaited, probe.WorkWaits,
}

// all gives the processes of a look that may corroborate probes of a kind that fail: those that wait for their own
// node, and those of which that is not known.
func (n NodeState) all(kind probe.Kind, r probe.Result) (own, unknown []probe.Process) {
	if r.Processes == nil {
		return nil, nil
	}
	list, accuses := r.Processes.Logins, probe.AwaitsLogin
	if kind.Role() == probe.Work {
		list, accuses = r.Processes.Work, probe.AwaitsWork
	}
	for _, p := range list {
		switch {
		case p.Awaits == accuses:
			own = append(own, p)
		case p.Awaits == probe.AwaitsUnknown && kind.Role() != probe.Work:
			unknown = append(unknown, p)
		}
	}
	return own, unknown
}

// suspects are those of all for whom a message waits: without one there is nothing that they do not get on with.
func (n NodeState) suspects(kind probe.Kind, r probe.Result) (own, unknown []probe.Process) {
	waiting := func(list []probe.Process) []probe.Process {
		kept := list[:0]
		for _, p := range list {
			if p.Mailbox > 0 {
				kept = append(kept, p)
			}
		}
		return kept
	}
	own, unknown = n.all(kind, r)
	return waiting(own), waiting(unknown)
}

// chronic gives what hung before the run of a kind began, by its stack.
func (n NodeState) chronic(kind probe.Kind) map[probe.ProcessID]uint64 {
	var ids map[probe.ProcessID]uint64
	for _, r := range n.before(kind) {
		own, unknown := n.all(kind, r)
		for _, p := range append(own, unknown...) {
			if ids == nil {
				ids = make(map[probe.ProcessID]uint64, len(own)+len(unknown))
			}
			if _, ok := ids[p.ID]; !ok { // the latest look comes first
				ids[p.ID] = p.Stack
			}
		}
	}
	return ids
}

func withoutChronic(list []probe.Process, chronic map[probe.ProcessID]uint64) []probe.Process {
	var kept []probe.Process
	for _, p := range list {
		if stack, ok := chronic[p.ID]; !ok || stack != p.Stack {
			kept = append(kept, p)
		}
	}
	return kept
}

// maxLooks bounds how many looks are kept.
const maxLooks = 8

// withLook keeps r, the last few looks, and those that tell how the node was before its runs.
func (n NodeState) withLook(r probe.Result) NodeState {
	needed := make(map[time.Time]bool)
	for kind := range n.Runs {
		for _, b := range n.before(kind) {
			needed[b.Started] = true
		}
	}
	n.Looks = append(slices.Clone(n.Looks), r)
	for len(n.Looks) > maxLooks {
		drop := max(0, slices.IndexFunc(n.Looks[:maxLooks/2], func(r probe.Result) bool { return !needed[r.Started] }))
		n.Looks = slices.Delete(n.Looks, drop, drop+1)
	}
	return n
}

// Compared is when the look began that the next is compared with: the first that shows what hangs, or else the latest.
func (n NodeState) Compared(ev Evidence) time.Time {
	if ev.Corroboration == ToolsOnce {
		return n.firstTools(ev)
	}
	if ev.Corroboration == SeenOnce {
		for _, r := range n.Looks {
			if own, unknown := n.all(ev.Kind, r); !r.Started.Before(ev.Since) && len(own)+len(unknown) > 0 {
				return r.Started
			}
		}
	}
	return n.Latest[probe.MaybeStuck].Started // something has moved, or nothing hangs
}
