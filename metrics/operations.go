package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cjworkbench/unstuck/release/plan"
)

// endings are how an operation can end.
var endings = []plan.Phase{plan.Succeeded, plan.Failed, plan.Cancelled, plan.RolledBack}

var operationStarted = prometheus.NewDesc("unstuck_operation_started_timestamp_seconds",
	"When the operation was taken on that this replica is carrying out. Missing while there is none.",
	[]string{"environment", "kind"}, nil)

// operations are the metrics of deploys, promotions, reverts, restarts and tasks. They are those of this replica: each
// operation is counted where it ends.
type operations struct {
	ended *prometheus.CounterVec // environment, kind, result

	mu      sync.Mutex
	running func() []plan.Operation // nil: there are no environments
	last    map[string]string       // by environment: the ID of the one that was counted last
}

func newOperations() *operations {
	return &operations{
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "unstuck_operations_total",
			Help: "Operations that ended, by what they were and how they ended.",
		}, []string{"environment", "kind", "result"}),
		last: make(map[string]string),
	}
}

// WatchOperations makes the metrics of environments appear, at zero. running gives the operations that this process is
// carrying out, whenever it is asked.
func (m *Metrics) WatchOperations(environments []plan.Environment, running func() []plan.Operation) {
	for _, env := range environments {
		for _, kind := range plan.Kinds() {
			for _, result := range endings {
				m.operations.ended.WithLabelValues(valid(env.Name), string(kind), string(result))
			}
		}
	}
	m.operations.mu.Lock()
	defer m.operations.mu.Unlock()
	m.operations.running = running
}

// OperationChanged counts an operation once it is over, however often that is told: an environment has one at a time.
func (m *Metrics) OperationChanged(o plan.Operation) {
	if !o.Phase.Over() {
		return
	}
	m.operations.mu.Lock()
	defer m.operations.mu.Unlock()
	if m.operations.last[o.Environment] == o.ID {
		return
	}
	m.operations.last[o.Environment] = o.ID
	m.operations.ended.WithLabelValues(valid(o.Environment), valid(string(o.Kind)), string(o.Phase)).Inc()
}

// Describe names what is collected.
func (*operations) Describe(ch chan<- *prometheus.Desc) { ch <- operationStarted }

// Collect gives the operations that run now.
func (s *operations) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	if running == nil {
		return
	}
	seen := make(map[string]bool) // an environment that has two, for a moment, must not cost the whole scrape
	for _, o := range running() {
		if !seen[o.Environment] {
			send(ch, operationStarted, unix(o.Created), valid(o.Environment), valid(string(o.Kind)))
		}
		seen[o.Environment] = true
	}
}
