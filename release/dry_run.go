package release

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/release/plan"
)

// foreseeTimeout bounds how long a dry run asks what is published.
const foreseeTimeout = 5 * time.Second

// DryRun gives the plan that Submit would carry out now, or the *Refusal that it would give. Its warning says, too,
// what is not published: Submit takes that on all the same, for it may be published by the time that the plan's first
// step asks.
func (r *Runner) DryRun(ctx context.Context, req plan.Request) (plan.Plan, error) {
	ctx, stop := context.WithTimeout(ctx, submitTimeout)
	defer stop()
	req.DryRun, req.At = true, time.Now()
	req.ID = plan.NewID(req, chance())
	env, err := r.environment(req.Environment)
	if err != nil {
		return plan.Plan{}, err
	}
	p, _, err := r.plan(ctx, env, req)
	if err != nil {
		return p, err
	}
	if ahead := r.foresee(ctx, env, p); ahead != "" {
		p.Warning = strings.TrimPrefix(p.Warning+"; "+ahead, "; ")
	}
	return p, nil
}

// foresee says what the check of a plan's images would find now, by one look at each; nothing if everything is healthy.
func (r *Runner) foresee(ctx context.Context, env plan.Environment, p plan.Plan) string {
	var images []string
	for _, s := range p.Steps {
		images = append(images, s.Check...)
	}
	if len(images) == 0 {
		return ""
	}
	ctx, stop := context.WithTimeout(ctx, foreseeTimeout)
	defer stop()
	missing, err := r.Registry.Unpublished(ctx, env, images)
	var found []string
	if len(missing) > 0 {
		found = append(found, notPublished(missing))
	}
	if err != nil {
		found = append(found, fmt.Sprintf("not known what is published: %v", err))
	}
	return strings.Join(found, "; ")
}
