package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/cli"
	"github.com/cjworkbench/unstuck/probe"
)

// maxAtOnce bounds how many targets are probed at the same time.
const maxAtOnce = 64

// reporter prints results, those of one round in the order of the targets.
type reporter interface {
	report(endpoint, probe.Result) error
}

// round is one look at every target.
type round struct {
	targets  []endpoint
	probes   []func(context.Context) probe.Result // of the target with the same index
	interval time.Duration                        // between the starts of two rounds; 0: there is only one
}

// repeat does rounds until ctx ends or the output does. It gives the worst status of the last round that was whole, and
// Unknown if none was.
func (r round) repeat(ctx context.Context, out reporter) (probe.Status, error) {
	if r.interval == 0 {
		return r.once(ctx, out)
	}
	tick := time.NewTicker(r.interval)
	defer tick.Stop()
	worst := probe.Unknown
	for {
		latest, err := r.once(ctx, out)
		if err != nil {
			return latest, err
		}
		if ctx.Err() == nil {
			worst = latest
		}
		select {
		case <-ctx.Done():
			return worst, nil
		case <-tick.C:
		}
	}
}

// once probes all targets at the same time, and reports each as soon as it and those before it are done.
func (r round) once(ctx context.Context, out reporter) (probe.Status, error) {
	var probes sync.WaitGroup
	defer probes.Wait()
	inner, cancel := context.WithCancel(ctx)
	defer cancel()

	slots := make(chan struct{}, maxAtOnce)
	results := make([]chan probe.Result, len(r.probes))
	for i, do := range r.probes {
		results[i] = make(chan probe.Result, 1)
		probes.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			results[i] <- do(inner)
		})
	}
	worst := probe.Healthy
	for i, t := range r.targets {
		result := <-results[i]
		worst = probe.Worse(worst, result.Status())
		if r.interval > 0 && ctx.Err() != nil {
			continue // watching was ended in the middle of this round, whose results tell nothing
		}
		if err := out.report(t, result); err != nil {
			return worst, fmt.Errorf("print the result: %w", err)
		}
	}
	return worst, nil
}

func exitCode(s probe.Status) int {
	switch s {
	case probe.Healthy:
		return cli.ExitOK
	case probe.Faulty:
		return cli.ExitFailed
	case probe.Stuck:
		return cli.ExitStuck
	case probe.Unknown:
	}
	return cli.ExitUnknown
}
