package login

import (
	"context"
	"fmt"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

// credentialsTimeout bounds the reading of the credentials, before the login's clock starts.
const credentialsTimeout = 10 * time.Second

const (
	// silentAfter is how long the broker must be silent in a login before the probe calls Options.Silent. A
	// healthy login takes milliseconds.
	silentAfter = 3 * time.Second
	// longestRaised bounds a login to a node whose own handshake_timeout is longer than Timeout allows.
	longestRaised = time.Minute
)

// enough is how long a broker must be silent in a stage to prove anything: its own timer may have begun as late as
// the stage, and may be a little late itself. The steps of a round trip have no such timer. They use the same
// measure for how long a broker may take to answer: a broker that answers each step is slow, however long the whole
// takes.
func enough(handshake time.Duration) time.Duration { return handshake + handshake/20 }

// Longest is how long a probe takes at most, with the reading of the credentials.
func (o Options) Longest() time.Duration {
	o = o.withDefaults()
	longest := 2 * o.Timeout
	if o.Handshake != nil {
		longest = max(longest, longestRaised)
	}
	return credentialsTimeout + longest
}

// deadline is when to give up a login that began at started and entered this stage at entered, to a node with this
// handshake timeout. The deadline moves on with the stages: a node that greets late gets all of its handshake
// timeout after that, so that a slow node differs from a wedged one. Nothing else moves the deadline. It stays
// within twice the Timeout, or within a minute if the node's own handshake timeout needs that. A Timeout that is
// too short to prove anything about a node with the configured handshake timeout stays as it is.
func (o Options) deadline(started time.Time, stage probe.Stage, entered time.Time, handshake time.Duration) time.Time {
	due := started.Add(o.Timeout)
	if stage < probe.StageTLS || stage > probe.StageConsume || o.Timeout <= enough(o.HandshakeTimeout) {
		return due
	}
	told, limit := handshake+handshake/10, 2*o.Timeout
	if handshake > o.HandshakeTimeout {
		limit = max(limit, min(2*told, longestRaised))
	}
	if moved := entered.Add(min(told, started.Add(limit).Sub(entered))); moved.After(due) {
		return moved
	}
	return due
}

// ownHandshake is the node's handshake timeout, as far as it is known. For the steps of a round trip it is at least
// the configured one: these steps have no timer in the broker.
func (l *login) ownHandshake(stage probe.Stage) time.Duration {
	if l.Handshake == nil {
		return l.HandshakeTimeout
	}
	own := l.Handshake(l.node, l.HandshakeTimeout)
	if stage > probe.StageOpen {
		own = max(own, l.HandshakeTimeout)
	}
	return own
}

// differs says that the handshake timeout is not the configured one, and gives "" if it is.
func (l *login) differs(handshake time.Duration) string {
	if handshake == l.HandshakeTimeout {
		return ""
	}
	return fmt.Sprintf("; the broker's own handshake_timeout is %s, not %s as configured here", handshake,
		l.HandshakeTimeout)
}

// watch ends the login with cancel at its deadline. Before that it calls Silent, once, if the broker says nothing.
// The caller stops it.
func (l *login) watch(cancel context.CancelFunc) (stop func() bool) {
	told := l.Silent == nil
	l.timer = time.AfterFunc(DefaultTimeout, func() {
		now := time.Now()
		stage, entered := l.frames.at()
		wait := l.deadline(l.started, stage, entered, l.ownHandshake(stage)).Sub(now)
		if wait <= 0 {
			cancel()
			return
		}
		switch quiet := now.Sub(entered); {
		case told:
		case stage < probe.StageTLS:
			wait = min(wait, silentAfter)
		case stage <= probe.StageOpen && quiet < silentAfter:
			wait = min(wait, silentAfter-quiet)
		case stage <= probe.StageOpen:
			told = true
			l.Silent(l.node)
		}
		l.timer.Reset(wait)
	})
	first := l.Timeout
	if !told {
		first = min(first, silentAfter)
	}
	l.timer.Reset(first) // only now: it may fire at once, and needs l.timer then
	return l.timer.Stop
}
