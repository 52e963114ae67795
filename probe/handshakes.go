package probe

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/target"
)

// Handshakes keeps what the nodes of one broker say of their own handshake_timeout, without which nobody can tell by a
// silence whether a login is slow or wedged. The zero value is ready, and safe for concurrent use.
type Handshakes struct {
	mu    sync.Mutex
	nodes map[string]ownHandshake // by name, and so no more of them than there ever were names
}

// ownHandshake is what one start of a node's container has said.
type ownHandshake struct {
	uid     string
	started time.Time
	timeout time.Duration // 0: not known
	before  time.Duration // what an earlier start said, most likely the same
	again   time.Time     // when to ask again, if so
}

const (
	// AskTimeout bounds the question, which has a timeout of its own besides: what exec starts lives on when we leave.
	AskTimeout = 15 * time.Second
	// askAgain is how long after a question that got no answer the next one is asked.
	askAgain = 10 * time.Minute
	// noHandshakeTimeout stands for infinity.
	noHandshakeTimeout = 24 * time.Hour
)

var askHandshake = []string{"rabbitmqctl", "-q", "-t", "10", "eval", "application:get_env(rabbit, handshake_timeout)."}

// handshakeAnswer is what RabbitMQ 3.7 and later print: {ok,10000}, in milliseconds.
var handshakeAnswer = regexp.MustCompile(`(?m)^\{ok,(\d{1,8}|infinity)\}\s*$`)

// Ask asks n for its handshake_timeout, once for each start of its container, which costs the node half a second of CPU;
// if there is no answer, again after ten minutes at the earliest. It reports whether there is a new answer.
func (h *Handshakes) Ask(ctx context.Context, x target.Execer, n target.Node) (timeout time.Duration, isNew bool, err error) {
	if !h.due(n, time.Now()) {
		return 0, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, AskTimeout)
	defer cancel()
	out, errs := head{max: 4 << 10}, head{max: 4 << 10}
	exit, err := x.Exec(ctx, n, askHandshake, &out, &errs)
	switch {
	case err != nil:
		return 0, false, fmt.Errorf("ask for the handshake_timeout: %w", err)
	case exit != 0:
		return 0, false, fmt.Errorf("ask for the handshake_timeout: exit code %d", exit)
	}
	answer := handshakeAnswer.FindSubmatch(bytes.ReplaceAll(out.text, []byte("\r"), nil))
	if answer == nil {
		return 0, false, fmt.Errorf("ask for the handshake_timeout: the answer was %q", firstLine(string(out.text)))
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

// due says whether to ask n, and takes note that it is asked.
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
	h.nodes[n.Name] = ownHandshake{uid: n.UID, started: n.Started, before: max(own.timeout, own.before), again: now.Add(askAgain)}
	return true
}

func (o ownHandshake) of(n target.Node) bool { return o.uid == n.UID && o.started.Equal(n.Started) }

// For gives n's handshake_timeout: its own answer or, before there is one, the longest of configured and what the
// broker's nodes have said. Too long a one costs time, too short a one might condemn a node that is slow.
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
