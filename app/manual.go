package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
)

// manualTimeout bounds a deletion that is asked for over HTTP, so that its answer, or that there is none in time, is
// written within the 70 s that such an answer may take. Most take some seconds: the peers are asked, the incident
// captured.
const manualTimeout = time.Minute

// manual does to nodes what people ask for, by what watches them.
type manual struct{ fleet *fleet }

var (
	_ brokers.Nodes  = manual{}
	_ brokers.Pauses = (*store.Pauses)(nil)
)

// Probe has a node probed by each of its probes, and does not wait. A kind that is running runs once more afterwards:
// two of one kind never run on a node at once.
func (h manual) Probe(_ context.Context, broker, node string) error {
	w, err := h.watched(broker)
	if err != nil {
		return err
	}
	w.runner.RunNow(node)
	return nil
}

// Delete has a node deleted by the loop that watches it. Whether we may is asked before: with the mode observe there
// may be no right to, and an attempt that is refused would leave it open whether anything has happened, and count.
func (h manual) Delete(ctx context.Context, broker string, r decide.DeleteRequest) (remediate.DeleteResult, error) {
	w, err := h.watched(broker)
	if err != nil {
		return remediate.DeleteResult{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, manualTimeout)
	defer cancel()
	if w.mayDelete != nil {
		missing, err := w.mayDelete(ctx)
		if err != nil {
			return remediate.DeleteResult{}, err
		}
		if len(missing) > 0 {
			var names []string
			for _, m := range missing {
				names = append(names, m.String())
			}
			return remediate.DeleteResult{}, brokers.Unable(strings.Join(names, ", "))
		}
	}
	return w.loop.Delete(ctx, r)
}

func (h manual) watched(broker string) (*watched, error) {
	if w := h.fleet.find(broker); w != nil {
		return w, nil
	}
	return nil, fmt.Errorf("broker %s is not watched", broker)
}
