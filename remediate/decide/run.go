package decide

import (
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/clock"
	"github.com/cjworkbench/unstuck/probe"
)

// with gives the run after one more sample. A run that begins by it has lasted since a time, and what came before ended
// at another. It does not change r.
func (r Run) with(s Sample, since, before time.Time, p Policy) Run {
	if s.Stuck && r.interrupted(s.Began, p) {
		r = Run{}
	}
	samples := append(slices.Clone(r.Samples), s)
	if extra := len(samples) - max(p.Window, 0); extra > 0 {
		samples = samples[extra:]
	}
	if r.Since.IsZero() && s.Stuck {
		r.Since, r.Before = since, before
	}
	r.Samples = samples
	return r.trimmed()
}

// interrupted says whether the run cannot go on with a probe that began at started: too many that could not tell came
// in between, or too much time has passed since the last that was Stuck.
func (r Run) interrupted(started time.Time, p Policy) bool {
	unknown := 0
	for _, s := range slices.Backward(r.Samples) {
		if s.Stuck {
			return unknown > p.Window-p.FailureThreshold || clock.Elapsed(s.At, started) > p.ResultTTL
		}
		unknown++
	}
	return false
}

// trimmed drops what comes before the first Stuck sample, so that a run begins with one, or is empty.
func (r Run) trimmed() Run {
	first := slices.IndexFunc(r.Samples, func(s Sample) bool { return s.Stuck })
	if first < 0 {
		return Run{}
	}
	r.Samples = r.Samples[first:]
	return r
}

// stuck counts the Stuck samples, and says whether they are enough and span the minimum time.
func (r Run) stuck(p Policy) (count int, enough bool) {
	var last time.Time
	for _, s := range r.Samples {
		if s.Stuck {
			count++
			last = s.At
		}
	}
	return count, p.FailureThreshold > 0 && count >= p.FailureThreshold && last.Sub(r.Since) >= p.MinDuration
}

// greeted says whether the node has greeted us in this run. A process that is frozen does not; one that is starved of
// CPU does, and its tools cannot reach it in time either.
func (r Run) greeted() bool {
	return slices.ContainsFunc(r.Samples, func(s Sample) bool {
		return s.Stuck && s.Reason != probe.AwaitStart && s.Reason != probe.Unreachable
	})
}
