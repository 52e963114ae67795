package ui

import (
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// Pulse remembers the last logins to each node, for the page to draw, and tells the pages that are open that something
// has changed. It is a remediate.Recorder; give it the results of probes and the changes of operations as well. None of
// its methods blocks, and a nil Pulse remembers nothing.
type Pulse struct {
	mu       sync.Mutex
	logins   map[string]map[string][]beat // by broker and node, oldest first
	watchers map[*watcher]bool
}

// beat is one login, in as few bytes as will do: there may be ten thousand nodes.
type beat struct {
	ended  time.Time
	took   time.Duration
	status probe.Status
}

// keptBeats is how many logins to each node are remembered: with the defaults those of ten minutes.
const keptBeats = 40

// watcher is a page that is open.
type watcher struct {
	topic string
	news  chan struct{} // with room for one
}

// NewPulse makes a Pulse.
func NewPulse() *Pulse {
	return &Pulse{logins: make(map[string]map[string][]beat), watchers: make(map[*watcher]bool)}
}

// ProbeDone remembers a login. Which nodes there are, and so whose are kept, Reconciled says.
func (p *Pulse) ProbeDone(r probe.Result) {
	if p == nil || r.Kind != probe.Login {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.logins[r.Target] == nil {
		p.logins[r.Target] = make(map[string][]beat)
	}
	all := p.logins[r.Target][r.Node]
	if extra := len(all) + 1 - keptBeats; extra > 0 {
		all = all[:copy(all, all[extra:])]
	}
	p.logins[r.Target][r.Node] = append(all, beat{r.Ended(), r.Took, r.Status()})
}

// Reconciled implements remediate.Recorder. Nodes that are no more are forgotten.
func (p *Pulse) Reconciled(s remediate.Snapshot) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.View.At.IsZero() && len(p.logins[s.Target]) > len(s.Nodes) {
		kept := make(map[string][]beat, len(s.Nodes))
		for _, n := range s.Nodes {
			kept[n.Name] = p.logins[s.Target][n.Name]
		}
		p.logins[s.Target] = kept
	}
	p.tell(ofTarget(s.Target))
}

// Forget forgets what is watched no longer, and has the pages that are open look again.
func (p *Pulse) Forget(targetName string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.logins, targetName)
	p.tell(ofTarget(targetName))
}

// Deleted implements remediate.Recorder: the reconcile that follows tells.
func (*Pulse) Deleted(decide.Deletion) {}

// Settled implements remediate.Recorder: the reconcile that follows tells.
func (*Pulse) Settled(decide.Deletion) {}

// OperationChanged tells that an operation has changed.
func (p *Pulse) OperationChanged(op plan.Operation) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tell(ofEnvironment(op.Environment))
}

// tell tells who watches the topic. The caller has the lock.
func (p *Pulse) tell(topic string) {
	for w := range p.watchers {
		if w.topic != topic && w.topic != everything {
			continue
		}
		select {
		case w.news <- struct{}{}:
		default: // it has not taken the last yet, which is as good
		}
	}
}

// watch gives a channel that says when something about the topic has changed, until stop is called.
func (p *Pulse) watch(topic string) (news <-chan struct{}, stop func()) {
	if p == nil {
		return nil, func() {}
	}
	w := &watcher{topic: topic, news: make(chan struct{}, 1)}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchers[w] = true
	return w.news, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.watchers, w)
	}
}

// beats gives the logins to a node that are remembered, oldest first.
func (p *Pulse) beats(targetName, node string) []beat {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]beat(nil), p.logins[targetName][node]...)
}
