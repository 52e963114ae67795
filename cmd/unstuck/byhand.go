package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/web"
)

// byHandTimeout bounds a deletion that is asked for over HTTP, so that its answer, or that there is none in time, is
// written within the 70 s that such an answer may take. Most take some seconds: the peers are asked, the incident captured.
const byHandTimeout = time.Minute

// byHand does to nodes what people ask for, by what watches them.
type byHand struct{ brokers []*watched }

var (
	_ web.Nodes  = byHand{}
	_ web.Pauses = (*remediate.Pauses)(nil)
)

// Probe has a node probed by each of its probes, and does not wait. A kind that is running runs once more afterwards:
// two of one kind never run on a node at once.
func (h byHand) Probe(_ context.Context, broker, node string) error {
	w, err := h.watched(broker)
	if err != nil {
		return err
	}
	w.runner.RunNow(node)
	return nil
}

// Delete has a node deleted by the loop that watches it. Whether we may is asked before: with the mode observe there may be
// no right to, and an attempt that is refused would leave it open whether anything has happened, and count.
func (h byHand) Delete(ctx context.Context, d web.Deletion) (web.Deleted, error) {
	w, err := h.watched(d.Broker)
	if err != nil {
		return web.Deleted{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, byHandTimeout)
	defer cancel()
	if w.mayDelete != nil {
		missing, err := w.mayDelete(ctx)
		if err != nil {
			return web.Deleted{}, err
		}
		if len(missing) > 0 {
			var names []string
			for _, m := range missing {
				names = append(names, m.String())
			}
			return web.Deleted{}, web.Unable(strings.Join(names, ", "))
		}
	}
	done, err := w.loop.Delete(ctx, remediate.Order{
		Node: d.Node, UID: d.UID, Override: d.Override, Reason: d.Reason, By: d.By, From: d.From, DryRun: d.DryRun,
	})
	if err != nil {
		return web.Deleted{}, inWordsOfTheAPI(err)
	}
	return web.Deleted{
		Broker: d.Broker, Node: d.Node, UID: d.UID, DryRun: d.DryRun, Incident: done.Incident, Override: done.Overridden, Guards: done.Guards,
	}, nil
}

func inWordsOfTheAPI(err error) error {
	if held, ok := errors.AsType[*remediate.HeldError](err); ok {
		return &web.Held{Closed: held.Closed, Fixed: held.Fixed}
	}
	if errors.Is(err, remediate.ErrNotLeading) {
		return fmt.Errorf("%w: %w", web.ErrNotHere, err)
	}
	return err
}

func (h byHand) watched(broker string) (*watched, error) {
	for _, w := range h.brokers {
		if w.loop.Broker == broker {
			return w, nil
		}
	}
	return nil, fmt.Errorf("broker %s is not watched", broker)
}
