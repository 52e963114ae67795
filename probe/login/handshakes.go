package login

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// Handshakes keeps the handshake_timeout that the nodes of one broker report. Without it a silence does not tell a
// slow login from a wedged one. The zero value is ready, and safe for concurrent use.
type Handshakes struct {
	mu    sync.Mutex
	nodes map[string]ownHandshake // by name, so there are never more of them than names
}

// ownHandshake is the answer of one start of a node's container.
type ownHandshake struct {
	uid     string
	started time.Time
	timeout time.Duration // 0: unknown
	before  time.Duration // what an earlier start said; most likely the same
	again   time.Time     // when to ask again; zero: never
}

const (
	// AskTimeout bounds the question. The command has a timeout of its own besides: a command that exec starts
	// lives on after we leave.
	AskTimeout = 15 * time.Second
	// askAgain is how long after a question without an answer the next question comes.
	askAgain = 10 * time.Minute
	// noHandshakeTimeout stands for infinity.
	noHandshakeTimeout = 24 * time.Hour
)

var askHandshake = []string{"rabbitmqctl", "-q", "-t", "10", "eval", "application:get_env(rabbit, handshake_timeout)."}

// handshakeAnswer is what RabbitMQ 3.7 and later print: {ok,10000}, in milliseconds.
var handshakeAnswer = regexp.MustCompile(`(?m)^\{ok,(\d{1,8}|infinity)\}\s*$`)

// Ask asks n for its handshake_timeout once for each start of its container. The question costs the node half a
// second of CPU. Without an answer, Ask asks again after ten minutes at the earliest. It reports whether there is a
// new answer.
func (h *Handshakes) Ask(ctx context.Context, x target.Execer,
	n target.Node,
) (timeout time.Duration, isNew bool, err error) {
	if !h.due(n, time.Now()) {
		return 0, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, AskTimeout)
	defer cancel()
	out, errs := probe.Head{Max: 4 << 10}, probe.Head{Max: 4 << 10}
	exit, err := x.Exec(ctx, n, askHandshake, &out, &errs)
	switch {
	case err != nil:
		return 0, false, fmt.Errorf("ask for the handshake_timeout: %w", err)
	case exit != 0:
		return 0, false, fmt.Errorf("ask for the handshake_timeout: exit code %d", exit)
	}
	answer := handshakeAnswer.FindSubmatch(bytes.ReplaceAll(out.Text, []byte("\r"), nil))
	if answer == nil {
		return 0, false, fmt.Errorf("ask for the handshake_timeout: the answer was %q", probe.FirstLine(string(out.Text)))
	}
	timeout = noHandshakeTimeout
	if ms, err := strconv.Atoi(string(answer[1])); err == nil {
		timeout = min(max(time.Duration(ms)*time.Millisecond, time.Second), noHandshakeTimeout)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.nodes[n.Name] = ownHandshake{uid: n.UID, started: n.Started, timeout: timeout}
	return timeout, true, nil
}

// due says whether to ask n, and notes that n is being asked.
func (h *Handshakes) due(n target.Node, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.nodes == nil {
		h.nodes = make(map[string]ownHandshake)
	}
	own := h.nodes[n.Name]
	if own.of(n) && (own.timeout > 0 || now.Before(own.again)) {
		return false
	}
	h.nodes[n.Name] = ownHandshake{
		uid: n.UID, started: n.Started, before: max(own.timeout, own.before), again: now.Add(askAgain),
	}
	return true
}

func (o ownHandshake) of(n target.Node) bool { return o.uid == n.UID && o.started.Equal(n.Started) }

// For gives n's handshake_timeout. Before n has answered, that is the longest of configured and the answers of the
// broker's other nodes. Too long a timeout costs time; too short a timeout might condemn a slow node.
func (h *Handshakes) For(n target.Node, configured time.Duration) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	own := h.nodes[n.Name]
	if own.of(n) && own.timeout > 0 {
		return own.timeout
	}
	longest := configured
	for _, peer := range h.nodes {
		longest = max(longest, peer.timeout, peer.before)
	}
	return longest
}
