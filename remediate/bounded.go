package remediate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// patience is how long a call whose context has ended may still take to return. One that minds its context needs no
// more, and a write that is nearly done is not given up.
const patience = time.Second

// errHangs is why a call is not made: an earlier one of its kind ignores its context, and goes on.
var errHangs = errors.New("an earlier call has not come back")

// gate lets one call of each kind through at a time, so that calls that never come back, to a disk that hangs for
// example, cost one goroutine for each kind and not one for each try. The zero value is ready.
type gate struct {
	mu   sync.Mutex
	busy map[string]bool
}

func (g *gate) enter(kind string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.busy[kind] {
		return false
	}
	if g.busy == nil {
		g.busy = make(map[string]bool)
	}
	g.busy[kind] = true
	return true
}

func (g *gate) leave(kind string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.busy, kind)
}

// bounded calls f with a deadline, and returns then whether f does or not. What f does after that is not known, so f
// must not touch what its caller goes on to change.
func bounded[T any](ctx context.Context, g *gate, kind string, d time.Duration,
	f func(context.Context) (T, error),
) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if !g.enter(kind) {
		return none, fmt.Errorf("%s: %w", kind, errHangs)
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	done := make(chan answer, 1)
	go func() {
		v, err := f(ctx)
		g.leave(kind)
		done <- answer{v, err}
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case a := <-done:
		if a.err != nil {
			return none, a.err
		}
	case <-timer.C:
	}
	return none, fmt.Errorf("it took too long: %w", ctx.Err()) // however it ended: that is no success
}

// try is bounded for what gives an error alone.
func try(ctx context.Context, g *gate, kind string, d time.Duration, f func(context.Context) error) error {
	_, err := bounded(ctx, g, kind, d, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
	return err
}

// Recently gives what read gives, and the same again for up to age: for those who may ask often where reading costs.
// Only one reading is under way at a time, and it is waited for within bounds.
func Recently[T any](read func(context.Context) (T, error), age time.Duration) func(context.Context) (T, error) {
	var (
		g     gate
		value T
		at    time.Time
	)
	turn := make(chan struct{}, 1)
	return func(ctx context.Context) (T, error) {
		var none T
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-ctx.Done():
			return none, ctx.Err()
		}
		if !at.IsZero() && time.Since(at) < age {
			return value, nil
		}
		fresh, err := bounded(ctx, &g, "read", storeTimeout, read)
		if err != nil {
			return none, err
		}
		value, at = fresh, time.Now()
		return value, nil
	}
}
