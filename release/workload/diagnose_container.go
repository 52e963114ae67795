package workload

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cjworkbench/unstuck/release/text"
)

// diagnoseContainer says what is wrong with a container, if anything is.
func (p Pod) diagnoseContainer(c ContainerState, is purpose) (Trouble, string) {
	if p.isPast(c) {
		return "", ""
	}
	why, ended := c.diagnoseEnd()
	setsUp := c.Init && !c.Sidecar
	switch {
	case why == OutOfMemory && (!c.Ready || p.Phase == "Failed"):
		return why, ended
	case c.Waiting == "CrashLoopBackOff":
		return p.diagnoseRestarts(c)
	case c.Waiting != "":
		return p.diagnoseWait(c)
	case c.Ended && c.LastExit == 0 && (setsUp || is == ofJob || !p.Live()):
		return "", ""
	case c.Ended && c.wasKilled(): // by a probe, perhaps
		return p.diagnoseRestarts(c)
	case c.Ended:
		return why, ended
	case c.Ready:
		return "", ""
	case setsUp:
		return Starting, "it still runs, and the containers after it wait for its end"
	}
	// That it is not ready between two crashes says less than that it crashes.
	if c.Restarts > 0 && why != Evicted {
		return p.diagnoseRestarts(c)
	}
	if c.Unstarted {
		return ProbeFails, cmp.Or(p.warning("Startup probe failed"), "it runs, and has not started up yet")
	}
	return ProbeFails, cmp.Or(p.warning("probe failed"), "it runs and is not ready")
}

// isPast says that what is told of a container is over and explains nothing. A sidecar is killed when its pod ends; an
// init container has done its work once the others have begun.
func (p Pod) isPast(c ContainerState) bool {
	if !c.Init {
		return false
	}
	if c.Sidecar && !p.Live() {
		return true
	}
	begun, over := false, true
	for _, o := range p.Containers {
		if o.Init {
			continue
		}
		begun = begun || o.Waiting == "CrashLoopBackOff" || o.runs() || o.over() && o.LastReason != "ContainerStatusUnknown"
		over = over && o.over()
	}
	return begun && (over || !c.Sidecar)
}

// mostLastWords is how long the last words of a container may be. They may be the end of its log, and then it is the
// last line that tells.
const mostLastWords = 250

// diagnoseEnd says what the last run of a container came to.
func (c ContainerState) diagnoseEnd() (Trouble, string) {
	said := c.LastMessage
	if said == "" && c.Waiting == "" {
		said = c.Message
	}
	said = strings.TrimSpace(said)
	why, listed := causeOf(InEnd, c.LastReason)
	switch {
	case !listed:
		why = Crash
	case why == BadConfig:
		return why, sentence(c.LastReason, said)
	case why == Evicted:
		return why, "its host does not know how it ended: " + sentence(c.LastReason, said)
	}
	detail := fmt.Sprintf("it ended with exit code %d (%s), %d restarts", c.LastExit,
		cmp.Or(c.LastReason, "no reason given"), c.Restarts)
	return why, sentence(detail, text.Shorten(said[strings.LastIndexByte(said, '\n')+1:], mostLastWords))
}

// wasKilled says whether a container was ended by a signal, as the kubelet does it.
func (c ContainerState) wasKilled() bool { return c.LastExit == 128+9 || c.LastExit == 128+15 }

// endedByOthers says whether a container that does the pod's work was ended by a signal, and not for its memory.
func (c ContainerState) endedByOthers() bool {
	return c.over() && !c.Init && c.wasKilled() && c.LastReason != "OOMKilled"
}

// failures names the containers that had ended by themselves before their pod was ended.
func (p Pod) failures() string {
	var all strings.Builder
	for _, c := range p.Containers {
		if why, detail := c.diagnoseEnd(); c.over() && !c.Init && c.LastExit != 0 && !c.wasKilled() && why == Crash {
			fmt.Fprintf(&all, "; container %s: %s", c.Name, detail)
		}
	}
	return all.String()
}

// diagnoseWait says why a container waits. A word that is not in the table is one of a failure, too: only words that
// are there say that it is slow.
func (p Pod) diagnoseWait(c ContainerState) (Trouble, string) {
	why, listed := causeOf(InWaiting, c.Waiting)
	switch {
	case !listed && strings.Contains(c.Waiting, "Image"):
		return ImagePull, sentence(c.Waiting, c.Message)
	case !listed:
		return HostSetup, sentence(c.Waiting, c.Message)
	}
	if image, isLate := strings.CutPrefix(c.Message, "Back-off pulling image "); isLate && strings.HasSuffix(image, `"`) {
		return why, cmp.Or(p.warning("Failed to pull image "+image), c.Message) // older kubelets do not repeat why
	}
	return why, cmp.Or(c.Message, c.Waiting)
}

// diagnoseRestarts says why a container ends, or runs again and again: it cannot be started, the kubelet ends it, or it
// ends by itself.
func (p Pod) diagnoseRestarts(c ContainerState) (Trouble, string) {
	why, ended := c.diagnoseEnd()
	if why == BadConfig || why == OutOfMemory {
		return why, ended
	}
	if hook := p.warning("FailedPostStartHook: "); hook != "" {
		return BadConfig, hook
	}
	if probe := p.warning("Liveness probe failed", "Startup probe failed"); probe != "" {
		return ProbeFails, probe
	}
	if c.over() {
		return why, ended
	}
	return Crash, ended
}

// warning gives the last warning about the pod that holds one of the words.
func (p Pod) warning(words ...string) string {
	for _, e := range slices.Backward(p.Events) {
		if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(e, w) }) {
			return e
		}
	}
	return ""
}
