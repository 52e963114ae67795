package lab

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/target"
)

// Deletion is one call of Delete that was accepted.
type Deletion struct {
	Node string
	UID  string
	At   time.Time
}

// View gives the broker as it is now. A node that is being deleted shows its old UID, terminating, until its new
// process starts.
func (l *Lab) View(ctx context.Context, broker string) (target.View, error) {
	if err := ctx.Err(); err != nil {
		return target.View{}, fmt.Errorf("look at broker %s: %w", broker, err)
	}
	if broker != l.opts.Name {
		return target.View{}, fmt.Errorf("look at broker %s: there is only %s", broker, l.opts.Name)
	}
	return target.View{
		At: time.Now(), Expected: len(l.nodes), Nodes: l.Nodes(), IsLeader: target.Yes, Operating: target.No,
	}, nil
}

func (n *node) view() target.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	pn := target.Node{
		Target: n.lab.opts.Name, Name: n.name, UID: n.uid, Address: n.address(),
		Host:        "host-of-" + n.name, // a host each, as if they were spread
		Terminating: target.AnswerTo(n.terminating), RollingOut: target.No, Owned: target.Yes, Disruptable: target.Yes,
	}
	if n.proc != nil {
		pn.Started = n.proc.started
	}
	return pn
}

// current gives the node that pn is, or ErrGone or ErrChanged. A node without UID is whichever has the name.
func (l *Lab) current(pn target.Node) (*node, error) {
	n, err := l.node(pn.Name)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if pn.UID != "" && pn.UID != n.uid {
		return nil, fmt.Errorf("node %s: %w", pn.Name, target.ErrChanged)
	}
	return n, nil
}

// Delete has the node replaced, as deleting a pod of a StatefulSet does: SIGTERM, SIGKILL when grace is over, then a
// new process with the same name, data and address under a new UID. It returns as soon as the deletion is accepted.
// The UID must be the node's: ErrChanged if it is another's by now, ErrGone if no such node exists. Deleting a node
// that is being deleted changes nothing.
func (l *Lab) Delete(ctx context.Context, pn target.Node, grace time.Duration) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete %s: %w", pn.Name, err)
	}
	n, err := l.node(pn.Name)
	if err != nil {
		return fmt.Errorf("delete %s: %w", pn.Name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if pn.UID != n.uid {
		return fmt.Errorf("delete %s: %w", pn.Name, target.ErrChanged)
	}
	if n.terminating {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	n.terminating = true
	n.deletes <- deletion{grace: grace} // room for one, and terminating keeps a second away
	l.deletions = append(l.deletions, Deletion{Node: n.name, UID: n.uid, At: time.Now()})
	return nil
}

// Deletions lists the deletions that were accepted so far, in order.
func (l *Lab) Deletions() []Deletion {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.deletions)
}
